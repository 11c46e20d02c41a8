"""Events reach an owner's endpoint at least once, of each conversation in order, whatever it does meanwhile."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from recado.db.scope import scoped
from recado.ids import new_id
from recado.webhooks import endpoints
from tests.webhooks.conftest import Post
from tests.webhooks.receiver import Call, Receiver, cut_off, receiving, silent, status


async def test_an_event_is_posted_signed_as_the_standard_says_with_nothing_that_anybody_wrote(post: Post) -> None:
    conversation = new_id()
    await post.happen("before", conversation_id=conversation)
    async with receiving() as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("delivered", conversation_id=conversation)
        await receiver.until(lambda it: len(it.calls) == 1)
    assert receiver.verified(post.secrets[made.id]) == 1
    [call] = receiver.calls
    [event] = post.rows("SELECT * FROM events WHERE what = 'delivered'")
    assert call.path == "/hook?token=a%2Fb"
    assert call.headers["content-type"] == "application/json"
    at = event["at"].isoformat().replace("+00:00", "Z")
    assert call.letter == {
        "type": "confirm.delivered",
        "timestamp": at,
        "owner_id": str(post.owner_id),
        "data": {
            "id": str(event["id"]),
            "at": at,
            "step": "confirm",
            "what": "delivered",
            "conversation_id": str(conversation),
            "message_id": None,
            "correlation_id": None,
            "data": None,
        },
    }


async def test_only_types_that_were_asked_for_are_posted(post: Post) -> None:
    async with receiving() as receiver, post.worker():
        made = await post.add(receiver.url, types=["confirm.read", "deliver.*"])
        await post.happen("sent", "read")
        await post.happen("broken", step="deliver")
        await post.happen("late", step="understand")
        await post.until(made, lambda it: it.reached >= _newest(post))
    assert sorted(call.letter["type"] for call in receiver.calls) == ["confirm.read", "deliver.broken"]


async def test_of_a_conversation_nothing_overtakes_what_was_refused_and_other_conversations_go_on(post: Post) -> None:
    first, second = new_id(), new_id()
    well = asyncio.Event()

    async def answer(call: Call) -> None:
        bad = call.what == "a2" and not well.is_set()
        await call.answer(500 if bad else 200)

    async with receiving(answer) as receiver, post.worker():
        made = await post.add(receiver.url)
        for number in (1, 2, 3):
            await post.happen(f"a{number}", conversation_id=first)
            await post.happen(f"b{number}", conversation_id=second)
        await receiver.until(lambda it: it.whats(second) == ["b1", "b2", "b3"])
        await receiver.until(lambda it: it.whats(first) == ["a1", "a2"])
        await post.happen("a4", conversation_id=first)
        await post.happen("b4", conversation_id=second)
        await receiver.until(lambda it: it.whats(second)[-1] == "b4")
        refused = await post.until(made, lambda it: it.waiting == 3)
        assert refused.status == "enabled"
        assert receiver.whats(first) == ["a1", "a2"]
        well.set()
        await post.hurry()
        await receiver.until(lambda it: it.whats(first) == ["a1", "a2", "a3", "a4"])
        done = await post.until(made, lambda it: it.waiting == 0)
    assert done.failing_since is None
    again = [call.headers["webhook-id"] for call in receiver.calls if call.what == "a2"]
    assert len(again) >= 2
    assert len(set(again)) == 1


@pytest.mark.parametrize("fault", [status(500), status(301, "Location: /elsewhere"), status(404), cut_off, silent])
async def test_what_an_endpoint_does_not_take_is_posted_again_until_it_does(post: Post, fault: object) -> None:
    conversation = new_id()

    async def answer(call: Call) -> None:
        if call.number <= 2:
            await fault(call)  # type: ignore[operator]
        else:
            await call.answer(204)

    async with receiving(answer) as receiver, post.worker(answer_s=0.3 if fault is silent else 15):
        made = await post.add(receiver.url)
        await post.happen("e1", "e2", conversation_id=conversation)
        async with asyncio.timeout(60):
            while len(receiver.calls) < 4:
                await post.hurry()
                await asyncio.sleep(0.05)
        done = await post.until(made, lambda it: it.waiting == 0)
    assert receiver.whats() == ["e1", "e2"]
    assert receiver.verified(post.secrets[made.id]) >= 4
    assert done.failing_since is None
    assert all(call.path.startswith("/hook") for call in receiver.calls)


async def test_a_killed_receiver_that_comes_back_has_missed_nothing(post: Post) -> None:
    conversations = [new_id() for _ in range(5)]
    async with receiving() as receiver:
        made = await post.add(receiver.url)
        port = receiver.port
    async with post.worker():
        for number in range(4):
            for conversation in conversations:
                await post.happen(f"e{number}", conversation_id=conversation)
        await post.until(made, lambda it: it.failing_since is not None)
        async with receiving(port=port) as again:
            async with asyncio.timeout(60):
                while len(again.whats()) < 20:
                    await post.hurry()
                    await asyncio.sleep(0.05)
            for conversation in conversations:
                assert again.whats(conversation) == ["e0", "e1", "e2", "e3"]


async def test_a_slow_endpoint_holds_no_other_and_no_other_owners(post: Post) -> None:
    other = await post.owner()
    async with receiving(silent) as slow, receiving() as quick, receiving() as theirs, post.worker(rounds=8):
        await post.add(slow.url)
        await post.add(slow.url)
        await post.add(quick.url)
        await post.add(theirs.url, owner_id=other)
        for number in range(30):
            await post.happen(f"e{number}", conversation_id=new_id())
        await post.happen("theirs", owner_id=other)
        await theirs.until(lambda it: it.whats() == ["theirs"])
        await quick.until(lambda it: len(it.whats()) == 30)
        assert 0 < slow.most_open <= 16


async def test_an_endpoint_that_answers_410_is_disabled_at_once_and_its_owner_can_read_why(post: Post) -> None:
    async with receiving(status(410)) as receiver, receiving() as other, post.worker():
        made = await post.add(receiver.url)
        await post.add(other.url, types=["webhooks.*"])
        await post.happen("e1", "e2", conversation_id=new_id())
        gone = await post.until(made, lambda it: it.status == "disabled")
        await other.until(lambda it: it.whats() == ["disabled"])
        await post.happen("e3")
    assert (gone.disabled_why, len(receiver.calls)) == ("gone", 1)
    [told] = [call.letter["data"]["data"] for call in other.calls]
    assert told == {"webhook_id": str(made.id), "why": "gone"}
    # Enabled again it goes on where it stood: what was refused comes too.
    async with receiving(port=receiver.port) as again, post.worker():
        async with scoped(post.pool, post.owner_id) as scope:
            await endpoints.change(scope, await endpoints.get(scope, made.id, lock=True), status="enabled")
        await again.until(lambda it: {"e1", "e2", "e3"} <= set(it.whats()))


async def test_an_endpoint_that_took_nothing_for_five_days_is_disabled(post: Post) -> None:
    async with receiving(status(500)) as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("e1", conversation_id=new_id())
        await post.until(made, lambda it: it.failing_since is not None)
        await post.change("UPDATE webhooks SET failing_since = now() - interval '119 hours'")
        await post.hurry()
        await receiver.until(lambda it: len(it.calls) == 2)
        assert (await post.look(made)).status == "enabled"
        await post.change("UPDATE webhooks SET failing_since = now() - interval '121 hours'")
        await post.hurry()
        ended = await post.until(made, lambda it: it.status == "disabled")
    assert ended.disabled_why == "failing"
    assert post.rows("SELECT data ->> 'why' AS why FROM events WHERE what = 'disabled'") == [{"why": "failing"}]


async def test_an_event_that_alone_is_refused_for_five_days_is_given_up_and_said_to_be_lost(post: Post) -> None:
    conversation = new_id()

    async def answer(call: Call) -> None:
        await call.answer(500 if call.what == "bad" else 200)

    async with receiving(answer) as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("bad", "good", conversation_id=conversation)
        await post.until(made, lambda it: it.waiting == 2)
        await post.happen("other", conversation_id=new_id())
        await post.until(made, lambda it: it.last_success_at is not None, hurry=True)
        await post.change("UPDATE webhook_waiting SET failed_at = now() - interval '6 days' WHERE tries > 0")
        await post.hurry()
        await receiver.until(lambda it: "good" in it.whats(conversation))
        await post.until(made, lambda it: it.waiting == 0)
        await receiver.until(lambda it: "lost" in it.whats())
    [lost] = post.rows("SELECT data FROM events WHERE what = 'lost'")
    [bad] = post.rows("SELECT id FROM events WHERE what = 'bad'")
    assert lost["data"] == {"webhook_id": str(made.id), "event_id": str(bad["id"]), "why": "refused"}


async def test_what_was_deleted_before_it_could_be_posted_is_said_to_be_lost(post: Post) -> None:
    async with receiving(status(500)) as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("erased", conversation_id=new_id())
        await post.until(made, lambda it: it.waiting == 1)
        await post.change("DELETE FROM events WHERE what = 'erased'")
        receiver.answer = status(200)
        await post.hurry()
        await receiver.until(lambda it: "lost" in it.whats())
        await post.until(made, lambda it: it.waiting == 0)


async def test_retry_after_is_heeded_for_a_day_at_most(post: Post) -> None:
    async with receiving(status(429, "Retry-After: 1200")) as receiver, post.worker():
        made = await post.add(receiver.url)
        for _ in range(40):
            await post.happen("e", conversation_id=new_id())
        await post.until(made, lambda it: it.failing_since is not None)
        [row] = post.rows("SELECT extract(epoch FROM next_at - now())::int AS s FROM webhooks")
        assert 1100 < row["s"] <= 1200
        # What was on its way when it answered first may come too, no more.
        assert len(receiver.calls) <= 8
        receiver.answer = status(200)
        await post.change("UPDATE webhooks SET next_at = now()")
        await receiver.until(lambda it: len(it.whats()) == 40)


async def test_a_dead_endpoint_is_asked_less_and_less_and_what_waits_for_it_is_not_copied(post: Post) -> None:
    async with receiving() as receiver:
        made = await post.add(receiver.url)
    async with post.worker():
        for _ in range(60):
            await post.happen("e", conversation_id=new_id())
        waits = []
        for failures in (1, 2, 3):
            await post.until(made, lambda it, n=failures: it.failures == n)
            [row] = post.rows("SELECT extract(epoch FROM next_at - now())::float8 AS s FROM webhooks")
            waits.append(row["s"])
            await post.happen("more", conversation_id=new_id())
            await post.change("UPDATE webhooks SET next_at = now()")
        for _ in range(300):
            await post.happen("more", conversation_id=new_id())
    assert 3 < waits[0] < 7 < waits[1] < 19 < waits[2] < 57
    [row] = post.rows("SELECT count(*) AS n FROM webhook_waiting")
    assert row["n"] < 120


async def test_a_suspended_owner_is_told_nothing_until_it_is_active_again(post: Post) -> None:
    other = await post.owner("suspended")
    async with receiving() as receiver, post.worker():
        await post.add(receiver.url, owner_id=other)
        await post.happen("e1", owner_id=other)
        mine = await post.add(receiver.url)
        await post.happen("mine")
        await receiver.until(lambda it: it.whats() == ["mine"])
        await post.until(mine, lambda it: it.last_success_at is not None)
        assert receiver.whats() == ["mine"]
        await post.change("UPDATE owners SET status = 'active' WHERE id = %s", other)
        await receiver.until(lambda it: it.whats() == ["mine", "e1"])


async def test_a_secret_that_can_not_be_decrypted_signs_nothing(post: Post) -> None:
    async with receiving() as receiver:
        made = await post.add(receiver.url)
        await post.change("UPDATE webhooks SET secret = '\\x02ffffffff00'")
        await post.happen("e1")
        async with post.worker():
            async with asyncio.timeout(60):
                while not post.rows("SELECT id FROM webhooks WHERE next_at > now() + interval '1 minute'"):
                    await asyncio.sleep(0.03)
    assert receiver.calls == []
    assert (await post.look(made)).waiting == 0


async def test_what_retention_may_delete_ends_before_what_an_enabled_endpoint_has_yet_to_get(post: Post) -> None:
    def needed() -> int | None:
        [row] = post.rows("SELECT events_needed(%s) AS id", post.owner_id)
        found: int | None = row["id"]
        return found

    assert needed() is None
    async with receiving(status(500)) as receiver, post.worker():
        made = await post.add(receiver.url)
        conversation: UUID = new_id()
        await post.happen("e1", conversation_id=conversation)
        await post.until(made, lambda it: it.waiting == 1)
        await post.happen("e2", conversation_id=conversation)
        await post.until(made, lambda it: it.waiting == 2, hurry=True)
    [first] = post.rows("SELECT id FROM events WHERE what = 'e1'")
    assert needed() == first["id"]
    await post.change("DELETE FROM webhook_waiting")
    assert needed() == (await post.look(made)).reached + 1
    await post.change("UPDATE webhooks SET status = 'disabled', disabled_why = 'people'")
    assert needed() is None
    assert isinstance(receiver, Receiver)


def _newest(post: Post) -> int:
    [row] = post.rows("SELECT max(id) AS id FROM events")
    newest: int = row["id"]
    return newest


async def test_of_an_owner_whose_accounts_are_silent_after_a_restore_nothing_is_posted_until_they_are_not(
    post: Post,
) -> None:
    other = await post.owner()
    async with receiving() as waits, receiving() as goes, post.worker() as loop:
        loop.waits = {post.owner_id}.__contains__
        held, free = await post.add(waits.url), await post.add(goes.url, owner_id=other)
        await post.happen("delivered")
        await post.happen("delivered", owner_id=other)
        await goes.until(lambda it: len(it.calls) == 1)
        await post.until(held, lambda _: bool(post.rows("SELECT id FROM webhooks WHERE next_at > now()")))
        assert waits.calls == []
        loop.waits = set[UUID]().__contains__
        await post.hurry()
        await waits.until(lambda it: len(it.calls) == 1)
    assert free.id != held.id
