"""accept: 200 means that the message and its work are committed together, once."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from recado.assistants import assistant
from recado.channels.twilio import accounts
from recado.db.embedded import Lease
from recado.db.group_commit import GroupCommit, Unavailable
from recado.db.pool import FIRST_PLANS, Connection, renew_plans
from recado.db.scope import scoped
from recado.db.work import TURN, TURNS
from recado.journey.accept import accept
from recado.journey.accept.accept import Accepted
from recado.ops import recovery
from tests.channels.examples import inbound
from tests.journey.front import ACCOUNT_SID, NUMBER, Front, message_sid, open_front
from tests.product import establish

UNKNOWN_NUMBER = "whatsapp:+14155559999"


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


def text(**changes: str | None) -> list[tuple[str, str]]:
    return inbound("text", **{"MessageSid": message_sid(), **changes})


async def test_the_same_message_on_two_processes_at_once_is_stored_once_with_one_turn(
    front: Front, front_url: str, tmp_path: Path
) -> None:
    async with open_front(front_url, tmp_path, found=False) as other:
        for _ in range(5):
            message = text()
            answers = await asyncio.gather(*(api.post(message) for _ in range(10) for api in (front, other)))
            assert {answer.status_code for answer in answers} == {200}
    stored = front.stored()
    assert len(stored) == 5
    assert [row["workflow_uuid"] for row in front.work()] == [str(row["id"]) for row in stored]
    assert len(front.rows("SELECT FROM events WHERE step = 'accept'")) == 5
    assert len(front.rows("SELECT FROM contacts")) == len(front.rows("SELECT FROM conversations")) == 1


async def test_a_message_repeated_within_one_batch_is_stored_once_and_every_caller_hears_of_it(front: Front) -> None:
    sid = message_sid()
    arrivals = [await front.arrival(MessageSid=sid) for _ in range(3)]
    answers = await front.accept(*arrivals)
    assert [answer.new for answer in answers].count(True) == 1
    assert {answer.message_id for answer in answers} == {row["id"] for row in front.stored()}


async def test_the_turns_workflow_carries_ids_and_the_time_of_arrival_and_nothing_else(front: Front) -> None:
    arrival = await front.arrival("segredo")
    await front.accept(arrival)
    (work,) = front.work()
    (stored,) = front.stored()
    conversation_id = str(stored["conversation_id"])
    given = json.loads(work["inputs"])
    *ids, arrived_ms = given["positionalArgs"]
    assert ids == [str(front.owner_id), conversation_id, str(stored["id"])]
    assert arrived_ms == pytest.approx(arrival.received_at.timestamp() * 1000, abs=1)
    assert (work["name"], work["queue_name"], work["queue_partition_key"]) == (
        TURN,
        TURNS,
        conversation_id,
    )
    assert work["lane_owner"] == str(front.owner_id), "a lane's name begins with its owner"
    assert "segredo" not in work["inputs"]


@pytest.mark.parametrize("broken", ["dbos.workflow_status", "recado.events", "recado.messages"])
async def test_message_and_work_are_stored_together_or_not_at_all(
    database_url: str, tmp_path: Path, broken: str
) -> None:
    async with open_front(database_url, tmp_path) as front:
        with psycopg.connect(database_url) as conn:
            conn.execute(
                "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$"
            )
            conn.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {broken} EXECUTE FUNCTION public.refuse()")  # type: ignore[arg-type]
        assert (await front.post(text())).status_code == 500
        for table in ("recado.messages", "recado.contacts", "recado.conversations", "recado.events"):
            assert front.rows(f"SELECT FROM {table}") == [], table
        assert front.work() == []


@pytest.mark.parametrize("poison", ["a NUL", "another owner's number", "a number that is not there"])
async def test_a_poisonous_row_harms_only_itself(front: Front, poison: str) -> None:
    foreign = await establish(front.wiring, "AC" + "1" * 32, "token", "whatsapp:+14155550001")
    (theirs,) = front.rows("SELECT id FROM numbers WHERE owner_id = %s", foreign)
    arrivals = [await front.arrival(str(number), From=f"whatsapp:+5511987650{number:03d}") for number in range(30)]
    bad = arrivals[13]
    match poison:
        case "a NUL":
            arrivals[13] = replace(bad, words="a\0b")
        case "another owner's number":
            arrivals[13] = replace(bad, number=replace(bad.number, id=theirs["id"]))
        case _:
            arrivals[13] = replace(bad, number=replace(bad.number, id=bad.message_id))
    async with GroupCommit(front.lane, accept.write, accept.lane_of) as acceptor:
        answers = await asyncio.gather(*(acceptor.submit(row) for row in arrivals), return_exceptions=True)
    assert isinstance(answers.pop(13), psycopg.Error)
    assert all(isinstance(answer, Accepted) and answer.new for answer in answers)
    assert {row["body"] for row in front.stored()} == {str(number) for number in range(30) if number != 13}
    assert len(front.work()) == 29


async def test_200_messages_of_one_owner_are_answered_while_rows_of_another_are_locked_ahead_of_theirs(
    front: Front,
) -> None:
    other_sid, number = "AC" + secrets.token_hex(16), "whatsapp:+14155550003"
    await establish(front.wiring, other_sid, "token", number)
    people = [f"whatsapp:+551196765{number:04d}" for number in range(12)]
    await front.accept(*[await front.arrival(From=person) for person in people])
    stuck = [await front.arrival("meu", From=person) for person in people]
    theirs = [
        await front.arrival("deles", account_sid=other_sid, to=number, From=f"whatsapp:+551195765{index:04d}")
        for index in range(200)
    ]
    async with GroupCommit(
        front.lane, accept.write, accept.lane_of, apart=accept.is_held, owner_of=lambda row: row.owner_id
    ) as acceptor:
        with psycopg.connect(front.database_url) as blocker:
            blocker.execute("SELECT FROM recado.contacts, recado.conversations FOR UPDATE")
            ours = [asyncio.create_task(acceptor.submit(row)) for row in stuck]  # in both lanes, at their heads
            answers = await asyncio.gather(*(acceptor.submit(row) for row in theirs))
            assert all(answer.new for answer in answers)
            refused = await asyncio.gather(*ours, return_exceptions=True)
            assert {type(answer) for answer in refused} == {Unavailable}
        again = await asyncio.gather(*(acceptor.submit(row) for row in stuck))
        assert all(answer.new for answer in again)
    assert len(front.stored()) == 200 + 2 * len(people)


@contextmanager
def database_away(cluster: Lease, database_url: str) -> Iterator[None]:
    """Nobody can be connected to the database for a while."""
    name = sql.Identifier(database_url.rsplit("/", 1)[1].split("?")[0])
    with psycopg.connect(cluster.admin_url, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name.as_string().strip('"')],
        )
        try:
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


async def test_while_the_database_is_away_the_answer_is_a_quick_503_and_never_200(
    cluster: Lease, database_url: str, tmp_path: Path
) -> None:
    async with open_front(database_url, tmp_path) as front:
        assert (await front.post(text())).status_code == 200
        lost = text()
        with database_away(cluster, database_url):
            began = time.monotonic()
            answers = await asyncio.gather(*(front.post(lost) for _ in range(20)))
            assert time.monotonic() - began < 5
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"1"}
            assert answers[0].json() == {"type": "about:blank", "title": "Unavailable", "status": 503}
        assert len(front.stored()) == 1
        # Twilio comes again.
        assert (await front.post(lost)).status_code == 200
        assert len(front.stored()) == len(front.work()) == 2


async def test_a_process_that_has_not_seen_the_account_yet_answers_503_too(
    cluster: Lease, database_url: str, tmp_path: Path
) -> None:
    async with open_front(database_url, tmp_path) as front:
        with database_away(cluster, database_url):
            began = time.monotonic()
            answer = await front.post(text())
            assert answer.status_code == 503
            assert time.monotonic() - began < 8
        for _ in range(100):
            if (await front.post(text())).status_code == 200:
                break
            await asyncio.sleep(0.1)
        assert len(front.stored()) == 1


async def test_one_contacts_messages_keep_their_order_under_load(front: Front) -> None:
    people = [f"whatsapp:+551198765{number:04d}" for number in range(8)]
    arrivals = [await front.arrival(f"{number}", From=person) for number in range(25) for person in people]
    async with GroupCommit(front.lane, accept.write, accept.lane_of) as acceptor:
        await asyncio.gather(*(acceptor.submit(row) for row in arrivals))
    for person in people:
        stored = front.rows(
            "SELECT m.id, m.body FROM messages m JOIN conversations v ON v.id = m.conversation_id "
            "JOIN contacts c ON c.id = v.contact_id WHERE c.address = %s ORDER BY m.id",
            person,
        )
        assert [row["body"] for row in stored] == [str(number) for number in range(25)]
        mine = {str(row["id"]) for row in stored}
        lane = [row["workflow_uuid"] for row in front.work() if row["workflow_uuid"] in mine]
        assert lane == [str(row["id"]) for row in stored]


async def test_two_owners_in_one_batch_each_get_their_own_rows(front: Front) -> None:
    other_sid = "AC" + secrets.token_hex(16)
    other = await establish(front.wiring, other_sid, "token", "whatsapp:+14155550002")
    mine = [await front.arrival("meu") for _ in range(3)]
    theirs = [await front.arrival("deles", account_sid=other_sid, to="whatsapp:+14155550002") for _ in range(3)]
    answers = await front.accept(*(row for pair in zip(mine, theirs, strict=True) for row in pair))
    assert all(answer.new for answer in answers)
    for owner_id, body in ((front.owner_id, "meu"), (other, "deles")):
        async with scoped(front.wiring.pool, owner_id) as scope:
            rows = await (await scope.conn.execute("SELECT owner_id, body FROM messages")).fetchall()
        assert rows == [{"owner_id": owner_id, "body": body}] * 3
        contacts = front.rows("SELECT FROM contacts WHERE owner_id = %s", owner_id)
        assert len(contacts) == 1, "the same person is a contact of each owner"


async def test_the_two_forms_of_a_brazilian_number_are_one_contact_who_is_answered_at_the_last_one(
    front: Front,
) -> None:
    for form in ("whatsapp:+5511987654321", "whatsapp:+551187654321"):
        assert (await front.post(text(From=form))).status_code == 200
    (contact,) = front.rows("SELECT address FROM contacts")
    assert contact["address"] == "whatsapp:+551187654321"
    assert len({row["conversation_id"] for row in front.stored()}) == 1


async def test_a_message_without_a_name_keeps_the_name_that_is_known(front: Front) -> None:
    await front.post(text(ProfileName="Ana"))
    await front.post(text(ProfileName=None))
    await front.post(text(ProfileName=None, From="whatsapp:+551187654321"))
    (contact,) = front.rows("SELECT profile_name FROM contacts")
    assert contact["profile_name"] == "Ana"


async def test_a_new_message_opens_the_24_hours_again_and_an_old_one_does_not_shorten_them(front: Front) -> None:
    now = front.wiring.clock.now()
    await front.accept(await front.arrival(at=now))
    await front.accept(await front.arrival(at=now - timedelta(hours=1)))
    (conversation,) = front.rows("SELECT last_inbound_at FROM conversations")
    assert conversation["last_inbound_at"] == now


async def test_a_message_after_the_conversation_closed_opens_a_new_one(front: Front) -> None:
    await front.post(text())
    with psycopg.connect(front.database_url) as conn:
        conn.execute("UPDATE recado.conversations SET status = 'closed'")
    await front.post(text())
    assert len({row["conversation_id"] for row in front.stored()}) == 2


async def test_a_message_to_an_unknown_number_is_kept_and_answered_once_the_number_is_added(front: Front) -> None:
    assert (await front.post(text(To=UNKNOWN_NUMBER))).status_code == 200
    (stored,) = front.stored()
    assert stored["status"] == "unrouted"
    assert front.work() == []
    # As if it had come a minute ago: recovery leaves alone what is younger than it takes to be stored.
    with psycopg.connect(front.database_url) as conn:
        conn.execute("UPDATE recado.messages SET id = recado.uuid_floor(now() - interval '1 minute')")
    async with front.wiring.platform_pool() as platform:
        assert await recovery.give_work_to_strays(platform) == 0
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            made = await assistant.ensure_default(scope)
            await accounts.add_number(scope, account_sid=ACCOUNT_SID, address=UNKNOWN_NUMBER, assistant_id=made.id)
        assert await recovery.give_work_to_strays(platform) == 1
    (work,) = front.work()
    assert (work["name"], work["queue_partition_key"]) == (TURN, str(stored["conversation_id"]))
    assert [row["status"] for row in front.stored()] == ["received"]


async def test_a_message_older_than_a_day_stays_unrouted_when_the_number_is_added(front: Front) -> None:
    await front.accept(await front.arrival(to=UNKNOWN_NUMBER, at=front.wiring.clock.now() - timedelta(hours=25)))
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        made = await assistant.ensure_default(scope)
        await accounts.add_number(scope, account_sid=ACCOUNT_SID, address=UNKNOWN_NUMBER, assistant_id=made.id)
    assert [row["status"] for row in front.stored()] == ["unrouted"]


async def test_an_address_is_known_in_whatever_form_it_is_written(front: Front) -> None:
    assert (await front.post(text(To=NUMBER.removeprefix("whatsapp:")))).status_code == 200
    (stored,) = front.stored()
    assert stored["status"] == "received", "the prefix is sometimes missing"


SCOPED = "US.13491208655302741918"
PHONE = {"From": "whatsapp:+5511987654321", "WaId": "5511987654321"}
BOTH = {**PHONE, "ExternalUserId": SCOPED}
ALONE = {"From": f"whatsapp:{SCOPED}", "WaId": None, "ExternalUserId": SCOPED}


@pytest.mark.parametrize(
    "forms",
    [(BOTH, ALONE), (PHONE, BOTH, ALONE, PHONE), (ALONE, BOTH, ALONE), ({**ALONE, "WaId": "5511987654321"}, PHONE)],
)
async def test_a_person_is_one_contact_by_number_and_by_business_scoped_id(
    front: Front, forms: tuple[dict[str, str | None], ...]
) -> None:
    for form in forms:
        await front.accept(await front.arrival(**form))
    [contact] = front.rows("SELECT address FROM contacts")
    assert contact["address"] == forms[-1]["From"], "the reply goes to the address that came last"
    assert len({row["conversation_id"] for row in front.stored()}) == 1
    assert len(front.stored()) == len(forms)


async def test_another_person_with_another_id_is_another_contact(front: Front) -> None:
    await front.accept(await front.arrival(**BOTH))
    for other in ({"From": "whatsapp:US.999", "WaId": None}, {"From": "whatsapp:+5511900000000", "WaId": None}):
        await front.accept(await front.arrival(**other))
    assert len(front.rows("SELECT FROM contacts")) == 3


async def test_stop_by_business_scoped_id_stops_what_goes_to_the_number(front: Front) -> None:
    await front.accept(await front.arrival(**BOTH))
    await front.accept(await front.arrival("STOP", **ALONE))
    [suppressed] = front.rows("SELECT identity_key FROM suppressions")
    [contact] = front.rows("SELECT identity_key FROM contacts")
    assert suppressed == contact


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("known_by", ["number", "number and id", "id"])
async def test_what_it_reads_does_not_grow_with_what_is_stored(front: Front, known_by: str, counted: bool) -> None:
    # Plans are made on small tables and kept: one that reads all of an owner's rows costs more with every message.
    if counted:
        with psycopg.connect(front.database_url, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE")  # PostgreSQL knows that there is nothing; else it supposes ten pages
    async with await front.lane() as lane:
        read = []
        for batch in range(
            2 * FIRST_PLANS + 4 if counted else 12
        ):  # from the sixth on the plan is the one that is kept
            await renew_plans(lane)
            people = [f"whatsapp:+5511987{batch:03}{number:03}" for number in range(20)]
            ids = [f"BR.{batch}{number:03}" for number in range(20)]
            more: list[dict[str, str | None]] = [
                {
                    "number": {"From": address},
                    "number and id": {"From": address, "ExternalUserId": scoped_id},
                    "id": {"From": f"whatsapp:{scoped_id}", "WaId": None},
                }[known_by]
                for address, scoped_id in zip(people, ids, strict=True)
            ]
            arrivals = [await front.arrival(f"Oi {batch}", **told) for told in more]
            async with lane.transaction():
                before = await _rows_read(lane)
                await accept.write(lane, arrivals)
                read.append(await _rows_read(lane) - before)
    assert max(read[-4:]) <= min(read[1:6]) + 20, read


async def _rows_read(lane: Connection) -> int:
    cursor = await lane.execute(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_user_tables "
        "WHERE schemaname = 'recado'"
    )
    [row] = await cursor.fetchall()
    return int(row["rows"])
