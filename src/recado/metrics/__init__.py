"""The metrics: every name that a dashboard may ask for, with its labels and what these may say.

Whoever has something to count calls a name here; where nobody asks for the page nothing else happens. A label never
holds an owner, a contact or a free text: `families` sees to that. `docs/reference/metrics.md` says the same for people,
and a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from recado.metrics.families import Family, Labels, Level, Role, Values, counter, histogram, level, one_of
from recado.told import REFUSED

__all__ = ["ALL", "Family", "Level", "Role", "begin", "of_role"]

#: What the database-wide values are good for when the worker that looks at them is stopped, or no longer the one.
KEEP_S: Final = 75.0

_QUEUES = ("turns", "deliveries", "media", "voice")
#: Which steps are whose process's.
_OF_ROLE: Mapping[Role, Sequence[Labels]] = {
    "api": [(step, "done") for step in ("receive", "accept", "confirm")],
    "worker": [(step, "done") for step in ("understand", "answer", "deliver")],
}
#: What may come of Twilio's POST (`channels.port.ErrorClass`).
_STEPS = ("receive", "accept", "understand", "answer", "deliver", "confirm")
#: A model's name is an owner's word: only what looks like a model's name is shown, and twenty of them.
_MODEL: Final = Values(pattern=re.compile(r"[a-z][a-z0-9-]{0,30}:[A-Za-z][A-Za-z0-9._/-]{0,59}"), most=20)
#: Twilio's error codes that recado knows are the ones to be seen; `tests/metrics` holds them to the dictionary.
_CODE: Final = Values(pattern=re.compile(r"(?:1000|2\d\d\d|3\d\d\d|59\d\d|6\d\d\d|9\d\d\d)\d"), most=40)

WEBHOOK_SECONDS = histogram(
    "recado_webhook_seconds",
    "Time to answer a webhook of Twilio's: accepted is 200, refused 4xx, unavailable 503 (Twilio tries again).",
    at=("api",),
    buckets=(0.005, 0.02, 0.1, 0.25, 1, 5),
    route=one_of("inbound", "outbound"),
    outcome=one_of("accepted", "refused", "unavailable", "failed"),
)
STEP_SECONDS = histogram(
    "recado_step_seconds",
    "Time that a step of a message's journey took; again: it is to be repeated, failed: it came to nothing.",
    buckets=(0.01, 0.1, 1, 5, 20, 60),
    bound=_OF_ROLE,
    step=one_of(*_STEPS),
    outcome=one_of("done", "again", "failed"),
)
REPLY_SECONDS = histogram(
    "recado_reply_seconds",
    "From the arrival of the message that is answered to Twilio's taking the first part of the reply.",
    at=("worker",),
    buckets=(2, 5, 10, 30, 120, 600),
)
QUEUE_WAIT_SECONDS = histogram(
    "recado_queue_wait_seconds",
    "How long work waited from when it was due to when a worker began it.",
    at=("worker",),
    buckets=(0.1, 0.5, 2, 10, 60, 600),
    queue=one_of(*_QUEUES),
)
DELIVERY_SECONDS = histogram(
    "recado_delivery_seconds",
    "From an outbound message's making to the status that Twilio tells of it.",
    at=("api",),
    buckets=(1, 3, 10, 60, 600, 14400),
    status=one_of("delivered", "read", "failed"),
)
DELIVERY_FAILURES = counter(
    "recado_delivery_failures_total",
    "Parts of outbound messages that Twilio refused or failed to deliver, by its error code; none: it named none.",
    bound=(),
    code=Values(known=("none",), pattern=_CODE.pattern, most=_CODE.most),
)
TRIES = counter(
    "recado_tries_total",
    "Tries at what may have to be repeated, by what came of them; error_class none: it worked.",
    at=("worker",),
    bound=[(operation, "none") for operation in ("send", "model", "download", "transcribe")],
    operation=one_of("send", "model", "download", "transcribe"),
    error_class=one_of(
        "none",
        *REFUSED,
        # Of a model.
        *("timed_out", "rate_limited", "unavailable", "unreachable", "quota_exhausted", "not_authorized", "not_found"),
        *("context_too_long", "rejected", "empty_answer", "not_configured", "unexpected"),
        # Of an attachment: fetched, and made text.
        *("address", "redirect", "size", "type", "encoding", "empty", "missing", "login", "failing", "slow"),
        *("unreadable", "too_long", "no_model", "format", "account"),
    ),
)
TURNS = counter(
    "recado_turns_total",
    "Turns that were concluded, by their outcome.",
    at=("worker",),
    outcome=one_of("answered", "keyless", "apology", "silent", "budget", "unheard", "loop", "broken"),
)
MODEL_TOKENS = counter(
    "recado_model_tokens_total",
    "Tokens that models read (input) and wrote (output), as their providers count.",
    at=("worker",),
    bound=(),
    model=_MODEL,
    type=one_of("input", "output"),
)
MODEL_COST = counter(
    "recado_model_cost_usd_total",
    "What models cost, in US dollars, by list prices.",
    at=("worker",),
    bound=(),
    model=_MODEL,
)
LIMITED = counter(
    "recado_limited_total",
    "What came over a limit of RECADO_LIMITS: calls of an address that were refused, messages that are held.",
    at=("api",),
    limit=one_of("ip", "account", "contact"),
)
COMMIT_BATCHES = counter(
    "recado_commit_batches_total", "Transactions that stored webhooks.", at=("api",), door=one_of("accept", "confirm")
)
COMMIT_ROWS = counter(
    "recado_commit_rows_total",
    "Webhooks that those transactions stored.",
    at=("api",),
    door=one_of("accept", "confirm"),
)
COMMIT_FAILURES = counter(
    "recado_commit_failures_total",
    "Transactions of webhooks that failed; what was in them is tried one by one.",
    at=("api",),
    door=one_of("accept", "confirm"),
)
COMMIT_WAITING = level(
    "recado_commit_waiting",
    "Webhooks that wait for their transaction, by the lane they wait in; aside: behind somebody's lock.",
    at=("api",),
    door=one_of("accept", "confirm"),
    lane=one_of("0", "1", "held", "aside"),
)
WORK_RUNNING = level(
    "recado_work_running",
    "Work that this worker has in hand, each a lane of a conversation.",
    at=("worker",),
    queue=one_of(*_QUEUES),
)
EXECUTOR_DEATHS = counter(
    "recado_executor_deaths_total", "Dead workers whose work this one gave back to the queues.", at=("worker",)
)
POOL_CONNECTIONS = level(
    "recado_pool_connections",
    "Connections to the database, by what they are for.",
    pool=one_of("app", "platform", "engine"),
    state=one_of("used", "idle"),
)
POOL_WAITING = level(
    "recado_pool_waiting", "Who waits for a connection at this moment.", pool=one_of("app", "platform", "engine")
)
POOL_WAIT_SECONDS = level(
    "recado_pool_wait_seconds_total",
    "Time spent waiting for connections, of all who waited.",
    grows=True,
    pool=one_of("app", "platform"),
)
LOOP_LAG = level(
    "recado_event_loop_lag_seconds",
    "How late the event loop is: now, and at worst within the last minute or two.",
    of=one_of("now", "worst"),
)
LOOP_LATE = level("recado_event_loop_late_total", "How often the event loop was late by a quarter second.", grows=True)
GC_SECONDS = level("recado_gc_seconds_total", "Time that the garbage collector stopped this process.", grows=True)
GC_RUNS = level("recado_gc_runs_total", "Runs of the garbage collector.", grows=True)
CLOCK_SKEW = level(
    "recado_clock_skew_seconds",
    "This machine's clock less the database's; positive: this one is ahead.",
    keep_s=KEEP_S,
)
LIVE_WORKERS = level(
    "recado_live_workers",
    "Workers that hold their lock, by the queues they serve.",
    keep_s=KEEP_S,
    queue=one_of("turns", "deliveries", "media"),
)
CAN_ANSWER = level(
    "recado_can_answer",
    "1 where live workers serve turns and deliveries, 0 where what is accepted waits.",
    keep_s=KEEP_S,
)
BUILD_INFO = level(
    "recado_build_info",
    "1; which version runs, of which workflows and which schema.",
    version=Values(pattern=re.compile(r"\d{1,4}(?:\.[0-9a-z]{1,12}){1,4}(?:\+[0-9a-z.]{1,12})?"), most=1),
    workflows=Values(pattern=re.compile(r"none|\d{1,4}"), most=1),
    schema=Values(pattern=re.compile(r"\d{4}"), most=1),
)

# The database's, from one worker at a time (`ops/gauges`).
GAUGES_UP = level(
    "recado_gauges_up", "1 at the one worker that looks at the whole database.", at=("worker",), keep_s=KEEP_S
)
QUEUE_DEPTH = level(
    "recado_queue_depth",
    "Work that is due and not begun; counted up to 20,000.",
    at=("worker",),
    keep_s=KEEP_S,
    queue=one_of(*_QUEUES),
)
QUEUE_OLDEST = level(
    "recado_queue_oldest_seconds",
    "How long the oldest work that is due and not begun has waited; 0 when none does.",
    at=("worker",),
    keep_s=KEEP_S,
    queue=one_of(*_QUEUES),
)
HELD = level(
    "recado_held",
    "Messages that are held, by what for; counted up to 20,000.",
    at=("worker",),
    keep_s=KEEP_S,
    reason=one_of(
        *("people", "limit", "budget", "window", "setup", "quota", "look", "loop", "broken", "channel", "owner"),
        *("opted_out", "restored"),
    ),
)
XMIN_AGE = level(
    "recado_database_xmin_age",
    "Transactions since the oldest that may still be looked at: what died since then can't be cleared away.",
    at=("worker",),
    keep_s=KEEP_S,
)
XID_AGE = level(
    "recado_database_xid_age",
    "Transactions since the database was last frozen; at 2 billion PostgreSQL stops.",
    at=("worker",),
    keep_s=KEEP_S,
)
DEAD_ROWS = level(
    "recado_database_dead_rows",
    "Dead rows that wait to be cleared away, by table, as PostgreSQL estimates.",
    at=("worker",),
    keep_s=KEEP_S,
    table=one_of("messages", "message_parts", "conversations", "events", "usage", "workflow_status"),
)
DATABASE_CONNECTIONS = level(
    "recado_database_connections",
    "Connections of the PostgreSQL server: used by anybody, and how many there may be.",
    at=("worker",),
    keep_s=KEEP_S,
    of=one_of("used", "limit"),
)

ALL: Final = tuple(thing for thing in list(globals().values()) if isinstance(thing, Family | Level))


def of_role(role: Role) -> list[Family | Level]:  # type: ignore[type-arg] # of counters and of histograms
    """What such a process shows."""
    return [one for one in ALL if role in one.spec.at]


def begin(role: Role) -> None:
    """Have this process's series at 0 from its start."""
    for one in of_role(role):
        if isinstance(one, Family):
            one.begin(role)
