"""Workers are killed, and the receiver is killed, slow, failing and cut off: every event arrives, and in order."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from recado.ids import new_id
from tests.conftest import SECRET_KEYS
from tests.nursery import Child, Nursery
from tests.webhooks.conftest import Post
from tests.webhooks.receiver import Call, Receiver, receiving

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
CONVERSATIONS, EVENTS, KILLS = 4, 16, 4


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

    async def answer(call: Call) -> None:
        kind = chance.choice(["500", "cut", "slow"]) if chance.random() < 0.15 else ""
        if kind == "slow":
            await asyncio.sleep(chance.uniform(0.1, 0.4))
        if kind == "cut":
            call.writer.close()
        else:
            await call.answer(500 if kind == "500" else 200)

    calls: list[Call] = []
    with ExitStack() as stack:
        nursery = Nursery()
        stack.callback(nursery.close)
        workers = [nursery.start(["worker"], env=env, log=tmp_path / f"worker{name}.log") for name in range(2)]
        async with receiving(answer) as first:
            made = await post.add(first.url)
            port = first.port
            writing = asyncio.create_task(_write(post, conversations, chance))
            await first.until(lambda it: len(it.calls) > 10)
            for _ in range(KILLS // 2):
                await _kill(nursery, workers, env, tmp_path, chance)
        calls += first.calls
        await asyncio.sleep(0.3)  # nobody listens for a while
        async with receiving(answer, port=port) as second:
            for _ in range(KILLS // 2):
                await _kill(nursery, workers, env, tmp_path, chance)
            await writing
            async with asyncio.timeout(150):
                while not _complete(second, calls):
                    await post.hurry()
                    await asyncio.sleep(0.1)
            await post.until(made, lambda it: it.waiting == 0, hurry=True)
            calls += second.calls
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            await asyncio.to_thread(worker.wait, 60)
    told = Receiver(calls=calls)
    assert told.verified(post.secrets[made.id]) >= CONVERSATIONS * EVENTS
    for conversation in conversations:
        assert told.whats(conversation) == [f"e{number}" for number in range(EVENTS)]


def _complete(second: Receiver, before: list[Call]) -> bool:
    return len(Receiver(calls=before + second.calls).whats()) == CONVERSATIONS * EVENTS


async def _write(post: Post, conversations: list[object], chance: random.Random) -> None:
    for number in range(EVENTS):
        for conversation in conversations:
            await post.happen(f"e{number}", conversation_id=conversation)  # type: ignore[arg-type]
        await asyncio.sleep(chance.uniform(0, 0.06))


async def _kill(nursery: Nursery, workers: list[Child], env: dict[str, str], home: Path, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.2, 0.6))
    index = chance.randrange(len(workers))
    workers[index].kill()
    await asyncio.to_thread(workers[index].wait, 30)
    workers[index] = nursery.start(["worker"], env=env, log=home / f"worker{index}.log")
