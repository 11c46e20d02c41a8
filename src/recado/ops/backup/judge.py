"""Which messages were answered while a restored database was not there: told from the order of Twilio's list alone.

Pure. Twilio lists what was said and when, to the second; not what answers what. An answer that the database does not
know was made after the moment it is of, so it answers what was waiting then, but for one case: what came while an
answer was on its way already was not meant by it. Where that may be so, nobody is answered twice and nothing is taken
for answered: it is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

Verdict = Literal["waits", "answered", "unsure"]

#: An answer that is on its way is with Twilio within this time of what came while it was.
ON_ITS_WAY: Final = timedelta(seconds=4)
#: A part follows the one before it within this time: that is waited for, for 5 s at most (`journey/deliver`).
BETWEEN_PARTS: Final = timedelta(seconds=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of a conversation, at its place in Twilio's order.

    `what`: `asked` waits for an answer as far as the database knows; `answer` is one of ours that it did not know;
    `known` is one of ours that it knew, which says itself what it answers. `chars` and `has_file` are of what was said.
    """

    what: Literal["asked", "answer", "known"]
    at: datetime
    id: object = None
    chars: int = 0
    has_file: bool = False


def judge(said: Sequence[Said], *, long: int) -> dict[object, Verdict]:
    """By id, what became of each that was `asked`, of one conversation's messages in order.

    The first part of an answer that was split has `long` characters or more.
    """
    verdicts: dict[object, Verdict] = {}
    waiting: list[Said] = []
    before: Said | None = None
    for one in said:
        if one.what == "asked":
            waiting.append(one)
            verdicts[one.id] = "waits"
            continue
        if one.what == "answer":
            meant = [] if _may_go_on(before, one, long) else _meant_by(one, waiting)
            waiting = [asked for asked in waiting if asked not in meant]
            verdicts |= {asked.id: "answered" for asked in meant}
            # The next answer tells, if there is one.
            verdicts |= {asked.id: "unsure" for asked in waiting}
        before = one
    return verdicts


def _meant_by(answer: Said, waiting: Sequence[Said]) -> list[Said]:
    """What a new answer answers for certain: the first that waits, and what came before it was on its way."""
    return [asked for nth, asked in enumerate(waiting) if nth == 0 or answer.at - asked.at >= ON_ITS_WAY]


def _may_go_on(before: Said | None, answer: Said, long: int) -> bool:
    """Whether it may be a later part of what went out before it: that is long, or a file comes after its text."""
    return before is not None and answer.at - before.at <= BETWEEN_PARTS and (before.chars >= long or answer.has_file)
