"""confirm: what Twilio says of a message moves its status forward only, in whatever order it is said."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recado.channels.port import Receipt
from recado.conversations import messages, parts, suppressions
from recado.db.scope import scoped
from recado.delivery.status import RANK, Status
from recado.errors import Conflict
from recado.ids import new_id
from recado.journey.confirm import confirm as confirming
from recado.journey.confirm.confirm import Callback
from recado.ops import failed
from recado.simulator.client import SimulatorClient
from tests.channels.examples import inbound, status
from tests.cli.rows import Rows
from tests.delivery.status_model import advance, aggregate
from tests.journey.front import TOKEN, Front, message_sid, open_front
from tests.journey.post_office import PostOffice, post_office
from tests.product import OUTBOUND, Product, establish


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


async def outbound(front: Front, *bodies: str) -> UUID:
    """An outbound message in these parts, none of them sent yet."""
    await front.post(inbound("text", MessageSid=message_sid()))
    (conversation,) = front.rows("SELECT id FROM conversations WHERE owner_id = %s LIMIT 1", front.owner_id)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        message_id = await messages.enqueue_outbound(
            scope,
            conversation_id=conversation["id"],
            author="assistant",
            body="\n".join(bodies),
            correlation_id=new_id(),
            now=front.wiring.clock.now(),
        )
        await parts.plan(scope, message_id, bodies)
    return message_id


async def report(
    front: Front,
    said: str,
    sid: str,
    message_id: UUID | None = None,
    *,
    part: int = 1,
    code: int | None = None,
    token: str = TOKEN,
    account_sid: str | None = None,
) -> int:
    """Post a status callback; answers the HTTP status."""
    changes = {"MessageStatus": said, "SmsStatus": said, "MessageSid": sid, "SmsSid": sid}
    if code is not None:
        changes["ErrorCode"] = str(code)
    if account_sid is not None:
        changes["AccountSid"] = account_sid
    path = OUTBOUND if message_id is None else f"{OUTBOUND}?message={message_id}&part={part}"
    return (await front.post(status("sent", **changes), path=path, token=token)).status_code


def standing(front: Front, message_id: UUID) -> tuple[str, int | None]:
    (row,) = front.rows("SELECT status, error_code FROM messages WHERE id = %s", message_id)
    return row["status"], row["error_code"]


def said_of(front: Front, message_id: UUID) -> list[str]:
    found = front.rows("SELECT what FROM events WHERE message_id = %s AND step = 'confirm' ORDER BY id", message_id)
    return [row["what"] for row in found]


async def test_read_before_sent_stays_read(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    for said in ("read", "sent", "delivered", "queued"):
        assert await report(front, said, sid, message_id) == 200
    assert standing(front, message_id)[0] == "read"
    assert said_of(front, message_id) == ["read"]


async def test_a_callback_said_twenty_times_at_once_counts_once(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    answers = await asyncio.gather(*(report(front, "delivered", sid, message_id) for _ in range(20)))
    assert set(answers) == {200}
    assert said_of(front, message_id) == ["delivered"]


async def test_a_callback_that_comes_before_the_posts_answer_is_not_undone_by_it(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "delivered", sid, message_id)
    (row,) = front.rows("SELECT provider_sid FROM message_parts WHERE message_id = %s", message_id)
    assert row["provider_sid"] == sid
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await parts.move_status(scope, message_id=message_id, part=1, sid=sid, status="queued", error_code=None)
    assert standing(front, message_id)[0] == "delivered"


def test_through_the_whole_product_a_callback_may_overtake_the_posts_answer(post: PostOffice) -> None:
    post.contact.fault("callback-first")
    message = post.write("Olá")
    post.deliver(message)
    post.contact.settled(1)
    assert post.bodies() == ["Olá"]
    assert post.events(message, "confirm")[0]["what"] == "sent"


def test_through_the_whole_product_duplicates_and_disorder_change_nothing(post: PostOffice) -> None:
    post.contact.fault("duplicate-callbacks")
    post.contact.fault("disordered-callbacks")
    post.contact.fault(operation="callback", delay_ms=50, status="^sent$")
    message = post.write("Olá")
    post.deliver(message)
    (sid,) = [bubble.sid for bubble in post.contact.seen()]

    async def all_posted() -> bool:
        async with SimulatorClient(post.product.simulator_url) as client:
            return len(await client.webhooks(kind="callback", sid=sid)) >= 4

    while not post.product.call(all_posted):
        time.sleep(0.02)
    assert post.contact.settled(1)[0]["status"] == "delivered"


async def test_a_message_that_nobody_knows_is_answered_200_and_forgotten(front: Front) -> None:
    assert await report(front, "delivered", message_sid()) == 200
    assert await report(front, "delivered", message_sid(), new_id()) == 200
    assert front.rows("SELECT FROM events WHERE step = 'confirm'") == []


async def test_a_callback_without_our_id_finds_its_message_by_the_sid(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    await report(front, "delivered", sid)
    assert standing(front, message_id)[0] == "delivered"


async def test_a_forged_callback_is_403_and_moves_nothing(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    assert await report(front, "failed", sid, message_id, token="wrong") == 403
    assert standing(front, message_id)[0] == "sent"


async def test_another_owners_account_can_not_move_my_message(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    theirs = "AC" + secrets.token_hex(16)
    await establish(front.wiring, theirs, "their token", "whatsapp:+14155550003")
    for named in (message_id, None):
        assert await report(front, "failed", sid, named, code=21610, token="their token", account_sid=theirs) == 200
    assert standing(front, message_id) == ("sent", None)
    assert front.rows("SELECT FROM suppressions") == []


async def test_another_messages_sid_can_not_move_this_one(front: Front) -> None:
    message_id = await outbound(front, "Olá")
    await report(front, "sent", message_sid(), message_id)
    await report(front, "failed", message_sid(), message_id)
    assert standing(front, message_id)[0] == "sent"


async def test_a_failure_is_recorded_with_twilios_code(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    await report(front, "undelivered", sid, message_id, code=63016)
    assert standing(front, message_id) == ("failed", 63016)
    (event,) = front.rows("SELECT data FROM events WHERE message_id = %s AND what = 'undelivered'", message_id)
    assert event["data"]["error_code"] == 63016


async def test_what_was_delivered_after_all_did_not_fail(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "failed", sid, message_id, code=63018)
    await report(front, "delivered", sid, message_id)
    assert standing(front, message_id) == ("delivered", None)


@pytest.mark.parametrize("code", [21610, 63033])
async def test_a_failure_that_says_the_contact_wants_no_more_is_an_opt_out(front: Front, code: int) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    await report(front, "undelivered", sid, message_id, code=code)
    (kept,) = front.rows("SELECT owner_id, reason FROM suppressions")
    assert (kept["owner_id"], kept["reason"]) == (front.owner_id, f"twilio {code}")


@pytest.mark.parametrize("code", [21610, 63033, 63016])
async def test_a_callback_without_our_id_entails_what_one_with_it_does(front: Front, code: int) -> None:
    message_id, first, second = await outbound(front, "um", "dois"), message_sid(), message_sid()
    for part, sid in ((1, first), (2, second)):
        await report(front, "sent", sid, message_id, part=part)
    await report(front, "undelivered", second, code=code)
    assert standing(front, message_id) == ("failed", code)
    assert said_of(front, message_id)[2:] == ["undelivered", *(["opted_out"] if code != 63016 else [])]
    assert opted_out(front) == ([f"twilio {code}"] if code != 63016 else [])
    late = [row["workflow_uuid"] for row in front.work() if ":window:" in row["workflow_uuid"]]
    assert late == ([f"{message_id}:window:2:{second}"] if code == 63016 else [])


def opted_out(front: Front) -> list[str]:
    return [row["reason"] for row in front.rows("SELECT reason FROM suppressions")]


async def says(front: Front, words: str) -> None:
    await front.post(inbound("text", MessageSid=message_sid(), Body=words))


async def test_an_opt_out_that_twilio_tells_is_an_event_once_however_often_it_is_told(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    for said in ("failed", "failed", "undelivered"):
        await report(front, said, sid, message_id, code=63033)
    [event] = front.rows("SELECT step, message_id, data FROM events WHERE what = 'opted_out'")
    assert (event["step"], event["message_id"], event["data"]) == ("confirm", message_id, {"error_code": 63033})


@pytest.mark.parametrize("again", ["undelivered", "failed"])
async def test_a_callback_that_is_repeated_after_the_contact_opted_in_opts_nobody_out(front: Front, again: str) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "failed", sid, message_id, code=63033)
    assert opted_out(front) == ["twilio 63033"]
    await says(front, "START")
    await report(front, again, sid, message_id, code=63033)
    assert opted_out(front) == []
    assert standing(front, message_id) == ("failed", 63033)


async def test_what_is_still_said_of_a_message_that_is_sent_again_opts_nobody_out(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "undelivered", sid, message_id, code=63018)
    async with await front.wiring.connect("recado_platform") as platform:
        await failed.retry(platform, message_id)
    await report(front, "undelivered", sid, message_id, code=63033)
    assert opted_out(front) == []


@pytest.mark.parametrize("before", ["taken", "begun"])
async def test_the_failure_of_a_message_from_before_an_opt_in_opts_nobody_out(front: Front, before: str) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    if before == "taken":
        await report(front, "sent", sid, message_id)
    else:  # the callback overtakes the answer to the POST
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            assert await parts.begin_attempt(scope, message_id, 1, address="whatsapp:+5511987654321")
    await says(front, "START")  # nothing of the block was known here yet
    await report(front, "undelivered", sid, message_id, code=63033)
    assert (opted_out(front), standing(front, message_id)) == ([], ("failed", 63033))
    later = await outbound(front, "E agora?")
    await report(front, "undelivered", message_sid(), later, code=63033)
    assert opted_out(front) == ["twilio 63033"]


async def test_an_opt_in_that_is_being_committed_is_waited_for(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    await report(front, "sent", sid, message_id)
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute(
            "SELECT heed(v.owner_id, m.id, v.id, c.identity_key, 'start') FROM messages m "
            "JOIN conversations v ON v.id = m.conversation_id JOIN contacts c ON c.id = v.contact_id "
            "WHERE m.direction = 'inbound'"
        )
        callback = asyncio.create_task(report(front, "undelivered", sid, message_id, code=63033))
        await asyncio.sleep(0.4)
        assert not callback.done()
        conn.commit()
        assert await callback == 200
    assert opted_out(front) == []


@pytest.mark.parametrize("code", [21610, 63033])
async def test_what_whatsapp_says_takes_the_place_of_what_people_decided(front: Front, code: int) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    (contact,) = front.rows("SELECT id FROM contacts")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await suppressions.suppress(scope, contact["id"])
    await report(front, "undelivered", sid, message_id, code=code)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        with pytest.raises(Conflict, match=f"twilio {code}"):
            await suppressions.allow(scope, contact["id"])


async def test_a_message_in_parts_has_the_status_of_its_least_advanced_part(front: Front) -> None:
    message_id, first, second = await outbound(front, "um", "dois"), message_sid(), message_sid()
    await report(front, "delivered", first, message_id, part=1)
    assert standing(front, message_id)[0] == "queued", "the second is not even sent"
    await report(front, "sent", second, message_id, part=2)
    assert standing(front, message_id)[0] == "sent"
    await report(front, "read", second, message_id, part=2)
    assert standing(front, message_id)[0] == "delivered"
    await report(front, "undelivered", second, message_id, part=2)
    assert standing(front, message_id)[0] == "delivered", "it was read"


async def test_callbacks_about_many_messages_at_once_each_move_their_own(front: Front) -> None:
    made = [(await outbound(front, "Olá"), message_sid(), said) for said in ("sent", "delivered", "read") for _ in "ab"]
    await asyncio.gather(*(report(front, said, sid, message_id) for message_id, sid, said in made))
    assert [standing(front, message_id)[0] for message_id, _, _ in made] == [said for _, _, said in made]


words = st.one_of(st.sampled_from([item.value for item in Status]), st.just("levitating"))


async def test_in_any_order_the_database_agrees_with_the_rule(front: Front) -> None:
    histories: list[list[tuple[int, str]]] = []

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(1, 2), words), min_size=1, max_size=8))
    def collect(history: list[tuple[int, str]]) -> None:
        histories.append(history)

    await asyncio.to_thread(collect)
    for history in histories:
        message_id = await outbound(front, "um", "dois")
        sids = {1: message_sid(), 2: message_sid()}
        expected = {1: "waiting", 2: "waiting"}
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            for part, said in history:
                await parts.move_status(
                    scope, message_id=message_id, part=part, sid=sids[part], status=said, error_code=None
                )
                # Twilio has it, whatever the word: that much is known.
                known = said if said in RANK or expected[part] != "waiting" else "accepted"
                expected[part] = advance(expected[part], known)
            found = await parts.of_message(scope, message_id)
        assert {part.part: part.status for part in found} == expected, history
        assert standing(front, message_id)[0] == told(list(expected.values())), history


def told(statuses: Sequence[str]) -> str:
    """The rule for a message; before its first part is sent it is `queued`."""
    whole = aggregate(statuses)
    return "queued" if whole == "waiting" else whole


async def test_permuted_and_repeated_callbacks_over_http_end_in_the_same_status(front: Front) -> None:
    message_id, sid = await outbound(front, "Olá"), message_sid()
    said = ["queued", "sent", "read", "delivered", "sent", "read", "queued"]
    assert set(await asyncio.gather(*(report(front, word, sid, message_id) for word in said))) == {200}
    assert standing(front, message_id)[0] == "read"
    ranks = [RANK[what] for what in said_of(front, message_id)]
    assert ranks == sorted(ranks), "it went back for a moment"


async def test_what_is_still_said_of_a_message_that_is_sent_again_changes_nothing(front: Front) -> None:
    message_id, old, new = await outbound(front, "Olá"), message_sid(), message_sid()
    await report(front, "undelivered", old, message_id, code=63016)
    async with await front.wiring.connect("recado_platform") as platform:
        assert await failed.retry(platform, message_id) == "queued"
    for by_id in (message_id, None):
        assert await report(front, "undelivered", old, by_id, code=63016) == 200
    (part,) = front.rows("SELECT status, provider_sid FROM message_parts WHERE message_id = %s", message_id)
    assert (part["status"], part["provider_sid"]) == ("waiting", None)
    await report(front, "delivered", new, message_id)
    assert standing(front, message_id) == ("delivered", None)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        assert await parts.attributed(scope, [old, new, message_sid()]) == {old, new}


WAITING = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_batches_about_the_same_owners_in_opposite_order_do_not_lock_crosswise(front: Front) -> None:
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        other = Rows.with_an_owner(conn)

        def theirs() -> tuple[UUID, UUID]:
            return other.owner, other.outbound(status="queued", parts=[("waiting", None)])

        async def mine() -> tuple[UUID, UUID]:
            return front.owner_id, await outbound(front, "Oi")

        # Ids grow in this order.
        batches = [await mine(), theirs()], [theirs(), await mine()]
        first, second = ([told_of(*which) for which in batch] for batch in batches)
        async with await front.lane() as one, await front.lane() as two:
            for lane in (one, two):
                await confirming.prepare(lane)
            with held_up(conn):
                both = asyncio.gather(confirming.write(one, first), confirming.write(two, second))
                while front.rows(WAITING)[0]["n"] < 2:
                    await asyncio.sleep(0.02)
            try:
                assert await both == [[True, True], [True, True]]
            finally:
                conn.execute("DROP TRIGGER held_up ON usage; DROP FUNCTION held_up()")
    amounts = {row["owner_id"]: row["amount"] for row in front.rows("SELECT owner_id, amount FROM usage")}
    assert amounts == {front.owner_id: 2, other.owner: 2}


@contextmanager
def held_up(conn: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
    """Meanwhile whoever has counted something stops there, with the row locked, until this ends."""
    conn.execute(
        """
        CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(815);
            RETURN NULL;
        END $$;
        CREATE TRIGGER held_up AFTER INSERT OR UPDATE ON usage FOR EACH ROW EXECUTE FUNCTION held_up();
        SELECT pg_advisory_lock(815);
        """
    )
    try:
        yield
    finally:
        conn.execute("SELECT pg_advisory_unlock(815)")


def told_of(owner_id: UUID, message_id: UUID | None, *, sid: str | None = None, code: int | None = None) -> Callback:
    """A callback about it: sent, or failed with that code."""
    said = "sent" if code is None else "failed"
    receipt = Receipt(account_sid="AC", message_sid=sid or message_sid(), status=said, error_code=code)
    return Callback(owner_id=owner_id, message_id=message_id, part=1, receipt=receipt)


async def test_batches_that_name_messages_by_their_sids_or_opt_contacts_out_do_not_lock_crosswise(front: Front) -> None:
    messages_of, sids = [], []
    for number in range(2):
        await front.post(inbound("text", MessageSid=message_sid(), From=f"whatsapp:+551198765432{number}"))
    async with await front.lane() as one, await front.lane() as two:
        for lane in (one, two):
            await confirming.prepare(lane)
        for row in front.rows("SELECT id FROM conversations ORDER BY id"):
            message_id, sid = await written_to(front, row["id"]), message_sid()
            await confirming.write(one, [told_of(front.owner_id, message_id, sid=sid)])
            messages_of.append(message_id)
            sids.append(sid)
        # Both rows are locked by somebody else first, so that each batch has begun before either goes on.
        with psycopg.connect(front.database_url) as blocker:
            blocker.execute("SELECT FROM recado.message_parts FOR UPDATE")
            batches = (
                [told_of(front.owner_id, None, sid=sid, code=63033) for sid in sids],
                [told_of(front.owner_id, None, sid=sid, code=63033) for sid in reversed(sids)],
            )
            both = asyncio.gather(*(confirming.write(*pair) for pair in zip((one, two), batches, strict=True)))
            while front.rows(WAITING)[0]["n"] < 2:
                await asyncio.sleep(0.02)
        moved = await both
    assert sorted(sum(batch) for batch in moved) == [0, 2]
    assert opted_out(front) == ["twilio 63033"] * 2


async def written_to(front: Front, conversation_id: UUID) -> UUID:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        message_id = await messages.enqueue_outbound(
            scope, conversation_id=conversation_id, author="assistant", body="Oi", correlation_id=new_id(),
            now=front.wiring.clock.now(),
        )  # fmt: skip
        await parts.plan(scope, message_id, ("Oi",))
    return message_id
