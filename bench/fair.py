"""Ten owners, one throttled by Twilio, one whose model hangs, one flooding: how much later are the others answered?"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import load, pairs, stack
from bench.stack import settle
from bench.turns import start
from recado.simulator.client import SimulatorClient
from tests.model_server import ModelServer, Reply, Request

OWNERS, TROUBLED = 10, 3
#: Who writes to the troubled ones: more than a worker has places for what is in work.
THROTTLED, HANGING, FLOODING = 100, 150, 400
#: How long somebody is waited for.
UNANSWERED_S = 10.0
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


async def trouble(started: dict[str, Any]) -> None:
    """Let the first three be troubled, and their contacts write."""
    base = started["api_url"]
    async with SimulatorClient(started["simulator_url"]) as client:
        throttled = "^" + account(0)[2].replace("+", r"\+") + "$"
        await client.add_fault("too-many-requests", from_=throttled, retry_after_s=20)
    requests = [
        load.webhook(base, contact=(owner + 1) * 10_000_000 + n, body=body, account=account(owner))
        for owner, many, body in ((0, THROTTLED, "Oi"), (1, HANGING, HANGS), (2, FLOODING, "Oi"))
        for n in range(many)
    ]
    accepted = await load.post_all(base, requests, connections=32)
    if accepted.failed:
        raise RuntimeError(f"{accepted.failed} of the troubled owners' messages were refused")


async def others(started: dict[str, Any], *, first: int, count: int, gap_s: float) -> dict[str, float]:
    """Contacts of the other owners who each write once, in turn: milliseconds until the reply's POST.

    Who is not answered counts `UNANSWERED_S`.
    """
    base = started["api_url"]
    sent: dict[str, float] = {}
    async with SimulatorClient(started["simulator_url"]) as client:
        tasks = []
        for n in range(count):
            owner, contact = TROUBLED + n % (OWNERS - TROUBLED), first + n
            request = load.webhook(base, contact=contact, body="Oi", account=account(owner))
            sent[f"whatsapp:+55119{contact:08d}"] = time.time()
            tasks.append(asyncio.create_task(load.post_all(base, [request], connections=1)))
            await asyncio.sleep(gap_s)
        await asyncio.gather(*tasks)
        deadline = time.monotonic() + UNANSWERED_S
        seen, answered = 0, dict[str, float]()
        while len(answered) < count and time.monotonic() < deadline:
            for call in await client.calls(after=seen):
                seen = max(seen, call.seq)
                if call.operation == "create" and call.form["To"] in sent:
                    answered.setdefault(call.form["To"], (call.at - sent[call.form["To"]]) * 1000)
            await asyncio.sleep(0.3)
    times = [*answered.values(), *[UNANSWERED_S * 1000] * (count - len(answered))]
    return {
        "p50_ms": round(load.percentile(times, 0.5)),
        "p95_ms": round(load.percentile(times, 0.95)),
        "unanswered": count - len(answered),
    }


def measure(*, count: int = 35, gap_s: float = 0.1, times: int = 2) -> dict[str, Any]:
    """The others' answer times without the three and beside them, in turn, each pair on processes of its own."""
    from recado.settings import Settings
    from recado.wiring import database

    def script(request: Request) -> Reply | str:
        return Reply(hang=True) if HANGS in request.last_user_text else "Olá!"

    contacts = iter(range(40_000_000, 90_000_000, 1_000_000))
    with stack.home() as home, ExitStack() as kept:
        model = kept.enter_context(ModelServer(script))
        kept.enter_context(patch.dict(os.environ, {"OPENAI_BASE_URL": model.url}))
        stack.run(set_up(home))
        kept.enter_context(database(Settings(home=home, _env_file=None)))

        running = kept.enter_context(ExitStack())
        started: dict[str, Any] = {}

        def without() -> dict[str, float]:
            """On processes that have just started, with nothing left to do of the pair before."""
            settle(home)
            started.update(start(running, home, delay_s=None, model="openai:scripted", limits="off"))
            stack.run(introduce(started))
            stack.run(others(started, first=next(contacts), count=14, gap_s=gap_s))
            return dict(stack.run(others(started, first=next(contacts), count=count, gap_s=gap_s)))

        def beside() -> dict[str, float]:
            """On the same processes, which end with it: what hangs would stay for as long as the model may take."""
            stack.run(trouble(started))
            found = dict(stack.run(others(started, first=next(contacts), count=count, gap_s=gap_s)))
            started["worker"].kill()
            running.close()
            return found

        return pairs.in_turn(without, beside, times=times)
