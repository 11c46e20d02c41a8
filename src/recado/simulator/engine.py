"""The running Twilio: what it knows, the pace it keeps, the webhooks it posts and what it remembers of them.

All of it lives in one event loop. Statuses move by timers, not by tasks; a task exists only while a
webhook is being posted or a file is being fetched. `inbound` and `outbound` are what it does.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from recado.simulator import faults as faulty
from recado.simulator import feed as screens
from recado.simulator import state as records
from recado.simulator import webhooks
from recado.simulator.feed import Feed
from recado.simulator.seeds import seeded
from recado.simulator.state import Account, Attempt, Message, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a message gets through; milliseconds after it was taken, `read_ms` after its delivery.

    A contact's file can be had `media_ms` after its webhook; a template is approved `approved_ms` after submission.
    """

    sent_ms: float = 30
    delivered_ms: float = 80
    read_ms: float = 150
    auto_read: bool = False
    media_ms: float = 0
    approved_ms: float = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One REST call as it came and as it was answered; `status` is 0 when the connection was cut."""

    seq: int
    at: float
    method: str
    path: str
    form: dict[str, str]
    operation: str
    status: int
    sid: str | None
    faulted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One webhook as it was posted; no attempts when a fault lost it."""

    at: float
    kind: str
    sid: str
    url: str
    params: dict[str, str]
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that must never come: credentials at the host that serves files."""

    at: float
    what: str
    path: str


@dataclass(slots=True, kw_only=True, eq=False)
class Engine:
    """What the REST API, the control API and the phone work on."""

    pace: Pace
    state: State = field(default_factory=State)
    faults: faulty.Faults = field(default_factory=faulty.Faults)
    calls: deque[Call] = field(default_factory=deque)
    posted: deque[Posted] = field(default_factory=deque)
    now: Callable[[], float] = time.time
    retry_delay_ms: float = 100
    connections: int = 64
    call_count: int = 0
    url: str = ""
    """Where the REST API is; with `files_url`, known once both listen."""
    files_url: str = ""
    """The second host: where files are, which must never see an Authorization header."""
    files_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    violations: list[Violation] = field(default_factory=list)
    keeps_window: bool = True
    feed: Feed = field(default_factory=Feed)
    session: aiohttp.ClientSession | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    held: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    told: dict[str, list[dict[str, str]]] = field(default_factory=dict, repr=False)
    """What `calls` and `posted` hold of a message, by its sid: emptied when the message is deleted."""


async def open_engine(engine: Engine) -> None:
    """Get ready to post webhooks."""
    engine.session = webhooks.new_session(engine.connections)


async def close_engine(engine: Engine) -> None:
    """Stop timers, streams and posts, and close connections; returns when no task is left."""
    engine.feed.closing.set()
    for task in engine.tasks:
        task.cancel()
    await asyncio.gather(*engine.tasks, return_exceptions=True)
    if engine.session is not None:
        await engine.session.close()
        engine.session = None


def forget(engine: Engine) -> None:
    """Drop messages, threads, files, faults and logs; accounts, numbers, contents and the pace stay."""
    records.forget(engine.state)
    engine.faults.armed.clear()
    engine.calls.clear()
    engine.posted.clear()
    engine.held.clear()
    engine.told.clear()
    engine.violations.clear()
    screens.tell(engine.feed, {"type": "resync"})


def put_account(engine: Engine, account: Account) -> None:
    """Add an account with its templates, or give it other tokens."""
    if account.sid not in engine.state.accounts:
        for content in seeded(account.sid, engine.now()):
            engine.state.contents[content.sid] = content
    records.put_account(engine.state, account)


def log_call(engine: Engine, **fields: Any) -> None:
    """Remember a REST call for `GET /sim/calls`."""
    engine.call_count += 1
    engine.calls.append(Call(seq=engine.call_count, at=engine.now(), **fields))
    if fields["sid"] is not None and fields["form"]:
        engine.told.setdefault(fields["sid"], []).append(fields["form"])


def delete(engine: Engine, message: Message) -> None:
    """Delete a message's record, and what the logs of calls and webhooks say of it."""
    records.remove(engine.state, message)
    for said in engine.told.pop(message.sid, ()):
        said.clear()


async def post(
    engine: Engine, kind: str, message: Message, url: str, params: dict[str, str], idempotency_token: str
) -> list[Attempt]:
    """Post a webhook of this account, signed, and remember it."""
    account = engine.state.accounts[message.account_sid]
    if engine.session is None:
        return []
    attempts = await webhooks.post(
        engine.session,
        url,
        params,
        token=account.auth_tokens[0],
        idempotency_token=idempotency_token,
        retry_delay_ms=engine.retry_delay_ms,
    )
    log_post(engine, kind, message, url, params, attempts)
    return attempts


def log_post(
    engine: Engine, kind: str, message: Message, url: str, params: dict[str, str], attempts: list[Attempt]
) -> None:
    """Remember a webhook, with its attempts or as one that a fault lost."""
    engine.told.setdefault(message.sid, []).append(params)
    engine.posted.append(
        Posted(at=engine.now(), kind=kind, sid=message.sid, url=url, params=params, attempts=tuple(attempts))
    )


def show(engine: Engine, message: Message) -> None:
    """Show a new or changed message on the open phones."""
    if engine.feed.phones:
        thread = records.thread_of(engine.state, message.account_sid, message.number, message.contact)
        screens.tell_message(engine.feed, engine.state, message, thread, engine.now())


def set_pace(engine: Engine, **changes: Any) -> Pace:
    """Change how fast messages get through; those under way keep the timer they have."""
    engine.pace = replace(engine.pace, **changes)
    return engine.pace


def spawn(engine: Engine, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run work that ends with the engine at the latest."""
    task = asyncio.get_running_loop().create_task(work)
    engine.tasks.add(task)
    task.add_done_callback(engine.tasks.discard)
    return task
