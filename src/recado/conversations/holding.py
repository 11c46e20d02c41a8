"""What a message is held for: one word each, what it means to the owner, and who looks again.

A message is `held` when it was accepted, or was to be sent, and nothing is done about it for now. The word is in
`messages.held_for`, which is set for these messages and for no others; the database holds both to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

HeldFor = Literal[
    "people",
    "limit",
    "budget",
    "window",
    "setup",
    "quota",
    "look",
    "loop",
    "broken",
    "channel",
    "owner",
    "opted_out",
    "restored",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """`means` is for the owner to read; `then` says who looks again, or what ends it."""

    means: str
    then: str


_RETRY = "people: `recado failed retry`"

CAUSES: Mapping[HeldFor, Cause] = MappingProxyType(
    {
        "people": Cause(
            means="The conversation is with people.",
            then="the people who have it; what they answered is done",
        ),
        "limit": Cause(means="It came over the limit of its contact or Twilio account.", then=_RETRY),
        "budget": Cause(means="The plan's budget of the month is spent: people answer.", then=_RETRY),
        "window": Cause(means="The 24 hours are over, and no template could carry it.", then=_RETRY),
        "setup": Cause(
            means="Something is not set up for it, at Twilio or here.",
            then="the owner, who puts it right; then `recado failed retry`",
        ),
        "quota": Cause(
            means="A limit of the Twilio account is used up.",
            then="a worker: after 15 minutes, then each time after twice as long, 4 hours at most, for 24 hours",
        ),
        "look": Cause(
            means="Twilio refused it for a reason that recado does not know.",
            then="somebody who reads Twilio's error; then `recado failed retry`",
        ),
        "loop": Cause(
            means="It may come from a machine: another bot, an own number, or the same words again and again.",
            then=_RETRY,
        ),
        "broken": Cause(means="Its turn failed, or it ended its worker twice.", then=_RETRY),
        "channel": Cause(means="It came by another channel than WhatsApp.", then="nobody: it is kept and shown"),
        "owner": Cause(means="The owner is suspended.", then="a worker, once the owner is active again, for 24 hours"),
        "opted_out": Cause(
            means="The contact wants no messages: nothing is sent to them.",
            then="nobody: what they write after opting in is answered",
        ),
        "restored": Cause(
            means="The database was restored, and Twilio's list does not tell whether it was answered before.",
            then=_RETRY,
        ),
    }
)
"""Word -> what it means and who looks again."""

assert set(CAUSES) == set(get_args(HeldFor))  # noqa: S101 - of this file alone
