"""What happens on the journey, told once: `happened` feeds the event's row, the log line and whoever else listens.

`KINDS` declares all that can happen, with where its row comes from and whether it is a log line. `SUBSCRIBERS` is who
hears of it once it is certain: what metrics and traces are to know joins there, no step has to be touched for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

import structlog

from recado.channels.port import ErrorClass
from recado.conversations import events
from recado.db.scope import Scope
from recado.delivery.status import Status
from recado.metrics.journey import measure
from recado.tracing.journey import relate

Step = Literal["receive", "accept", "understand", "answer", "deliver", "confirm", "usage", "webhooks", "privacy"]
#: Who writes the event's row: `happened` itself, the SQL that does it, or nobody.
Row = Literal["happened", "sql", "nobody"]
Level = Literal["debug", "info", "warning", "error", "exception"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of happening: what it means, for owners and operators, and what it leaves behind.

    `keeps` are the details that the event's row has as `data`. `said` is the log line's name where that is another one.
    """

    means: str
    row: Row = "nobody"
    keeps: tuple[str, ...] = ()
    log: Level | None = None
    said: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened, as subscribers hear of it: ids, words of ours and figures, nothing that people wrote.

    `duration_s` is how long it took, `age_s` how long ago the message came that it is about; None where neither is
    known. `correlation_id` is the same from a message's webhook to the read receipt of its answer.
    """

    step: Step
    what: str
    kind: Kind
    owner_id: UUID | None
    conversation_id: UUID | None
    message_id: UUID | None
    correlation_id: UUID | None
    duration_s: float | None
    age_s: float | None
    details: Mapping[str, Any] = field(default_factory=dict)


async def happened(
    where: Scope | UUID | None,
    step: Step,
    what: str,
    *,
    conversation_id: UUID | None = None,
    message_id: UUID | None = None,
    correlation_id: UUID | None = None,
    duration_s: float | None = None,
    age_s: float | None = None,
    **details: Any,
) -> None:
    """Tell what happened: `where` is the transaction in which it does, or else whose it is, None for nobody's.

    In a transaction the row is written, where the kind has one, and subscribers hear of it once it is committed: never
    of what was rolled back, once of what was tried again. Where the process dies right after the commit they don't.
    `details` hold no content, names, addresses or secrets.
    """
    kind = KINDS.get((step, what), UNDECLARED)
    happening = Happening(
        step=step,
        what=what,
        kind=kind,
        owner_id=where.owner_id if isinstance(where, Scope) else where,
        conversation_id=conversation_id,
        message_id=message_id,
        correlation_id=correlation_id,
        duration_s=duration_s,
        age_s=age_s,
        details=details,
    )
    if not isinstance(where, Scope):
        tell(happening)
        return
    if kind.row == "happened":
        await _record(where, happening)
    where.once_committed.append(partial(tell, happening))


async def _record(scope: Scope, happening: Happening) -> None:
    await events.record(
        scope,
        step=happening.step,
        what=happening.what,
        conversation_id=happening.conversation_id,
        message_id=happening.message_id,
        correlation_id=happening.correlation_id,
        data={name: happening.details[name] for name in happening.kind.keeps if name in happening.details},
    )


def tell(happening: Happening) -> None:
    """Have all subscribers hear of it; one that fails costs nobody anything but that."""
    for subscriber in SUBSCRIBERS:
        try:
            subscriber(happening)
        except Exception as error:
            with suppress(Exception):
                log.exception("subscriber_failed", step=happening.step, error=type(error).__name__)


def write_line(happening: Happening) -> None:
    """The log line, where the kind has one; of the details what a line may have (`telemetry`)."""
    kind = happening.kind
    if kind.log is None:
        return
    ids = {
        name: value
        for name in ("owner_id", "conversation_id", "message_id", "correlation_id")
        if (value := getattr(happening, name)) is not None
    }
    figures = {} if happening.duration_s is None else {"duration_ms": round(happening.duration_s * 1000)}
    write = getattr(_LOGS[happening.step], kind.log)
    write(kind.said or happening.what, step=happening.step, **{**happening.details, **ids, **figures})


Subscriber = Callable[[Happening], None]
#: Who hears of everything that happened, in this order. They neither wait nor raise.
SUBSCRIBERS: Final[tuple[Subscriber, ...]] = (write_line, measure, relate)

log = structlog.get_logger(__name__)
_LOGS = {
    step: structlog.get_logger(f"recado.journey.{step}")
    for step in ("receive", "accept", "understand", "answer", "deliver", "confirm", "usage", "webhooks", "privacy")
}

#: What nobody has declared is a row and a line all the same; `tests/conversations/test_happenings.py` finds it.
UNDECLARED: Final = Kind(means="", row="happened", log="warning")

_REFUSED = {
    ErrorClass.RETRY: "Twilio did not take a part, and may in a moment.",
    ErrorClass.WINDOW: "A part was not taken: the 24 hours are over.",
    ErrorClass.CONFIGURATION: "A part was not taken: account or number is not set up for it.",
    ErrorClass.RECIPIENT: "A part was not taken: the contact can't be reached, or does not want to be.",
    ErrorClass.CONTENT: "A part was not taken as it is.",
    ErrorClass.TEMPLATE: "A part was not taken: its template is missing, wrong, rejected or paused.",
    ErrorClass.QUOTA: "A part was not taken: a limit of the number or account is used up.",
    ErrorClass.LOOK: "A part was not taken for a reason that recado does not know.",
    ErrorClass.UNKNOWN: "It is not known whether Twilio took a part: it is looked up.",
}
_TURN = {
    "answered": "A model answered.",
    "keyless": "The answer is from the owner's knowledge, without a model.",
    "apology": "No answer was known: the contact was told so, and people are asked.",
    "silent": "Nothing was answered: people, an opt-out or a suspended owner were in the way.",
    "budget": "The plan's limit is reached: the messages are left to people.",
    "unheard": "A voice note could not be made text: the contact was asked to write.",
}
_MEDIA = {
    "fetched": "What came with a message was fetched.",
    "transcribed": "What came with a message was fetched, and its voice made text.",
    "not_understood": "Something that came with a message could not be had or understood; `reasons` says why.",
}

#: All that can happen, by step and word.
KINDS: Final[Mapping[tuple[str, str], Kind]] = {
    ("receive", "rejected"): Kind(means="A webhook was not let in; nothing of it is stored.", log="warning"),
    ("receive", "tokens_unreadable"): Kind(
        means="A webhook waits: the Twilio account's tokens can't be read now.", log="error"
    ),
    ("receive", "limited"): Kind(means="A contact or Twilio account went over its limit.", log="warning"),
    ("receive", "courtesy_failed"): Kind(means="A contact over their limit could not be told of it.", log="warning"),
    ("receive", "courtesy_not_due"): Kind(
        means="A contact over their limit has heard of it before, or may hear nothing.", log="info", said="courtesy"
    ),
    ("accept", "accepted"): Kind(means="A webhook's message is stored, now or (not `new`) before.", log="info"),
    ("accept", "received"): Kind(means="A message is stored, with the work that answers it.", row="sql"),
    ("accept", "unrouted"): Kind(means="A message is stored; nobody answers for its number.", row="sql"),
    ("accept", "held"): Kind(means="A message is stored and held.", row="sql", keeps=("held_for",)),
    ("accept", "limited"): Kind(
        means="A message is stored and held: it came over a limit.", row="sql", keeps=("held_for",)
    ),
    ("accept", "answered_by_twilio"): Kind(
        means="A message is stored; Twilio's own opt-out words have answered it.", row="sql"
    ),
    ("accept", "opted_out"): Kind(means="The contact wants no more messages.", row="sql"),
    ("accept", "opted_in"): Kind(means="The contact wants messages again.", row="sql"),
    ("accept", "contact_merged"): Kind(
        means="Two contacts turned out to be one person.", row="sql", keeps=("contact_id", "merged_id")
    ),
    ("accept", "closed"): Kind(
        means="A merged contact's second conversation is part of the first.", row="sql", keeps=("merged_into",)
    ),
    ("accept", "taken"): Kind(
        means="People have a conversation because they had the one that became part of it.",
        row="sql",
        keeps=("merged_from",),
    ),
    ("accept", "restored"): Kind(
        means="After a restore Twilio's list had a message that the database did not: it is answered now.", row="sql"
    ),
    ("accept", "courtesy"): Kind(means="A contact over their limit was told so.", row="happened", log="info"),
    **{
        ("understand", what): Kind(
            means=means, row="happened", keeps=("attachments", "reasons", "seconds"), log="info", said="understood"
        )
        for what, means in _MEDIA.items()
    },
    ("understand", "late"): Kind(means="What came with a message took too long: it is answered without.", row="sql"),
    ("understand", "media_failed"): Kind(means="A fault of ours: an attachment was not understood.", log="exception"),
    ("understand", "not_stored"): Kind(means="An attachment was fetched and could not be kept.", log="warning"),
    ("understand", "not_had_again"): Kind(means="A kept attachment could not be read back.", log="warning"),
    ("understand", "not_put_back"): Kind(
        means="A message counts as one that was in hand at a worker's end, wrongly.", log="warning"
    ),
    **{
        ("answer", what): Kind(
            means=means, row="happened", keeps=("messages", "rounds", "error"), log="info", said="answered"
        )
        for what, means in _TURN.items()
    },
    ("answer", "stale"): Kind(means="The contact wrote on meanwhile: the reply is made again.", log="info"),
    ("answer", "loop"): Kind(
        means="It may come from a machine: held, unanswered; `why` says what told it.",
        row="happened",
        keeps=("why", "messages"),
        log="warning",
    ),
    ("answer", "broken"): Kind(
        means="A turn failed, or ended its worker twice: its messages are held for people.",
        row="happened",
        keeps=("why", "messages"),
        log="error",
        said="turn_broken",
    ),
    ("answer", "broken_untold"): Kind(
        means="The same, where even writing that down failed.", log="error", said="turn_broken"
    ),
    ("answer", "turn_failed"): Kind(means="A fault of ours in a turn.", log="exception"),
    ("answer", "not_settled"): Kind(means="A broken turn's messages could not be held that way.", log="exception"),
    ("answer", "think_failed"): Kind(means="A fault of ours while a model was asked.", log="exception"),
    ("answer", "model_without_price"): Kind(
        means="The owner's plan has a limit in money, and their model no price: it is not asked.", log="warning"
    ),
    ("answer", "picture_not_shown"): Kind(means="A picture could not be shown to a model.", log="warning"),
    ("answer", "typing_failed"): Kind(means="Twilio did not show that an answer is being written.", log="debug"),
    ("answer", "typing_broke"): Kind(means="The same, by a fault of ours.", log="warning", said="typing_failed"),
    ("answer", "not_put_back"): Kind(
        means="A message counts as one that was in hand at a worker's end, wrongly.", log="warning"
    ),
    ("answer", "consent_confirmed"): Kind(
        means="The contact was told that their STOP or START is heeded.", row="happened", log="info"
    ),
    ("answer", "taken"): Kind(means="People have the conversation.", row="happened"),
    ("answer", "given_back"): Kind(means="The assistant has the conversation again.", row="happened"),
    ("answer", "closed"): Kind(means="The conversation is closed.", row="happened"),
    ("answer", "assigned"): Kind(means="A user sees to the conversation.", row="happened", keeps=("assignee_id",)),
    ("answer", "unassigned"): Kind(means="Nobody in particular sees to the conversation.", row="happened"),
    ("answer", "gave_up"): Kind(means="Its work was lost again and again: it is left to people.", row="sql"),
    ("answer", "tried_again"): Kind(means="A suspended owner is active again: it is answered now.", row="sql"),
    ("answer", "restored"): Kind(
        means="After a restore Twilio's list has an answer to it that the database did not know.", row="sql"
    ),
    ("answer", "retried"): Kind(means="People had it answered after all.", row="sql", keeps=("retry", "failed_sids")),
    ("deliver", "sent"): Kind(means="Twilio took a part of a message.", log="info"),
    **{
        ("deliver", error_class.value): Kind(
            means=means, row="happened", keeps=("part", "code", "text", "then"), log="warning", said="send_failed"
        )
        for error_class, means in _REFUSED.items()
    },
    ("deliver", "buttons_as_text"): Kind(
        means="Twilio does not take the buttons: they are listed as text.", row="happened", keeps=("part", "code")
    ),
    ("deliver", "content_not_made"): Kind(means="Twilio did not make the buttons or the list.", log="warning"),
    ("deliver", "window_closed"): Kind(
        means="The 24 hours are over and no template can carry it: held; `why` says why none can.",
        row="happened",
        keeps=("why",),
    ),
    ("deliver", "window_template"): Kind(
        means="The 24 hours are over: the owner's template carries it.", row="happened", keeps=("part", "content_sid")
    ),
    ("deliver", "opted_out"): Kind(means="The contact wants no messages: it is not sent.", row="happened"),
    ("deliver", "other_channel"): Kind(means="Its contact is not on WhatsApp: it is not sent.", row="happened"),
    ("deliver", "media_gone"): Kind(means="Its attachment is not there any more: it is not sent.", row="happened"),
    ("deliver", "no_public_url"): Kind(
        means="Twilio can't fetch its attachment without a public URL: held.", row="happened"
    ),
    ("deliver", "behind"): Kind(means="What is said before it waits for a limit: held until then.", row="happened"),
    ("deliver", "held_again"): Kind(
        means="Twilio took it and failed it for what the owner can put right: held.", row="happened"
    ),
    ("deliver", "again_later"): Kind(means="Twilio took it and failed it: it is sent again later.", row="happened"),
    ("deliver", "broken"): Kind(
        means="It ended its worker twice: held for people.",
        row="happened",
        keeps=("why",),
        log="error",
        said="delivery_broken",
    ),
    ("deliver", "reconcile_failed"): Kind(
        means="Twilio did not tell what became of an attempt: it is asked again.", log="warning"
    ),
    ("deliver", "reconciled_taken"): Kind(
        means="An attempt without an outcome: Twilio has it.", row="happened", keeps=("part",)
    ),
    ("deliver", "reconciled_not_taken"): Kind(
        means="An attempt without an outcome: Twilio does not have it.", row="happened", keeps=("part",)
    ),
    ("deliver", "tried_again"): Kind(means="What it was held for has passed: it is sent now.", row="sql"),
    ("deliver", "restored"): Kind(
        means="After a restore Twilio's list had something sent that the database did not know.", row="happened"
    ),
    ("deliver", "retried"): Kind(means="People had it sent again.", row="sql", keeps=("retry", "failed_sids")),
    ("confirm", "confirmed"): Kind(
        means="Twilio told the status of a part; `moved` says whether that was news.", log="debug"
    ),
    **{
        ("confirm", status.value): Kind(
            means=f"A part's status is {status.value.replace('_', ' ')}.", row="sql", keeps=("part", "error_code")
        )
        for status in Status
    },
    ("confirm", "opted_out"): Kind(
        means="Twilio says that the contact wants no messages.", row="sql", keeps=("error_code",)
    ),
    ("usage", "budget_soft"): Kind(
        means="The plan's soft share of a budget is reached.", row="sql", keeps=("metric", "period", "amount")
    ),
    ("usage", "price_unknown"): Kind(
        means="A model has no price: what it costs is not counted.",
        row="sql",
        keeps=("metric", "model", "period", "amount"),
    ),
    ("webhooks", "disabled"): Kind(
        means="An endpoint gets no more events: it answered 410 (`gone`), or took nothing for five days (`failing`).",
        row="happened",
        keeps=("webhook_id", "why"),
        log="warning",
        said="webhook_disabled",
    ),
    ("webhooks", "lost"): Kind(
        means="An endpoint never took this event: refused for five days, or deleted meanwhile.",
        row="happened",
        keeps=("webhook_id", "event_id", "why"),
        log="warning",
        said="webhook_event_lost",
    ),
    ("privacy", "contact_erased"): Kind(
        means="A person was erased here: whoever has copied what was theirs has to forget it too.",
        row="sql",
        keeps=("erasure_id", "contact_ids"),
    ),
}
