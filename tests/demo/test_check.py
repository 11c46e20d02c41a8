"""The demo's judge: what was kept passes, and each promise that is broken is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from rich.console import Console

from recado.cli.demo.check import problems, promises
from recado.cli.demo.play import ANA, BRUNO, CARLA, DAVI, SPOKEN, Contact, Seen
from recado.cli.demo.transcript import show, show_promises
from recado.simulator.views import Bubble, Sent, WebhookAttempt

PARTS = ("a" * 1500, "b" * 1500, "c" * 100)


def bubble(seq: int, body: str, *, inbound: bool = False, **changes: object) -> Bubble:
    made = Bubble(
        seq=seq,
        sid=f"SM{seq:032x}",
        account_sid="AC" + "0" * 32,
        number="whatsapp:+14155238886",
        contact="",
        direction="inbound" if inbound else "outbound-api",
        body=body,
        media_urls=[],
        status="received" if inbound else "read",
        error_code=None,
        created_at=1000.0 + seq,
        sent_at=None,
        delivered_at=None,
        read_at=None if inbound else 1001.0 + seq,
        webhook_statuses=[200] if inbound else [],
        acknowledged=inbound,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def kept() -> Seen:
    ok = WebhookAttempt(status=200, error=None, ms=1.0)
    return Seen(
        threads={
            ANA: [bubble(1, "?", inbound=True), bubble(2, "!")],
            BRUNO: [bubble(n, "?", inbound=True) for n in (3, 4, 5)] + [bubble(6, "both")],
            CARLA: [
                bubble(7, "?", inbound=True),
                *(bubble(8 + index, body) for index, body in enumerate(PARTS)),
            ],
            DAVI: [bubble(20, "", inbound=True), bubble(21, "6")],
        },
        expected={ANA: ("!",), BRUNO: ("both",), CARLA: PARTS, DAVI: ("6",)},
        transcript=SPOKEN,
        duplicates=Sent(sid="SM1", attempts=(ok, ok)),
        refused=1,
        killed="worker-1",
        turns={ANA: 1, BRUNO: 1, CARLA: 1, DAVI: 1},
        statuses={ANA: ["read"], BRUNO: ["read"], CARLA: ["read"], DAVI: ["read"]},
    )


def test_what_was_kept_has_no_problem() -> None:
    assert problems(kept()) == []


def _twice(contact: Contact) -> Callable[[Seen], object]:
    return lambda seen: seen.threads[contact].append(dataclasses.replace(seen.threads[contact][-1], seq=99))


def _swap_parts(seen: Seen) -> None:
    thread = seen.threads[CARLA]
    thread[1], thread[2] = thread[2], thread[1]


def _change(contact: Contact, index: int, **changes: object) -> Callable[[Seen], object]:
    def change(seen: Seen) -> None:
        thread = seen.threads[contact]
        thread[index] = dataclasses.replace(thread[index], **changes)  # type: ignore[arg-type]

    return change


BREAKS: dict[str, tuple[Callable[[Seen], object], str]] = {
    "a reply came twice": (_twice(ANA), "came 2 times"),
    "a part came twice": (_twice(CARLA), "came 2 times"),
    "a reply is missing": (lambda seen: seen.threads[BRUNO].pop(), "came 0 times"),
    "a reply has other words": (_change(ANA, -1, body="?!"), "was not expected"),
    "parts are out of order": (_swap_parts, "don't join"),
    "a webhook was refused": (_change(ANA, 0, webhook_statuses=[503, 200]), "answered [503, 200]"),
    "a webhook was never answered": (_change(ANA, 0, webhook_statuses=[]), "answered []"),
    "the burst was two turns": (lambda seen: seen.turns.update({BRUNO: 2}), "2 turns"),
    "the voice note was not understood": (lambda seen: setattr(seen, "transcript", None), "understood None"),
    "no worker died": (lambda seen: setattr(seen, "killed", None), "no worker was killed"),
    "no call was refused": (lambda seen: setattr(seen, "refused", 0), "not one"),
    "no duplicate was sent": (lambda seen: setattr(seen, "duplicates", None), "no duplicate"),
    "a reply was not read": (_change(CARLA, -1, status="sent"), "is sent on the phone"),
    "a callback was lost to us": (lambda seen: seen.statuses.update({ANA: ["sent"]}), "our rows say sent"),
}


@pytest.mark.parametrize("case", BREAKS, ids=list(BREAKS))
def test_each_broken_promise_is_found(case: str) -> None:
    seen = kept()
    break_it, said = BREAKS[case]
    break_it(seen)
    assert any(said in problem for problem in problems(seen))


def test_the_transcript_shows_every_message_its_ticks_and_what_was_broken() -> None:
    seen = kept()
    seen.threads[ANA][-1] = dataclasses.replace(seen.threads[ANA][-1], status="failed")
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        show(console, seen)
        show_promises(console, promises(seen), problems(seen))
    text = console.export_text()
    assert "both" in text
    assert "✓✓" in text
    assert "✗ each reply was followed until it was read" in text
    assert "a reply is failed on the phone" in text
    assert "characters more" in text
