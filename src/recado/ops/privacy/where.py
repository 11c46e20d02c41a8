"""The map of personal data: every column that there is, and on which of three lists it stands.

Export and erasure are made from it, and docs/explain/privacy.md is held to it: a column on no list fails a test.
`contact`: it says something of the person who writes to the owner, or holds what they or others wrote to them.
`users`: of the people who work for the owner, or for the platform. `none`: ids, states, times and numbers that say
nothing of anybody once the rows of that person are gone; and what owners write for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: How the rows of a person are found: by the ids of their contacts, conversations, messages (or what these answer to),
#: or by their conversations' lanes in the workflow engine.
Of = Literal["contact", "conversation", "message", "lane"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """In which column which ids stand. `only_if` narrows it, so that an index serves."""

    of: Of
    by: str
    only_if: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, its columns on their lists, and where a person's rows in it are.

    `found`: they are exported (unless `copies` says of what they are copies) and deleted. Without it the table has
    personal data of contacts only if `kept` says why some stays, or what deletes it.
    """

    schema: str
    name: str
    contact: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    copies: str = ""
    kept: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where personal data is besides the database's tables."""

    name: str
    holds: str
    goes: str
    personal: bool = True


def _table(
    name: str,
    *,
    contact: str = "",
    users: str = "",
    none: str = "",
    found: tuple[Found, ...] = (),
    copies: str = "",
    kept: str = "",
) -> Table:
    schema, _, short = name.rpartition(".")
    return Table(
        schema=schema or "recado",
        name=short,
        contact=tuple(contact.split()),
        users=tuple(users.split()),
        none=tuple(none.split()),
        found=found,
        copies=copies,
        kept=kept,
    )


#: Those that hold a person's rows come first, in the order in which they can be deleted: what refers before what it
#: refers to.
TABLES: Final = (
    _table(
        "delivery_attempts",
        contact="address",
        none="owner_id id message_id part outcome error_class error_code started_at finished_at",
        found=(Found(of="message", by="message_id"),),
    ),
    _table(
        "message_parts",
        contact="body content provider_sid retired_sids",
        none="owner_id message_id part status error_code taken_at updated_at asked_at",
        found=(Found(of="message", by="message_id"),),
    ),
    _table(
        "media",
        contact="url file_name sha256 text announced_type content_type size_bytes duration_s width height pages",
        none="owner_id id message_id ordinal status reason storage_key created_at settled_at",
        found=(Found(of="message", by="message_id"),),
    ),
    _table(
        "events",
        contact="data",
        none="id owner_id at step what conversation_id message_id correlation_id",
        found=(
            Found(of="message", by="correlation_id"),
            Found(of="conversation", by="conversation_id", only_if="correlation_id IS NULL"),
        ),
    ),
    _table(
        "messages",
        contact="body transcript transcript_language parameters content kind provider_sid received_at",
        none="owner_id id conversation_id account_id direction author status error_code correlation_id reply_to "
        "turn_id created_at awaits_media reason held_for look_again_at starts begun_at",
        found=(Found(of="message", by="id"),),
    ),
    _table(
        "turns",
        contact="error",
        none="owner_id id conversation_id correlation_id assistant_id model outcome rounds input_tokens output_tokens "
        "started_at finished_at cost_micros",
        found=(Found(of="conversation", by="conversation_id"),),
    ),
    _table(
        "conversations",
        contact="last_inbound_at opened_at closed_at attention close_reason",
        users="assignee",
        none="owner_id id number_id contact_id status version budget_told circled_at",
        found=(Found(of="conversation", by="id"),),
    ),
    _table(
        "contacts",
        contact="identity_key address profile_name language language_why external_id opted_in_at courtesy_at",
        none="owner_id id created_at version erasure_id same_as",
        found=(Found(of="contact", by="id"),),
    ),
    _table(
        "dbos.operation_outputs",
        contact="output error",
        none="workflow_uuid function_id function_name child_workflow_id started_at_epoch_ms completed_at_epoch_ms "
        "serialization application_name retention_timestamp",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="messages",
    ),
    _table(
        "dbos.workflow_input",
        contact="inputs",
        none="workflow_uuid retention_timestamp",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="ids of messages",
    ),
    _table(
        "dbos.workflow_output",
        contact="output error",
        none="workflow_uuid retention_timestamp",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="kinds of errors",
    ),
    _table(
        "dbos.workflow_status",
        contact="inputs output error request attributes",
        users="authenticated_user assumed_role authenticated_roles",
        none="workflow_uuid status name executor_id created_at updated_at application_version application_id "
        "class_name config_name recovery_attempts queue_name workflow_timeout_ms workflow_deadline_epoch_ms "
        "started_at_epoch_ms deduplication_id priority queue_partition_key forked_from owner_xid parent_workflow_id "
        "serialization delay_until_epoch_ms was_forked_from rate_limited completed_at schedule_name "
        "debounce_deadline_epoch_ms is_debounced application_name creator_xid",
        found=(Found(of="lane", by="queue_partition_key"),),
        copies="ids of messages",
    ),
    # Unused by recado; what the engine would put there goes with its workflow.
    _table(
        "dbos.notifications",
        contact="message",
        none="message_uuid destination_uuid topic created_at_epoch_ms serialization consumed consumed_by_function_id",
        found=(Found(of="lane", by="destination_uuid"),),
        copies="nothing: recado sends none",
    ),
    _table(
        "dbos.streams",
        contact="value",
        none="workflow_uuid key offset function_id serialization",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="nothing: recado writes none",
    ),
    _table(
        "dbos.workflow_events",
        contact="value",
        none="workflow_uuid key serialization",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="nothing: recado sets none",
    ),
    _table(
        "dbos.workflow_events_history",
        contact="value",
        none="workflow_uuid function_id key serialization",
        found=(Found(of="lane", by="workflow_uuid"),),
        copies="nothing: recado sets none",
    ),
    _table(
        "suppressions",
        contact="identity_key reason",
        none="owner_id created_at message_id confirmation_id",
        kept="the erasure makes a keyed hash of it in `erased_suppressions`",
    ),
    _table(
        "erased_suppressions",
        contact="identity_hash reason",
        none="owner_id created_at",
        kept="a keyed hash of whoever opted out and was erased, so that nothing is sent to them if they come back",
    ),
    _table(
        "erasures",
        contact="identity_hashes suppressed_why",
        none="owner_id id contact_ids status requested_at erased_at finished_at look_again_at tries waits_for counts "
        "replayed",
        kept="keyed hashes: the ledger that is replayed after a backup was restored, and the proof",
    ),
    _table(
        "erasure_items",
        contact="what data",
        none="owner_id id erasure_id account_id kind has_media status code tries look_again_at",
        kept="until Twilio has deleted it: the SIDs of messages, and for an attempt whose outcome is not known the "
        "address that Twilio's list is asked for",
    ),
    _table(
        "contents",
        none="owner_id id account_id hash content_sid created_at",
        kept="buttons made at Twilio: deleted there and here where no other contact was sent the same",
    ),
    _table(
        "idempotency_keys",
        contact="request_hash answer",
        none="owner_id id caller_id key_hash created_at",
        kept="sealed; answers that name the person are emptied by the erasure, and all go after 24 hours",
    ),
    _table(
        "audit",
        users="caller_id caller_name data",
        none="id owner_id at caller_kind action thing thing_id",
        kept="what users did, with ids: nothing that a contact wrote; goes after the owner's period",
    ),
    _table(
        "assistants",
        none="owner_id id name is_default instructions model language apology updated_at created_at "
        "version sees fallback_template templates",
    ),
    _table("knowledge", none="owner_id id source ordinal title content language search created_at"),
    _table("knowledge_places", none="owner_id lexeme in_content entry_id"),
    _table("knowledge_words", none="owner_id lexeme slot entries"),
    _table("consent_words", none="owner_id id word action language created_at"),
    _table(
        "templates",
        none="owner_id id account_id content_sid name language category status rejection_reason "
        "content_type body variables synced_at",
    ),
    _table(
        "numbers",
        none="owner_id id account_id address status assistant_id created_at version "
        "messaging_service_sid proven_at asked_at",
    ),
    _table(
        "twilio_accounts",
        none="owner_id id account_sid auth_token secondary_token created_at updated_at "
        "auth_token_ref secondary_token_ref api_key_sid api_key_secret api_key_secret_ref public_url version "
        "proven_at removed_at removed_why",
    ),
    _table("owners", none="id name status created_at plan_id version"),
    _table(
        "plans",
        none="id name messages model_tokens transcription_seconds money soft_share hard_action created_at stored_bytes",
    ),
    _table("usage", none="owner_id period metric amount warned models"),
    _table("retention", none="owner_id what days updated_at"),
    _table("erasure_keys", none="owner_id id sealed created_at"),
    _table(
        "users",
        users="email name role password_hash password_changed_at last_sign_in_at",
        none="owner_id id status created_at version",
    ),
    _table("sessions", users="user_id created_at last_seen_at", none="owner_id id token_hash revoked_at"),
    _table("known_browsers", users="user_id last_used_at", none="owner_id id token_hash"),
    _table(
        "invitations",
        users="email invited_by_id user_id",
        none="owner_id id role token_hash created_at expires_at accepted_at revoked_at resets_password invited_by_kind",
    ),
    _table(
        "api_keys",
        users="made_by_id",
        none="owner_id id name hint key_hash scopes created_at expires_at last_used_at revoked_at made_by_kind",
    ),
    _table("sign_in_failures", users="subject", none="failures last_at locked_until"),
    _table("password_salts", none="one grain"),
    _table(
        "quarantine",
        none="owner_id account_id restored_at since asked_at error released_at released_by counts",
    ),
    _table("restores", none="id set_id moment restored_at"),
    _table("executors", none="id lock_key kind host pid queues started_at version recado draining"),
    _table("executor_deaths", none="id executor_id at"),
    _table("schema_version", none="version_num functions recado"),
    _table("schema_revision", none="version_num compatible_from functions recado"),
    _table(
        "webhooks",
        none="owner_id id url description types secret previous_secret previous_until status disabled_why disabled_at "
        "reached next_at failures failing_since last_success_at holder held_until fence version created_at",
    ),
    _table("workflow_versions", none="version first_at draining changed_at"),
    _table(
        "jobs",
        none="name next_at asked_at holder held_until fence deaths started_at finished_at outcome error duration_ms "
        "failures",
    ),
    _table("webhook_waiting", none="owner_id webhook_id event_id lane tries failed_at next_at"),
    _table("webhook_attempts", none="owner_id id webhook_id event_id type at duration_ms outcome http_status"),
    _table("dbos.application_versions", none="version_id version_name version_timestamp created_at application_name"),
    _table("dbos.dbos_migrations", none="version"),
    _table("dbos.event_dispatch_kv", none="service_name workflow_fn_name key value update_seq update_time"),
    _table(
        "dbos.queues",
        none="queue_id name concurrency worker_concurrency rate_limit_max rate_limit_period_sec "
        "priority_enabled partition_queue polling_interval_sec created_at updated_at application_name "
        "partition_concurrency partition_worker_concurrency partition_rate_limit_max "
        "partition_rate_limit_period_sec",
    ),
    _table(
        "dbos.workflow_schedules",
        none="schedule_id schedule_name workflow_name workflow_class_name schedule "
        "status context last_fired_at automatic_backfill cron_timezone queue_name application_name",
    ),
)

PLACES: Final = (
    Place(
        name="the storage of attachments (`RECADO_MEDIA_URL`, or `media` in `RECADO_HOME`)",
        holds="files that contacts sent and were sent, under ids; and the ledger of erasures, keyed hashes alone",
        goes="with the erasure, or after the owner's period; what no row names is swept within a day and six hours",
    ),
    Place(
        name="`scratch` in `RECADO_HOME`",
        holds="a file while it is fetched, listened to or uploaded",
        goes="when that ends, and at the next start at the latest; an erasure waits for it",
    ),
    Place(
        name="Redis (`RECADO_RATE_LIMIT_STORAGE`)",
        holds="counters of messages, under a hash of owner and address",
        goes="by itself, when the limit's window ends",
    ),
    Place(
        name="logs",
        holds="ids; no address, name or word of a contact, which a test holds them to",
        goes="as whoever keeps them decides",
        personal=False,
    ),
    Place(
        name="Twilio",
        holds="every message and file, templates made for buttons, and what WhatsApp and Twilio keep for themselves",
        goes="with the erasure: messages, files and contents are deleted by their SIDs",
    ),
    Place(
        name="the provider of the model, and of the transcriber where that is no local one",
        holds="what was said in the turns that it answered",
        goes="as the contract with it says: recado asks no provider to keep anything",
    ),
    Place(
        name="backups, and PostgreSQL's write-ahead log",
        holds="what the database held when they were made",
        goes="with the backup; what was erased since is erased again after a restore",
    ),
)


def personal_of_contacts() -> tuple[Table, ...]:
    """The tables that hold something of contacts."""
    return tuple(table for table in TABLES if table.contact)


def found_by(of: Of) -> tuple[tuple[Table, Found], ...]:
    """The tables of recado's own in which rows of a person are found in this way, in the order of deletion."""
    return tuple((table, found) for table in TABLES for found in table.found if found.of == of)
