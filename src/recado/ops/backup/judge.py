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
            left = []
            for nth, asked in enumerate(waiting):
                if one.at - asked.at >= ON_ITS_WAY or (nth == 0 and not _may_go_on(before, one, asked, long)):
                    verdicts[asked.id] = "answered"
                else:
                    # The next answer tells, if there is one.
                    verdicts[asked.id] = "unsure"
                    left.append(asked)
            waiting = left
        before = one
    return verdicts


def _may_go_on(before: Said | None, answer: Said, asked: Said, long: int) -> bool:
    """Whether the answer may be a later part of what went out just before this was asked.

    An answer has several parts when it is long, or when a file comes after its text.
    """
    return before is not None and asked.at - before.at < ON_ITS_WAY and (before.chars >= long or answer.has_file)
