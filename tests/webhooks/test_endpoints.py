"""What people do with endpoints: how many there may be, secrets that are changed, and going back to a moment."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from recado.clock import SystemClock
from recado.db.pool import connect
from recado.db.scope import scoped
from recado.errors import Conflict, UsageError
from recado.ids import new_id
from recado.webhooks import endpoints, payload
from recado.webhooks.endpoints import MOST
from recado.webhooks.post import Posted, Poster
from recado.webhooks.trial import post_test
from tests.webhooks.conftest import HERE, Post
from tests.webhooks.receiver import Call, receiving, status

URL = "https://x.example/hook"


async def test_an_owner_has_ten_endpoints_at_most_however_many_are_added_at_once(post: Post) -> None:
    made = await asyncio.gather(*(post.add(URL) for _ in range(MOST + 4)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in made) == 4
    assert (await post.add(URL, owner_id=await post.owner())).status == "enabled"


@pytest.mark.parametrize("types", [["delivered"], ["*"], ["Confirm.read"], ["confirm.read "], ["a.b"] * 51])
async def test_what_is_no_type_is_refused(post: Post, types: list[str]) -> None:
    with pytest.raises(UsageError, match="type"):
        await post.add(URL, types=types)


async def test_a_secret_is_encrypted_and_opens_in_its_own_row_only(post: Post) -> None:
    made = await post.add(URL)
    [row] = post.rows("SELECT * FROM webhooks")
    secret = post.secrets[made.id]
    assert secret.startswith("whsec_")
    assert secret not in repr(row)
    assert endpoints.signing(post.keyring, post.owner_id, row, now=datetime.now(UTC)) == [secret]
    assert secret not in repr(made)


async def test_while_a_secret_is_changed_both_verify_and_afterwards_only_the_new_one(post: Post) -> None:
    async with receiving() as receiver, post.worker():
        made = await post.add(receiver.url)
        old = post.secrets[made.id]
        async with scoped(post.pool, post.owner_id) as scope:
            rotated, new = await endpoints.rotate(scope, post.keyring, made.id, now=datetime.now(UTC))
        assert rotated.previous_until is not None
        await post.happen("both")
        await receiver.until(lambda it: len(it.calls) == 1)
        assert receiver.verified(old) == receiver.verified(new) == 1
        post.rows("UPDATE webhooks SET previous_until = now()")
        await post.happen("one")
        await receiver.until(lambda it: len(it.calls) == 2)
    call = receiver.calls[1]
    Webhook(new).verify(call.body, call.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(call.body, call.headers)
    async with scoped(post.pool, post.owner_id) as scope:
        ended, newest = await endpoints.rotate(scope, post.keyring, made.id, keep=timedelta(), now=datetime.now(UTC))
    assert ended.previous_until is None
    assert newest not in (old, new)
    assert post.rows("SELECT previous_secret FROM webhooks") == [{"previous_secret": None}]


async def test_a_post_that_was_changed_or_is_old_does_not_verify(post: Post) -> None:
    made = await post.add(URL)
    letter = payload.of_test(post.owner_id, made.id, now=datetime.now(UTC))
    secret = post.secrets[made.id]
    headers = payload.headers(letter, [secret], now=datetime.now(UTC))
    assert Webhook(secret).verify(letter.body, headers) == json.loads(letter.body)
    late = payload.headers(letter, [secret], now=datetime.now(UTC) - timedelta(minutes=6))
    for body, given in (
        (letter.body + " ", headers),
        (letter.body, headers | {"webhook-id": "x"}),
        (letter.body, late),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, given)


async def test_a_replay_posts_what_happened_since_a_moment_again_with_the_same_ids(post: Post) -> None:
    conversation = new_id()
    async with receiving() as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("old", "e1", "e2", conversation_id=conversation)
        post.rows("UPDATE events SET at = now() - interval '2 hours' WHERE what = 'old'")
        await receiver.until(lambda it: len(it.calls) == 3)
        await post.until(made, lambda it: it.last_success_at is not None)
        async with scoped(post.pool, post.owner_id) as scope:
            await endpoints.replay(scope, made.id, datetime.now(UTC) - timedelta(hours=1), now=datetime.now(UTC))
        await receiver.until(lambda it: len(it.calls) == 5)
        await post.happen("e3", conversation_id=conversation)
        await receiver.until(lambda it: len(it.calls) == 6)
    whats = [call.what for call in receiver.calls]
    assert whats == ["old", "e1", "e2", "e1", "e2", "e3"]
    ids = [call.headers["webhook-id"] for call in receiver.calls]
    assert ids[1:3] == ids[3:5]


async def test_what_a_worker_says_of_an_endpoint_that_was_taken_out_of_its_hands_does_not_count(post: Post) -> None:
    conversation, replayed = new_id(), asyncio.Event()

    async def answer(call: Call) -> None:
        if call.number == 2:
            # While this post is on its way somebody goes back to the beginning.
            async with scoped(post.pool, post.owner_id) as scope:
                await endpoints.replay(scope, made.id, datetime.now(UTC) - timedelta(hours=1), now=datetime.now(UTC))
            replayed.set()
        await call.answer(200)

    async with receiving(answer) as receiver:
        made = await post.add(receiver.url)
        await post.happen("e1", "e2", "e3", conversation_id=conversation)
        async with post.worker():
            await replayed.wait()
            await receiver.until(lambda it: [call.what for call in it.calls].count("e3") == 2)
            await post.until(made, lambda it: it.last_success_at is not None)
    assert [call.what for call in receiver.calls].count("e1") == 2


async def test_an_endpoint_whose_row_is_locked_keeps_no_other_from_being_claimed(post: Post) -> None:
    async with receiving() as locked, receiving() as other:
        made = await post.add(locked.url)
        await post.add(other.url)
        async with await connect(post.url, "recado_platform") as conn, conn.transaction():
            await conn.execute("SELECT FROM webhooks WHERE id = %s FOR UPDATE", [made.id])
            async with post.worker():
                await post.happen("e1")
                await other.until(lambda it: it.whats() == ["e1"])
        assert locked.calls == []


async def test_of_two_workers_one_at_a_time_has_an_endpoint(post: Post) -> None:
    async with receiving() as receiver, post.worker(name="w1"), post.worker(name="w2"):
        await post.add(receiver.url)
        for number in range(60):
            await post.happen(f"e{number}", conversation_id=new_id())
        await receiver.until(lambda it: len(it.whats()) == 60)
    assert len(receiver.calls) == 60, "nothing was posted twice"


async def test_what_a_dead_worker_held_is_anothers_as_soon_as_it_is_known_to_be_dead(post: Post) -> None:
    async with receiving() as receiver:
        await post.add(receiver.url)
        await post.happen("e1")
        post.rows(
            "INSERT INTO executors (id, lock_key, kind, host, pid, queues) VALUES ('dead', 7, 'worker', 'x', 1, '{}')"
        )
        post.rows("UPDATE webhooks SET holder = 'dead', held_until = now() + interval '1 minute'")
        async with post.worker():
            await asyncio.sleep(0.3)
            assert receiver.calls == []
            await post.change("DELETE FROM executors WHERE id = 'dead'")
            await receiver.until(lambda it: it.whats() == ["e1"], within_s=30)


async def test_the_last_attempts_are_shown_and_no_more_than_fifty_kept(post: Post) -> None:
    async with receiving(status(200, body=b"kept nowhere")) as receiver, post.worker():
        made = await post.add(receiver.url)
        for number in range(70):
            await post.happen(f"e{number}", conversation_id=new_id())
        await receiver.until(lambda it: len(it.whats()) == 70)
        receiver.answer = status(503)
        await post.happen("last")
        await post.until(made, lambda it: it.failing_since is not None)
    async with scoped(post.pool, post.owner_id) as scope:
        shown = await endpoints.attempts(scope, made.id)
    assert len(shown) == 50 == len(post.rows("SELECT id FROM webhook_attempts"))
    assert (shown[0].type, shown[0].outcome, shown[0].http_status) == ("confirm.last", "refused", 503)
    assert {one.outcome for one in shown[1:]} == {"delivered"}


async def test_a_test_says_what_became_of_it_and_one_that_is_taken_ends_the_waiting(post: Post) -> None:
    async def trial() -> Posted:
        poster = Poster(HERE)
        try:
            return await post_test(post.pool, post.keyring, SystemClock(), poster, post.owner_id, made.id)
        finally:
            await poster.aclose()

    async with receiving(status(500)) as receiver, post.worker():
        made = await post.add(receiver.url)
        assert (await trial()).outcome == "refused"
        await post.happen("e1", conversation_id=new_id())
        await post.until(made, lambda it: it.failing_since is not None)
        post.rows("UPDATE webhooks SET next_at = now() + interval '1 hour'")
        post.rows("UPDATE webhook_waiting SET next_at = now() + interval '1 hour'")
        receiver.answer = status(200)
        assert (await trial()).delivered
        await receiver.until(lambda it: it.whats().count("e1") == 1 and it.calls[-1].what == "e1")
        await post.until(made, lambda it: it.waiting == 0)
    assert receiver.verified(post.secrets[made.id]) == 4
    assert [call.letter["type"] for call in receiver.calls].count(payload.TEST) == 2


async def test_a_removed_endpoint_gets_nothing_and_leaves_nothing(post: Post) -> None:
    async with receiving(status(500)) as receiver, post.worker():
        made = await post.add(receiver.url)
        await post.happen("e1")
        await post.until(made, lambda it: it.waiting == 1)
        async with scoped(post.pool, post.owner_id) as scope:
            await endpoints.remove(scope, made.id)
        calls = len(receiver.calls)
        other = await post.add(receiver.url, types=["deliver.*"])
        await post.happen("e2")
        await post.until(other, lambda it: it.reached > made.reached + 1)
        assert len(receiver.calls) == calls
    for table in ("webhook_waiting", "webhook_attempts"):
        assert post.rows(f"SELECT * FROM {table}") == []
