from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from recado.db.pool import connect
from recado.errors import Conflict
from recado.ids import new_id
from recado.ops.failed import retry
from tests.cli.conftest import Terminal
from tests.cli.rows import Rows, new_sid


def test_failed_and_held_messages_are_listed_with_the_reason_in_words(recado: Terminal, rows: Rows) -> None:
    rows.inbound()
    failed = rows.outbound(status="failed", error_code=63024, parts=[("failed", new_sid())])
    held = rows.outbound(status="held", held_for="window", error_code=63016, parts=[("waiting", None)])
    listed = recado("failed", "list", "--json").json
    assert [(item["id"], item["status"], item["held_for"], item["error_code"]) for item in listed] == [
        (str(held), "held", "window", 63016),
        (str(failed), "failed", None, 63024),
    ]
    assert "24 hours" in listed[0]["text"]
    assert "can't receive" in listed[1]["text"]
    assert "MESSAGE" in recado("failed", "list").out


async def test_a_retry_sends_again_only_the_parts_that_failed(database_url: str, rows: Rows) -> None:
    there = new_sid()
    parts = [("delivered", there), ("undelivered", new_sid()), ("canceled", None)]
    message = rows.outbound(status="failed", error_code=63013, parts=parts)
    async with await connect(database_url, "recado_platform") as platform:
        assert await retry(platform, message) == "queued"
    assert rows.parts(message) == [("delivered", there), ("waiting", None), ("waiting", None)]
    assert rows.status(message) == "queued"
    assert rows.work(message) == [f"{message}:r1"]


async def test_a_retry_done_many_times_at_once_gives_the_message_one_piece_of_work(
    database_url: str, rows: Rows
) -> None:
    message = rows.outbound(status="failed", error_code=63013, parts=[("failed", new_sid())])

    async def once() -> str:
        async with await connect(database_url, "recado_platform") as platform:
            return await retry(platform, message)

    outcomes = await asyncio.gather(*(once() for _ in range(8)))
    assert sorted(outcomes) == ["in work"] * 7 + ["queued"]
    assert rows.work(message) == [f"{message}:r1"]


async def test_what_twilio_took_and_did_not_fail_is_not_sent_again(database_url: str, rows: Rows) -> None:
    delivered = rows.outbound(status="delivered", parts=[("delivered", new_sid())])
    taken = rows.outbound(status="failed", parts=[("sent", new_sid())])
    async with await connect(database_url, "recado_platform") as platform:
        for message in (delivered, taken):
            before = rows.parts(message)
            with pytest.raises(Conflict):
                await retry(platform, message)
            assert rows.parts(message) == before
            assert rows.work(message) == []


async def test_a_message_that_fails_again_is_retried_under_another_workflow(database_url: str, rows: Rows) -> None:
    message = rows.outbound(status="failed", parts=[("failed", new_sid())])
    async with await connect(database_url, "recado_platform") as platform:
        await retry(platform, message)
        rows.conn.execute("DELETE FROM dbos.workflow_status")
        rows.conn.execute("UPDATE message_parts SET status = 'failed'")
        rows.conn.execute("UPDATE messages SET status = 'failed'")
        await retry(platform, message)
    assert rows.work(message) == [f"{message}:r2"]


async def test_an_inbound_message_that_failed_gets_a_new_turn_where_the_assistant_may_speak(
    database_url: str, rows: Rows
) -> None:
    message = rows.inbound(status="failed")
    async with await connect(database_url, "recado_platform") as platform:
        rows.conn.execute("UPDATE conversations SET status = 'handoff'")
        with pytest.raises(Conflict):
            await retry(platform, message)
        assert (rows.status(message), rows.work(message)) == ("failed", [])
        rows.conn.execute("UPDATE conversations SET status = 'open'")
        await retry(platform, message)
    assert (rows.status(message), rows.work(message)) == ("received", [f"{message}:r1"])
    lane = rows.value("SELECT split_part(queue_partition_key, ':', 2) FROM dbos.workflow_status")
    assert lane == str(rows.conversation)


def test_all_that_failed_is_retried_oldest_first_and_what_can_not_be_is_left_with_its_reason(
    recado: Terminal, rows: Rows
) -> None:
    first = rows.outbound(status="failed", parts=[("failed", new_sid())])
    second = rows.outbound(status="failed", parts=[("sent", new_sid())])
    third = rows.outbound(status="held", held_for="setup", error_code=20003, parts=[("waiting", None)])
    done = recado("failed", "retry", "--all", "--json").json
    assert [(item["id"], item["outcome"]) for item in done] == [
        (str(first), "queued"),
        (str(second), "left"),
        (str(third), "queued"),
    ]
    assert "every part" in done[1]["why"]
    assert recado("failed", "retry", second).code == 1
    assert recado("failed", "retry", uuid4()).code == 1
    assert recado("failed", "retry").code == 2


BY_PEOPLE = "UPDATE messages SET author = 'operator' WHERE id = %s"
DONE = {
    "people answered": lambda rows: rows.conn.execute(BY_PEOPLE, [rows.outbound(status="read", parts=[])]),
    "the owner's program answered": lambda rows: rows.conn.execute(
        "UPDATE messages SET author = 'api' WHERE id = %s", [rows.outbound(status="sent", parts=[])]
    ),
    "closed": lambda rows: rows.conn.execute("UPDATE conversations SET status = 'closed'"),
    "closed, and the contact wrote again": lambda rows: rows.conn.execute(
        "UPDATE conversations SET status = 'closed';"
        "INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at) "
        "SELECT owner_id, gen_random_uuid(), number_id, contact_id, now() FROM conversations"
    ),
    "ten days old": lambda rows: rows.conn.execute("UPDATE messages SET received_at = now() - interval '10 days'"),
    "the window is closed": lambda rows: rows.conn.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '25 hours'"
    ),
    "a later turn covered it": lambda rows: (
        rows.turn(turn := new_id(), outcome="answered"),
        rows.inbound(status="answered", turn=turn),
    ),
}


@pytest.mark.parametrize("done", DONE)
def test_what_people_answered_or_closed_or_time_has_settled_is_neither_listed_nor_retried(
    recado: Terminal, rows: Rows, done: str
) -> None:
    rows.turn(before := new_id(), outcome="silent")
    message = rows.inbound(status="held", held_for="people", turn=before)
    assert [item["id"] for item in recado("failed", "list", "--json").json] == [str(message)]
    assert "failed: 0 messages, held: 1 (people 1)" in recado("doctor").out
    DONE[done](rows)
    assert recado("failed", "list", "--json").json == []
    assert "no message that failed or is held waits for anybody" in recado("doctor").out
    assert recado("failed", "retry", "--all", "--json").json == []
    assert recado("failed", "retry", message).code == 1
    assert (rows.status(message), rows.work(message)) == ("held", [])


def test_an_answer_of_people_that_failed_settles_nothing(recado: Terminal, rows: Rows) -> None:
    message = rows.inbound(status="held", held_for="people")
    rows.conn.execute(BY_PEOPLE, [rows.outbound(status="failed", parts=[("failed", new_sid())])])
    assert str(message) in [item["id"] for item in recado("failed", "list", "--json").json]
    assert recado("failed", "retry", message).code == 0


@pytest.mark.parametrize("author", ["assistant", "operator"])
def test_a_reply_that_is_held_is_overtaken_by_a_later_one_and_what_people_wrote_is_not(
    recado: Terminal, rows: Rows, author: str
) -> None:
    held = rows.outbound(status="held", held_for="window", error_code=63016, parts=[("waiting", None)])
    rows.conn.execute("UPDATE messages SET author = %s WHERE id = %s", [author, held])
    rows.turn(later := new_id())
    rows.outbound(status="delivered", turn=later, parts=[("delivered", new_sid())])
    listed = [item["id"] for item in recado("failed", "list", "--json").json]
    assert listed == ([] if author == "assistant" else [str(held)])
    assert recado("failed", "retry", held).code == (1 if author == "assistant" else 0)
