"""What is held for what passes by itself is tried again; an error's class decides, however the error is learned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from recado.ops import again
from tests.journey.post_office import PostOffice, post_office
from tests.product import Product


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


def put_back(post: PostOffice, *, later: timedelta) -> int:
    """The worker's sweep, at a later time; answers how many messages it put back to work."""
    wiring = post.product.wiring
    assert wiring is not None

    async def sweep() -> int:
        async with wiring.platform_pool() as platform:
            return await again.put_back_deliveries(platform, datetime.now(UTC) + later)

    return post.product.call(sweep)


def failed_later(post: PostOffice, code: int, body: str = "Olá") -> UUID:
    """A message that Twilio took, and of which it said later that it failed."""
    message = post.write(body)
    post.contact.fault(operation="create", delivery_status="undelivered", error_code=code, count=1)
    post.deliver(message)
    deadline = time.monotonic() + 40
    while post.message(message)["status"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return message


def work_for(post: PostOffice, message: UUID) -> list[str]:
    rows: list[dict[str, Any]] = post.product.rows(
        "SELECT workflow_uuid FROM dbos.workflow_status WHERE starts_with(workflow_uuid, %s) ORDER BY created_at",
        f"{message}:",
    )
    return [row["workflow_uuid"] for row in rows]


def delivered(post: PostOffice) -> list[str]:
    return [bubble.body for bubble in post.contact.seen() if bubble.status not in ("failed", "undelivered")]


@pytest.mark.parametrize("code", [63038, 21611])
def test_a_used_up_limit_is_tried_again_by_itself_later_and_each_time_after_twice_as_long(
    post: PostOffice, code: int
) -> None:
    message = post.write("Olá")
    post.contact.fault(operation="create", http_status=400, code=code, count=2)
    for minutes in (15, 30):
        post.deliver(message)
        held = post.message(message)
        assert (held["held_for"], held["error_code"]) == ("quota", code)
        assert put_back(post, later=timedelta(minutes=minutes - 1)) == 0
        assert put_back(post, later=timedelta(minutes=minutes + 1)) == 1
        assert post.message(message)["status"] == "queued"
    assert len(set(work_for(post, message))) == 2, "each has work of its own"
    post.deliver(message)
    assert delivered(post) == ["Olá"]


def test_what_is_older_than_a_day_by_then_fails_with_its_code(post: PostOffice) -> None:
    message = post.write("Olá")
    post.product.execute("UPDATE messages SET received_at = now() - interval '23 h 50 min' WHERE id = %s", message)
    post.contact.fault(operation="create", http_status=400, code=63038, count=1)
    post.deliver(message)
    stored = post.message(message)
    assert (stored["status"], stored["error_code"], stored["look_again_at"]) == ("failed", 63038, None)


@pytest.mark.parametrize("code", [63018, 63017, 30001, 63038])
def test_what_passes_by_itself_is_sent_again_also_when_a_callback_told_it(post: PostOffice, code: int) -> None:
    message = failed_later(post, code)
    assert [work.rsplit(":", 1)[0] for work in work_for(post, message)] == [f"{message}:failed:1"]
    post.deliver(message)
    held = post.message(message)
    assert (held["held_for"], held["error_code"]) == ("quota", code)
    assert put_back(post, later=timedelta(hours=1)) == 1
    post.deliver(message)
    assert delivered(post) == ["Olá"]
    post.deliver(message)
    assert delivered(post) == ["Olá"]


def test_what_the_owner_can_put_right_is_held_also_when_a_callback_told_it(post: PostOffice) -> None:
    message = failed_later(post, 63007)
    post.deliver(message)
    held = post.message(message)
    assert (held["held_for"], held["error_code"], held["look_again_at"]) == ("setup", 63007, None)
    assert put_back(post, later=timedelta(hours=25)) == 0


def test_what_is_final_stays_final_when_a_callback_tells_it(post: PostOffice) -> None:
    message = failed_later(post, 63024)
    assert work_for(post, message) == []
    post.deliver(message)
    assert post.message(message)["status"] == "failed"


def test_it_is_not_sent_again_for_ever(post: PostOffice) -> None:
    message = failed_later(post, 63018)
    post.product.execute("UPDATE messages SET received_at = now() - interval '5 h' WHERE id = %s", message)
    post.deliver(message)
    assert post.message(message)["status"] == "failed"


def test_what_is_said_later_waits_behind_what_waits_for_a_limit_and_follows_it(post: PostOffice) -> None:
    first = post.write("primeira")
    post.contact.fault(operation="create", http_status=400, code=63038, count=1)
    post.deliver(first)
    second = post.write("segunda")
    post.deliver(second)
    assert (post.message(second)["held_for"], delivered(post)) == ("quota", [])
    assert put_back(post, later=timedelta(minutes=16)) == 2
    rows = post.product.rows(
        "SELECT split_part(workflow_uuid, ':', 1) AS id FROM dbos.workflow_status "
        "WHERE workflow_uuid LIKE '%%:again:%%' AND queue_partition_key LIKE %s ORDER BY created_at, workflow_uuid",
        f"%:{post.conversation_id}",
    )
    assert [row["id"] for row in rows] == [str(first), str(second)]
    post.deliver(first)
    post.deliver(second)
    assert delivered(post) == ["primeira", "segunda"]


def test_a_refusal_that_nobody_knows_is_held_for_somebody_to_look(post: PostOffice) -> None:
    message = post.write("Olá")
    post.contact.fault(operation="create", http_status=400, code=99999, count=1)
    post.deliver(message)
    assert (post.message(message)["held_for"], post.message(message)["error_code"]) == ("look", 99999)


def test_what_waits_for_a_limit_of_a_suspended_owner_stays_until_they_are_active(post: PostOffice) -> None:
    message = post.write("Olá")
    post.contact.fault(operation="create", http_status=400, code=63038, count=1)
    post.deliver(message)
    for status, again_ in (("suspended", 0), ("active", 1)):
        post.product.execute("UPDATE owners SET status = %s WHERE id = %s", status, post.company.owner_id)
        assert put_back(post, later=timedelta(minutes=16)) == again_


def test_what_came_while_the_owner_was_suspended_has_a_turn_once_they_are_active(post: PostOffice) -> None:
    owner = post.company.owner_id
    post.product.execute(
        "UPDATE messages SET status = 'held', held_for = 'owner' WHERE owner_id = %s AND direction = 'inbound'", owner
    )
    wiring = post.product.wiring
    assert wiring is not None

    async def sweep() -> int:
        async with wiring.platform_pool() as platform:
            return await again.put_back_arrivals(platform, datetime.now(UTC))

    post.product.execute("UPDATE owners SET status = 'suspended' WHERE id = %s", owner)
    post.product.call(sweep)
    held = "SELECT status FROM messages WHERE owner_id = %s AND direction = 'inbound'"
    assert post.product.rows(held, owner) == [{"status": "held"}]
    post.product.execute("UPDATE owners SET status = 'active' WHERE id = %s", owner)
    age = "UPDATE messages SET id = uuid_floor(now() - %s::interval), received_at = now() - %s::interval "
    age += "WHERE owner_id = %s AND direction = 'inbound'"
    post.product.execute(age, "24 h 1 min", "24 h 1 min", owner)
    assert post.product.call(sweep) == 0, "its window is closed"
    assert post.product.rows(held, owner) == [{"status": "held"}]
    post.product.execute(
        "INSERT INTO messages SELECT (jsonb_populate_record(m, jsonb_build_object('id', uuid_floor(now() - interval "
        "'23 h 50 min'), 'provider_sid', 'SM' || md5(m.id::text), 'received_at', now() - interval '23 h 50 min'))).* "
        "FROM messages m WHERE owner_id = %s AND direction = 'inbound'",
        owner,
    )
    assert post.product.call(sweep) == 1
    assert post.product.rows(f"{held} ORDER BY id", owner) == [{"status": "held"}, {"status": "received"}]
    assert post.product.call(sweep) == 0
