"""The running Twilio: takes messages, moves them through their statuses, posts webhooks, tells the phone.

All of it lives in one event loop. Statuses move by timers, not by tasks; a task exists only while a
webhook is being posted.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from recado.simulator import faults as faulty
from recado.simulator import feed as screens
from recado.simulator import state as records
from recado.simulator import webhooks
from recado.simulator.feed import Feed
from recado.simulator.state import Account, Attempt, Message, Number, State, Status, Thread

TYPING_S = 25.0
CALLBACK_FIRST_S = 5.0
HELD_CALLBACK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a message gets through; milliseconds after it was taken, `read_ms` after its delivery."""

    sent_ms: float = 30
    delivered_ms: float = 80
    read_ms: float = 150
    auto_read: bool = False


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
    feed: Feed = field(default_factory=Feed)
    session: aiohttp.ClientSession | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    held: dict[str, list[dict[str, str]]] = field(default_factory=dict)


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
    """Drop messages, threads, faults and logs; accounts, numbers and the pace stay."""
    records.forget(engine.state)
    engine.faults.armed.clear()
    engine.calls.clear()
    engine.posted.clear()
    engine.held.clear()
    screens.tell(engine.feed, {"type": "resync"})


def log_call(engine: Engine, **fields: Any) -> None:
    """Remember a REST call for `GET /sim/calls`."""
    engine.call_count += 1
    engine.calls.append(Call(seq=engine.call_count, at=engine.now(), **fields))


def take(
    engine: Engine,
    *,
    account: Account,
    number: Number,
    to: str,
    body: str,
    status_callback: str | None = None,
    messaging_service_sid: str | None = None,
    media_urls: tuple[str, ...] = (),
    send_at: float | None = None,
    effect: faulty.Effect = faulty.NO_EFFECT,
) -> Message:
    """Take a message for delivery: from here on the contact will see it, whatever becomes of the answer."""
    now = engine.now()
    status: Status = "scheduled" if send_at is not None else "accepted" if messaging_service_sid else "queued"
    message = Message(
        seq=records.take_seq(engine.state),
        sid=records.new_sid("MM" if media_urls else "SM"),
        account_sid=account.sid,
        direction="outbound-api",
        number=number.address,
        contact=to,
        body=body,
        shown=body,
        status=status,
        created_at=now,
        updated_at=now,
        status_callback=status_callback or number.status_callback_url,
        messaging_service_sid=messaging_service_sid,
        media_urls=media_urls,
        fate=effect.delivery_status,
        fate_code=effect.error_code,
    )
    records.add(engine.state, message)
    thread = records.thread_of(engine.state, account.sid, number.address, to)
    thread.typing_until = 0.0
    thread.unread += 1
    if not effect.callback_first:
        wait_ms = engine.pace.sent_ms if send_at is None else (send_at - now) * 1000
        _later(engine, wait_ms, message, "failed" if message.fate == "failed" else "sent")
    _show(engine, message)
    return message


async def announce(engine: Engine, message: Message) -> None:
    """Move a message on and wait for its callback's answer: the callback that overtakes the POST's answer."""
    callback = advance(engine, message, "failed" if message.fate == "failed" else "sent")
    if callback is not None:
        await asyncio.wait({callback}, timeout=CALLBACK_FIRST_S)


def _later(engine: Engine, ms: float, message: Message, status: Status) -> None:
    asyncio.get_running_loop().call_later(max(ms, 0) / 1000, advance, engine, message, status)


def advance(engine: Engine, message: Message, status: Status) -> asyncio.Task[Any] | None:
    """Move a message to its next status, post the callback, set the timer for the one after; the callback's task."""
    gone = engine.state.by_sid.get(message.sid) is not message
    if engine.feed.closing.is_set() or gone or message.status in ("read", "failed", "undelivered", "canceled"):
        return None
    message.status = status
    message.updated_at = now = engine.now()
    pace = engine.pace
    if status == "sent":
        message.sent_at = now
        _later(engine, pace.delivered_ms - pace.sent_ms, message, message.fate or "delivered")
    elif status == "delivered":
        message.delivered_at = now
        if pace.auto_read:
            _later(engine, pace.read_ms, message, "read")
    elif status == "read":
        message.read_at = now
    else:
        message.error_code = message.fate_code
    _show(engine, message)
    return _callback(engine, message)


def _callback(engine: Engine, message: Message) -> asyncio.Task[Any] | None:
    if message.status_callback is None:
        return None
    params = webhooks.status_params(message)
    effect = faulty.strike(
        engine.faults, "callback", to=message.to, from_=message.from_, body=message.body, status=message.status
    )
    if effect.lose:
        _log_post(engine, "callback", message, message.status_callback, params, [])
        return None
    if effect.disorder and message.sid not in engine.held and message.status not in ("read", "failed", "undelivered"):
        engine.held[message.sid] = [params]
        # The one that follows may never come; a held callback is late then, not lost.
        asyncio.get_running_loop().call_later(HELD_CALLBACK_S, _release, engine, message)
        return None
    overtaken = engine.held.pop(message.sid, [])
    return _spawn(engine, _post_callbacks(engine, message, [params, *overtaken], effect))


def _release(engine: Engine, message: Message) -> None:
    held = engine.held.pop(message.sid, [])
    if held and not engine.feed.closing.is_set():
        _spawn(engine, _post_callbacks(engine, message, held, faulty.NO_EFFECT))


async def _post_callbacks(
    engine: Engine, message: Message, callbacks: list[dict[str, str]], effect: faulty.Effect
) -> None:
    if effect.delay_ms:
        await asyncio.sleep(effect.delay_ms / 1000)
    url = message.status_callback or ""
    for params in callbacks:
        posts = (_post(engine, "callback", message, url, params, str(uuid.uuid4())) for _ in range(effect.copies))
        await asyncio.gather(*posts)


def receive(
    engine: Engine,
    *,
    account: Account,
    number: Number,
    contact: str,
    body: str,
    profile_name: str | None = None,
    extra: Mapping[str, str | None] | None = None,
    message_sid: str | None = None,
) -> Message:
    """A contact's message reaches Twilio.

    Raises:
        ValueError: `message_sid` is taken.

    """
    extra = extra or {}
    now = engine.now()
    num_media = int(extra.get("NumMedia") or 0)
    message = Message(
        seq=records.take_seq(engine.state),
        sid=message_sid or records.new_sid("MM" if num_media else "SM"),
        account_sid=account.sid,
        direction="inbound",
        number=number.address,
        contact=contact,
        body=body,
        shown=body,
        status="received",
        created_at=now,
        updated_at=now,
        sent_at=now,
        messaging_service_sid=number.messaging_service_sid,
        idempotency_token=str(uuid.uuid4()),
    )
    records.add(engine.state, message)
    thread = records.thread_of(engine.state, account.sid, number.address, contact)
    thread.name = profile_name if profile_name is not None else thread.name
    message.params = webhooks.inbound_params(message, extra, thread.name)
    message.media_urls = tuple(message.params.get(f"MediaUrl{index}", "") for index in range(num_media))
    _show(engine, message)
    return message


def deliver_inbound(engine: Engine, message: Message, *, times: int = 1) -> asyncio.Task[list[Attempt]]:
    """Post an inbound message's webhook, `times` at once; the task gives all attempts, in no order."""
    return _spawn(engine, _post_inbound(engine, message, times))


async def _post_inbound(engine: Engine, message: Message, times: int) -> list[Attempt]:
    url = engine.state.numbers[message.account_sid, message.number].webhook_url
    if url is None or message.params is None:
        return []
    effect = faulty.strike(engine.faults, "inbound", to=message.to, from_=message.from_, body=message.body)
    if effect.lose:
        _log_post(engine, "inbound", message, url, message.params, [])
        return []
    if effect.delay_ms:
        await asyncio.sleep(effect.delay_ms / 1000)
    token = message.idempotency_token or ""
    posts = (_post(engine, "inbound", message, url, message.params, token) for _ in range(times * effect.copies))
    attempts = [attempt for each in await asyncio.gather(*posts) for attempt in each]
    message.attempts.extend(attempts)
    _show(engine, message)
    return attempts


async def _post(
    engine: Engine, kind: str, message: Message, url: str, params: dict[str, str], idempotency_token: str
) -> list[Attempt]:
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
    _log_post(engine, kind, message, url, params, attempts)
    return attempts


def _log_post(
    engine: Engine, kind: str, message: Message, url: str, params: dict[str, str], attempts: list[Attempt]
) -> None:
    engine.posted.append(
        Posted(at=engine.now(), kind=kind, sid=message.sid, url=url, params=params, attempts=tuple(attempts))
    )


def cancel(engine: Engine, message: Message) -> bool:
    """Cancel a message that waits for its time; false when it is too late for that."""
    if message.status != "scheduled":
        return False
    message.status = "canceled"
    message.updated_at = engine.now()
    _show(engine, message)
    return True


def read_thread(engine: Engine, thread: Thread) -> int:
    """The contact looks at the thread: what was delivered is read now; how many messages that were."""
    thread.unread = 0
    delivered = [message for message in thread.messages if message.status == "delivered"]
    for message in delivered:
        advance(engine, message, "read")
    screens.tell_thread(engine.feed, thread, engine.now())
    return len(delivered)


def type_indicator(engine: Engine, message: Message) -> None:
    """The business has read the contact's message and types; shown until it answers, 25 seconds at most."""
    thread = records.thread_of(engine.state, message.account_sid, message.number, message.contact)
    thread.typing_until = engine.now() + TYPING_S
    for earlier in reversed(thread.messages):
        if earlier.direction == "inbound" and earlier.seq <= message.seq:
            if earlier.read_at is not None:
                break
            earlier.read_at = engine.now()
            _show(engine, earlier)
    screens.tell_thread(engine.feed, thread, engine.now())


def _show(engine: Engine, message: Message) -> None:
    if engine.feed.phones:
        thread = records.thread_of(engine.state, message.account_sid, message.number, message.contact)
        screens.tell_message(engine.feed, message, thread, engine.now())


def set_pace(engine: Engine, **changes: Any) -> Pace:
    """Change how fast messages get through; those under way keep the timer they have."""
    engine.pace = replace(engine.pace, **changes)
    return engine.pace


def _spawn(engine: Engine, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(work)
    engine.tasks.add(task)
    task.add_done_callback(engine.tasks.discard)
    return task
