"""Ten owners, one throttled by Twilio, one whose model hangs, one flooding: how much later are the others answered?"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import load, stack
from bench.turns import start
from recado.simulator.client import SimulatorClient
from tests.model_server import ModelServer, Reply, Request

OWNERS, TROUBLED = 10, 3
#: Who writes to the troubled ones: more than a worker has places for what is in work.
THROTTLED, HANGING, FLOODING = 100, 150, 400
#: Words that the model does not answer.
HANGS = "espere"


def account(owner: int) -> tuple[str, str, str]:
    """AccountSid, token and number of that owner."""
    return f"AC{owner:032x}", f"token-{owner}", f"whatsapp:+1415000{owner:04d}"


async def set_up(home: Path) -> None:
    """The owners, each with a number and an assistant."""
    from recado.assistants import assistant
    from recado.channels.twilio import accounts
    from recado.db.scope import scoped
    from recado.identity import owners
    from recado.settings import Settings
    from recado.wiring import wire

    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        for owner in range(OWNERS):
            sid, token, number = account(owner)
            async with await wiring.connect("recado_platform") as conn:
                made = await owners.add(conn, f"Bench {owner}")
            async with scoped(wiring.pool, made.id) as scope:
                await accounts.add_account(scope, wiring.keyring, account_sid=sid, auth_token=token)
                default = await assistant.ensure_default(scope)
                await accounts.add_number(scope, account_sid=sid, address=number, assistant_id=default.id)


async def introduce(started: dict[str, Any]) -> None:
    async with SimulatorClient(started["simulator_url"]) as client:
        for owner in range(OWNERS):
            sid, token, number = account(owner)
            await client.add_account(sid, token)
            await client.add_number(sid, number, started["api_url"] + load.PATH)


async def write(client: SimulatorClient, owner: int, contact: int, body: str) -> None:
    sid, _, number = account(owner)
    await client.send(body, account_sid=sid, from_=f"whatsapp:+55119{contact:08d}", to=number)


async def trouble(started: dict[str, Any]) -> None:
    """Let the first three be troubled, and their contacts write."""
    async with SimulatorClient(started["simulator_url"]) as client:
        throttled = "^" + account(0)[2].replace("+", r"\+") + "$"
        await client.add_fault("too-many-requests", from_=throttled, retry_after_s=20)
        room = asyncio.Semaphore(32)

        async def one(owner: int, contact: int, body: str) -> None:
            async with room:
                await write(client, owner, contact, body)

        await asyncio.gather(
            *(one(0, 10_000_000 + n, "Oi") for n in range(THROTTLED)),
            *(one(1, 20_000_000 + n, HANGS) for n in range(HANGING)),
            *(one(2, 30_000_000 + n, "Oi") for n in range(FLOODING)),
        )


async def others(started: dict[str, Any], *, first: int, count: int, gap_s: float) -> list[float]:
    """Contacts of the other owners who each write once, in turn: milliseconds until the reply's POST."""
    sent: dict[str, float] = {}
    async with SimulatorClient(started["simulator_url"]) as client:
        tasks = []
        for n in range(count):
            owner, contact = TROUBLED + n % (OWNERS - TROUBLED), first + n
            sent[f"whatsapp:+55119{contact:08d}"] = time.time()
            tasks.append(asyncio.create_task(write(client, owner, contact, "Oi")))
            await asyncio.sleep(gap_s)
        await asyncio.gather(*tasks)
        deadline = time.monotonic() + 20
        while True:
            calls = [call for call in await client.calls() if call.operation == "create" and call.form["To"] in sent]
            if len(calls) >= count or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
    answered = [(call.at - sent[call.form["To"]]) * 1000 for call in calls]
    return answered + [20_000.0] * (count - len(answered))


def measure(*, count: int = 84, gap_s: float = 0.1) -> dict[str, Any]:
    """The others' answer times without the three and beside them, in one run; who is not answered counts 20 s."""

    def script(request: Request) -> Reply | str:
        return Reply(hang=True) if HANGS in request.last_user_text else "Olá!"

    with stack.home() as home, ExitStack() as running:
        model = running.enter_context(ModelServer(script))
        running.enter_context(patch.dict(os.environ, {"OPENAI_BASE_URL": model.url}))
        stack.run(set_up(home))
        started = start(running, home, delay_s=None, model="openai:scripted", limits="off")
        stack.run(introduce(started))
        stack.run(others(started, first=40_000_000, count=14, gap_s=gap_s))
        alone = stack.run(others(started, first=50_000_000, count=count, gap_s=gap_s))
        before = time.monotonic()
        stack.run(trouble(started))
        posted_s = time.monotonic() - before
        beside = stack.run(others(started, first=60_000_000, count=count, gap_s=gap_s))
    figures = {
        name: {f"{label}_ms": round(load.percentile(times, share)) for label, share in (("p50", 0.5), ("p95", 0.95))}
        for name, times in (("alone", alone), ("beside_the_three", beside))
    }
    ratio = round(figures["beside_the_three"]["p95_ms"] / figures["alone"]["p95_ms"], 2)
    return {**figures, "troubled_posted_in_s": round(posted_s, 1), "answer_p95_ratio": ratio}
