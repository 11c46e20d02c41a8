"""Workers are killed, and the receiver is killed, slow, failing and cut off: every event arrives, and in order."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from uuid import UUID

import pytest

from recado.ids import new_id
from tests.conftest import SECRET_KEYS
from tests.nursery import Child, Nursery
from tests.webhooks.conftest import Post
from tests.webhooks.receiver import Call, Receiver, receiving

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
CONVERSATIONS, EVENTS, KILLED_AT = 4, 8, (5, 17)


async def test_whatever_is_killed_every_event_arrives_and_of_each_conversation_in_order(
    post: Post, tmp_path: Path
) -> None:
    chance = random.Random(os.environ.get("RECADO_CHAOS_SEED", random.SystemRandom().random()))
    conversations = [new_id() for _ in range(CONVERSATIONS)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
        "RECADO_DATABASE_URL": post.url,
        "RECADO_SECRET_KEYS": SECRET_KEYS,
        "RECADO_HOME": str(tmp_path),
        "RECADO_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    killed: list[int] = []

    async def answer(call: Call) -> None:
        if call.number in KILLED_AT:
            # Whoever posts this is killed while it waits for the answer, and others of its posts are on their way.
            killed.extend(await asyncio.to_thread(_kill_holder, post))
            call.writer.close()
            return
        kind = chance.choice(["500", "cut", "slow"]) if chance.random() < 0.15 else ""
        await asyncio.sleep(chance.uniform(0.1, 0.4) if kind == "slow" else 0.01)
        if kind == "cut":
            call.writer.close()
        else:
            await call.answer(500 if kind == "500" else 200)

    calls: list[Call] = []
    nursery = Nursery()
    workers = [nursery.start(["worker"], env=env, log=tmp_path / f"worker{name}.log") for name in range(2)]
    keeping = asyncio.create_task(_start_again(nursery, workers, env, tmp_path))
    try:
        async with receiving(answer) as first:
            made = await post.add(first.url)
            port = first.port
            await _write(post, conversations)
            await first.until(lambda it: len(it.calls) > max(KILLED_AT), within_s=100)
        calls += first.calls
        await _write(post, conversations, since=EVENTS)  # nobody listens for a while
        async with receiving(answer, port=port) as second:
            async with asyncio.timeout(150):
                while _arrived(calls + second.calls) < 2 * EVENTS * CONVERSATIONS:
                    await post.hurry()
                    await asyncio.sleep(0.1)
            await post.until(made, lambda it: it.waiting == 0, hurry=True)
            calls += second.calls
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            await asyncio.to_thread(worker.wait, 60)
        await asyncio.to_thread(nursery.close)
    assert len(killed) >= 2, "a worker was killed while it posted"
    told = Receiver(calls=calls)
    told.verified(post.secrets[made.id])
    for conversation in conversations:
        assert told.whats(conversation) == [f"e{number}" for number in range(2 * EVENTS)]


def _arrived(calls: list[Call]) -> int:
    return len(Receiver(calls=calls).whats())


def _kill_holder(post: Post) -> list[int]:
    rows = post.rows("SELECT e.pid FROM webhooks w JOIN executors e ON e.id = w.holder")
    for row in rows:
        os.kill(row["pid"], signal.SIGKILL)
    return [row["pid"] for row in rows]


async def _write(post: Post, conversations: list[UUID], *, since: int = 0) -> None:
    for number in range(since, since + EVENTS):
        for conversation in conversations:
            await post.happen(f"e{number}", conversation_id=conversation)


async def _start_again(nursery: Nursery, workers: list[Child], env: dict[str, str], home: Path) -> None:
    while True:
        for index, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[index] = nursery.start(["worker"], env=env, log=home / f"worker{index}.log")
        await asyncio.sleep(0.05)
