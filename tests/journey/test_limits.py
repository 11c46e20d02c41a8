"""limits: an authentic message over its limit is kept and shown, not answered; a flood harms only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from recado.db.group_commit import GroupCommit
from recado.db.scope import scoped
from recado.db.work import TURN
from recado.journey.accept import accept
from recado.journey.receive import limits
from recado.ops import failed, recovery
from tests.channels.examples import inbound
from tests.journey.front import Front, message_sid, open_front
from tests.product import OUTBOUND, Product

ANA, BIA, CAIO = (f"whatsapp:+55119876500{number:02d}" for number in (1, 2, 3))
UNKNOWN_NUMBER = "whatsapp:+14155559999"


def text(contact: str = ANA, **changes: str | None) -> list[tuple[str, str]]:
    return inbound("text", **{"MessageSid": message_sid(), "From": contact, **changes})


@asynccontextmanager
async def limited(url: str, home: Path, rates: str = "contact=3/day") -> AsyncIterator[Front]:
    async with open_front(url, home, limits=rates) as front:
        yield front


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with limited(front_url, tmp_path) as opened:
        yield opened


async def say(front: Front, count: int, contact: str = ANA, **changes: str | None) -> None:
    for _ in range(count):
        assert (await front.post(text(contact, **changes))).status_code == 200


def inbound_of(front: Front) -> list[str]:
    return [row["status"] for row in front.stored() if row["direction"] == "inbound"]


def courtesies(front: Front) -> list[str]:
    return [row["body"] for row in front.stored() if row["author"] == "system"]


async def test_what_is_over_the_limit_is_stored_as_held_without_work_and_answered_200(front: Front) -> None:
    await say(front, 6)
    assert inbound_of(front) == ["received"] * 3 + ["held"] * 3
    turns = [work for work in front.work() if work["name"] == TURN]
    assert len(turns) == 3
    events = [row["what"] for row in front.rows("SELECT what FROM events WHERE step = 'accept' ORDER BY id")]
    assert sorted(events) == sorted(["received"] * 3 + ["limited"] * 3 + ["courtesy"])


async def test_another_contact_is_answered_as_always(front: Front) -> None:
    await say(front, 10)
    await say(front, 3, BIA)
    assert inbound_of(front)[10:] == ["received"] * 3


async def test_held_messages_are_shown_with_the_reason_and_can_be_answered_after_all(front: Front) -> None:
    await say(front, 4)
    async with front.wiring.platform_pool() as platform, platform.connection() as conn:
        (shown,) = await failed.failures(conn)
        assert (shown.held_for, shown.text) == ("limit", "It came over the limit of its contact or Twilio account.")
        assert await failed.retry(conn, shown.id) == "queued"
    assert inbound_of(front) == ["received"] * 4


async def test_recovery_gives_held_messages_no_work(front: Front) -> None:
    await say(front, 5)
    with psycopg.connect(front.database_url) as conn:
        conn.execute("DELETE FROM dbos.workflow_status")
        conn.execute("UPDATE recado.messages SET received_at = received_at - interval '1 hour' WHERE status = 'held'")
    async with front.wiring.platform_pool() as platform:
        await recovery.give_work_to_strays(platform)
    held = {str(row["id"]) for row in front.stored() if row["status"] == "held"}
    assert len(held) == 2
    assert not any(work["workflow_uuid"].partition(":")[0] in held for work in front.work())


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("Você não me responde, o que está acontecendo?", "pt"),
        ("¿Por qué no me responden? ¿Qué pasó?", "es"),
        ("Why are you not answering me?", "en"),
        ("???", "pt"),
    ],
)
async def test_the_contact_hears_of_it_once_in_their_language(front: Front, words: str, language: str) -> None:
    await say(front, 8, Body=words)
    assert courtesies(front) == [limits.COURTESY[language]]
    deliveries = [work for work in front.work() if work["name"] == "send_whatsapp_message"]
    assert len(deliveries) == 1


async def test_where_the_number_names_no_assistant_they_hear_it_in_the_default_ones_language(front: Front) -> None:
    with psycopg.connect(front.database_url) as conn:
        conn.execute("UPDATE recado.numbers SET assistant_id = NULL")
    await say(front, 8, Body="???")
    assert courtesies(front) == [limits.COURTESY["pt"]]


async def test_processes_that_count_by_themselves_still_send_one_courtesy(
    front: Front, front_url: str, tmp_path: Path
) -> None:
    async with open_front(front_url, tmp_path, found=False, limits="contact=3/day") as other:
        await asyncio.gather(*(api.post(text()) for _ in range(8) for api in (front, other)))
    assert len(courtesies(front)) == 1
    assert inbound_of(front).count("held") == 10


async def test_a_new_window_may_bring_a_new_courtesy_and_the_same_one_never(front: Front) -> None:
    await say(front, 4)
    (held,) = [row for row in front.stored() if row["status"] == "held"]
    now = front.wiring.clock.now()
    for later, told in ((timedelta(hours=23), False), (timedelta(hours=25), True), (timedelta(hours=26), False)):
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            assert await limits.tell(scope, held["id"], "oi", window_s=86_400, now=now + later) is told


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE recado.conversations SET status = 'handoff'",
        "UPDATE recado.owners SET status = 'suspended'",
    ],
)
async def test_no_courtesy_goes_where_the_assistant_is_silent(front: Front, change: str) -> None:
    await say(front, 3)
    with psycopg.connect(front.database_url) as conn:
        conn.execute(change)  # type: ignore[arg-type]
    await say(front, 2)
    assert inbound_of(front)[3:] == ["held"] * 2
    assert courtesies(front) == []


async def test_no_courtesy_comes_from_a_number_that_nobody_added(front: Front) -> None:
    await say(front, 5, To=UNKNOWN_NUMBER)
    assert inbound_of(front) == ["unrouted"] * 3 + ["held"] * 2
    assert courtesies(front) == []


async def test_a_repeated_webhook_changes_nothing_of_a_held_message(front: Front) -> None:
    await say(front, 3)
    message = text()
    for _ in range(4):
        assert (await front.post(message)).status_code == 200
    assert inbound_of(front) == ["received"] * 3 + ["held"]
    assert len(courtesies(front)) == 1


async def test_a_repeated_webhook_uses_up_nothing_of_its_contacts_limit(front: Front) -> None:
    recorded = text()
    for _ in range(5):
        assert (await front.post(recorded)).status_code == 200
    await asyncio.gather(*(front.post(recorded) for _ in range(5)))
    await say(front, 3)
    assert inbound_of(front) == ["received"] * 3 + ["held"]


async def test_nor_do_many_that_were_recorded_long_ago(front: Front, front_url: str, tmp_path: Path) -> None:
    recorded = [text() for _ in range(3)]
    for message in recorded:
        await front.post(message)
    async with open_front(front_url, tmp_path, found=False, limits="account=3/day;contact=3/day") as forgetful:
        for message in recorded * 3:
            assert (await forgetful.post(message)).status_code == 200
        await say(forgetful, 4)
    assert inbound_of(front) == ["received"] * 6 + ["held"]


async def test_a_webhook_that_could_not_be_stored_counts_when_it_comes_again_and_not_before(front: Front) -> None:
    again = text()
    with psycopg.connect(front.database_url, autocommit=True) as conn:
        conn.execute("ALTER TABLE recado.messages RENAME TO away")
        for message in (again, again, text(), text()):
            assert (await front.post(message)).status_code >= 500
        conn.execute("ALTER TABLE recado.away RENAME TO messages")
    for _ in range(2):
        assert (await front.post(again)).status_code == 200
    await say(front, 3)
    assert inbound_of(front) == ["received"] * 3 + ["held"]


def test_so_many_verdicts_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED", 10)
    remembered, account = limits.Remembered(), UUID(int=1)
    for number in range(95):
        remembered.keep((account, str(number)), limits.ADMITTED)
    known = [number for number in range(95) if remembered.get((account, str(number))) is not None]
    assert known == list(range(80, 95))


async def test_over_the_accounts_limit_messages_are_held_and_nobody_is_told(front_url: str, tmp_path: Path) -> None:
    async with limited(front_url, tmp_path, "account=4/day") as front:
        for contact in (ANA, BIA, CAIO):
            await say(front, 2, contact)
        assert inbound_of(front) == ["received"] * 4 + ["held"] * 2
        assert courtesies(front) == []


async def test_one_contacts_flood_does_not_use_up_the_accounts_limit(front_url: str, tmp_path: Path) -> None:
    async with limited(front_url, tmp_path, "account=6/day;contact=3/day") as front:
        await say(front, 20)
        await say(front, 3, BIA)
        assert inbound_of(front)[20:] == ["received"] * 3


async def test_status_callbacks_are_not_limited(front_url: str, tmp_path: Path) -> None:
    async with limited(front_url, tmp_path, "ip=1/day;account=1/day;contact=1/day") as front:
        for _ in range(5):
            answer = await front.post(text(SmsStatus=None, MessageStatus="sent"), path=OUTBOUND)
            assert answer.status_code == 200


async def test_off_limits_nothing(front_url: str, tmp_path: Path) -> None:
    async with limited(front_url, tmp_path, "off") as front:
        await asyncio.gather(*(front.post(text()) for _ in range(40)))
        assert set(inbound_of(front)) == {"received"}


async def test_held_messages_do_not_delay_the_lane_of_the_others(front: Front) -> None:
    first = await front.arrival("primeira")
    flood = [replace(await front.arrival(), held=limits.LIMITED) for _ in range(100)]
    async with GroupCommit(front.lane, accept.write, accept.lane_of, apart=accept.is_held) as acceptor:
        answers = await asyncio.gather(*(acceptor.submit(row) for row in (*flood, first)))
    assert all(answer.new for answer in answers)
    assert inbound_of(front).count("held") == 100


def test_a_contact_who_floods_is_told_once_and_answered_for_what_came_before(product: Product) -> None:
    contact = product.company().contact()
    for number in range(33):
        contact.says(f"Qual o horário? {number}")
    replies = contact.replies(2)
    assert [reply.body for reply in replies].count(limits.COURTESY["pt"]) == 1
    assert [row["status"] for row in contact.messages() if row["status"] == "held"] == ["held"] * 3
