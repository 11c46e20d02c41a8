"""The metrics that an owner reads of itself: the names, and what their labels may say.

They are read from the owner's rows when they are asked for. The owner is in no label here either: who asks knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from recado.metrics.families import Labels, Level, Spec, Values, one_of, page

_DIRECTION = one_of("inbound", "outbound")
_MODEL: Final = Values(known=("none",), pattern=re.compile(r"[\x21-\x7e]{1,100}"), most=20)


def _gauge(name: str, says: str, **labels: Values) -> Spec:
    return Spec(name=name, kind="gauge", says=says, labels=labels)


USED = _gauge(
    "recado_owner_used",
    "What was used in the present month (UTC), as GET /v1/usage says; money in millionths of a US dollar.",
    metric=one_of("messages", "model_tokens", "transcription_seconds", "money", "unpriced_tokens", "stored_bytes"),
)
LIMIT = _gauge("recado_owner_limit", "What the plan allows of it; missing where there is no limit.", **USED.labels)
WAITING = _gauge(
    "recado_owner_waiting", "Messages that wait for their turn (inbound) or to be sent.", direction=_DIRECTION
)
OLDEST = _gauge(
    "recado_owner_oldest_seconds", "How long the oldest of them has waited; 0 when none does.", direction=_DIRECTION
)
HELD = _gauge(
    "recado_owner_held",
    "Messages that are held, by what for.",
    reason=one_of(
        *("people", "limit", "budget", "window", "setup", "quota", "look", "loop", "broken", "channel", "owner"),
        *("opted_out", "restored"),
    ),
)
FAILED = _gauge("recado_owner_failed", "Messages that failed.")
MESSAGES = _gauge(
    "recado_owner_messages_last_hour",
    "Messages of the last hour, by what became of them.",
    direction=_DIRECTION,
    status=one_of(
        *("received", "unrouted", "answered", "held", "queued", "accepted", "scheduled", "sending", "sent"),
        *("canceled", "failed", "undelivered", "partially_delivered", "delivered", "read"),
    ),
)
_OUTCOME = one_of("answered", "keyless", "apology", "silent", "budget", "unheard")
TURNS = _gauge("recado_owner_turns_last_hour", "Turns of the last hour, by their outcome.", outcome=_OUTCOME)
TURN_SECONDS = _gauge(
    "recado_owner_turn_seconds_last_hour", "What those turns took in all, in seconds.", outcome=_OUTCOME
)
TOKENS = _gauge(
    "recado_owner_model_tokens_last_hour",
    "Tokens that models read and wrote in the last hour.",
    model=_MODEL,
    type=one_of("input", "output"),
)
COST = _gauge(
    "recado_owner_model_cost_usd_last_hour", "What models cost in the last hour, by list prices.", model=_MODEL
)
PEOPLE = _gauge("recado_owner_conversations_with_people", "Conversations that people have.")

ALL: Final = tuple(thing for thing in list(globals().values()) if isinstance(thing, Spec))


def shown(found: Mapping[str, Mapping[Labels, float]]) -> bytes:
    """The page of these values, by metric's name."""
    levels = []
    for spec in ALL:
        one = Level(spec)
        one.set(found.get(spec.name, {}))
        levels.append(one)
    return page(levels)
