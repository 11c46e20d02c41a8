"""Was every promise kept? Pure: what was seen goes in, what was broken comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from recado.cli.demo.play import ANA, BRUNO, CARLA, DAVI, SPOKEN, Contact, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One sentence, and what breaks it as far as anything does."""

    says: str
    broken_by: tuple[str, ...]


def promises(seen: Seen) -> list[Promise]:
    """What the demo is about, each with what was found against it."""
    made = [
        Promise(says="every webhook was answered 200", broken_by=tuple(_unanswered(seen))),
        Promise(says="every reply arrived exactly once, word for word", broken_by=tuple(_not_once(seen))),
        Promise(says="the duplicate webhook made no second reply", broken_by=tuple(_duplicated(seen))),
        Promise(says="three messages in a row became one turn with one reply", broken_by=tuple(_not_one_turn(seen))),
        Promise(says="the long answer came in order and joins to the original", broken_by=tuple(_torn(seen))),
        Promise(says="the 429 was waited out, not lost", broken_by=tuple(_not_refused(seen))),
        Promise(says="a worker died with the work in hand; another finished it", broken_by=tuple(_not_killed(seen))),
        Promise(says="each reply was followed until it was read", broken_by=tuple(_not_followed(seen))),
    ]
    if DAVI in seen.expected:
        made.insert(5, Promise(says="the voice note was understood, word for word", broken_by=tuple(_not_heard(seen))))
    return made


def problems(seen: Seen) -> list[str]:
    """Everything that was found against the promises; empty when all were kept."""
    return [problem for promise in promises(seen) for problem in promise.broken_by]


def _replies(seen: Seen, contact: Contact) -> list[str]:
    return [bubble.body for bubble in seen.threads[contact] if not bubble.inbound]


def _unanswered(seen: Seen) -> Iterator[str]:
    for contact, thread in seen.threads.items():
        for bubble in thread:
            if bubble.inbound and (not bubble.webhook_statuses or set(bubble.webhook_statuses) != {200}):
                yield f"{contact.name}: a webhook was answered {bubble.webhook_statuses}"


def _not_once(seen: Seen) -> Iterator[str]:
    for contact, expected in seen.expected.items():
        replies = _replies(seen, contact)
        for body in expected:
            if (times := replies.count(body)) != 1:
                yield f"{contact.name}: came {times} times: {_short(body)}"
        for body in dict.fromkeys(replies):
            if body not in expected:
                yield f"{contact.name}: came and was not expected: {_short(body)}"


def _duplicated(seen: Seen) -> Iterator[str]:
    if seen.duplicates is None:
        yield "no duplicate webhook was sent"
    elif seen.duplicates.statuses != [200, 200]:
        yield f"the duplicate webhooks were answered {seen.duplicates.statuses}"
    if (replies := len(_replies(seen, ANA))) != 1:
        yield f"{ANA.name}: one question, three webhooks, {replies} replies"


def _not_one_turn(seen: Seen) -> Iterator[str]:
    if (turns := seen.turns[BRUNO]) != 1:
        yield f"{BRUNO.name}: {turns} turns answered the burst"
    if (replies := len(_replies(seen, BRUNO))) != 1:
        yield f"{BRUNO.name}: {replies} replies answered the burst"


def _torn(seen: Seen) -> Iterator[str]:
    expected = seen.expected[CARLA]
    if len(expected) < 2 or len("".join(expected)) <= 3000:
        yield "the long answer is not long"
    if "".join(_replies(seen, CARLA)) != "".join(expected):
        yield f"{CARLA.name}: the parts don't join to the original"


def _not_heard(seen: Seen) -> Iterator[str]:
    spoken, heard = _words(SPOKEN), _words(seen.transcript or "")
    if spoken != heard:
        yield f"{DAVI.name}: said {SPOKEN!r}, understood {seen.transcript!r}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _not_refused(seen: Seen) -> Iterator[str]:
    if seen.refused != 1:
        yield f"Twilio refused {seen.refused} calls with 429, not one"


def _not_killed(seen: Seen) -> Iterator[str]:
    if seen.killed is None:
        yield "no worker was killed"


def _not_followed(seen: Seen) -> Iterator[str]:
    for contact, thread in seen.threads.items():
        for bubble in thread:
            if not bubble.inbound and bubble.status != "read":
                yield f"{contact.name}: a reply is {bubble.status} on the phone"
        if set(seen.statuses[contact]) != {"read"}:
            yield f"{contact.name}: our rows say {', '.join(seen.statuses[contact]) or 'nothing'}"


def _short(body: str) -> str:
    line = " ".join(body.split())
    return line if len(line) <= 60 else line[:59] + "…"
