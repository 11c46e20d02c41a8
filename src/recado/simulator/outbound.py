"""What the business sends: taken, its files fetched, moved through its statuses, and told to the status callback."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from recado.simulator import contents, fetching, webhooks
from recado.simulator import faults as faulty
from recado.simulator import feed as screens
from recado.simulator import state as records
from recado.simulator.contents import Content, Rendered
from recado.simulator.engine import Engine, log_post, post, show, spawn
from recado.simulator.state import Account, Message, Number, Status, Thread

CALLBACK_FIRST_S = 5.0
HELD_CALLBACK_S = 2.0

OUTSIDE_WINDOW = 63016
NOT_APPROVED = {"rejected": 63040, "paused": 63041, "disabled": 63041}
TOO_MANY_BUTTONS = 63021


def take(
    engine: Engine,
    *,
    account: Account,
    number: Number,
    to: str,
    rendered: Rendered,
    content: Content | None = None,
    status_callback: str | None = None,
    messaging_service_sid: str | None = None,
    send_at: float | None = None,
    fate_code: int | None = None,
    effect: faulty.Effect = faulty.NO_EFFECT,
) -> Message:
    """Take a message for delivery: from here on the contact will see it, whatever becomes of the answer.

    `fate_code` is why it will fail, when that is certain already.
    """
    now = engine.now()
    status: Status = "scheduled" if send_at is not None else "accepted" if messaging_service_sid else "queued"
    thread = records.thread_of(engine.state, account.sid, number.address, to)
    fate, code = _fate(engine, thread, rendered, content)
    if fate_code is not None:
        fate, code = "failed", fate_code
    if effect.delivery_status is not None:
        fate, code = effect.delivery_status, effect.error_code
    message = Message(
        seq=records.take_seq(engine.state),
        sid=records.new_sid("MM" if rendered.media_urls else "SM"),
        account_sid=account.sid,
        direction="outbound-api",
        number=number.address,
        contact=to,
        body=rendered.body,
        shown=rendered.body,
        status=status,
        created_at=now,
        updated_at=now,
        status_callback=status_callback or number.status_callback_url,
        messaging_service_sid=messaging_service_sid,
        media_urls=rendered.media_urls,
        face=rendered.face,
        content_sid=content.sid if content is not None else None,
        fate=fate,
        fate_code=code,
    )
    records.add(engine.state, message)
    thread.typing_until = 0.0
    thread.unread += 1
    if not effect.callback_first:
        wait_ms = engine.pace.sent_ms if send_at is None else (send_at - now) * 1000
        if message.media_urls:
            spawn(engine, _send_with_files(engine, message, wait_ms))
        else:
            _later(engine, wait_ms, message, _first(message))
    show(engine, message)
    return message


def _fate(
    engine: Engine, thread: Thread, rendered: Rendered, content: Content | None
) -> tuple[Status | None, int | None]:
    """Whether the 24-hour window and the template's approval let the message through; if not, how and why not.

    Outside the window only an approved template goes. Source: https://www.twilio.com/docs/api/errors/63016.
    """
    if not thread.contact.startswith("whatsapp:"):
        return None, None
    if content is not None and content.approval.status == "approved":
        return None, None
    if engine.keeps_window and thread.window_until <= engine.now():
        if content is not None and content.approval.status in NOT_APPROVED:
            return "failed", NOT_APPROVED[content.approval.status]
        return "undelivered", OUTSIDE_WINDOW
    if not contents.sendable_in_session(rendered):
        return "failed", TOO_MANY_BUTTONS
    return None, None


async def _send_with_files(engine: Engine, message: Message, wait_ms: float) -> None:
    """Fetch the message's files, then let it go at its time, or fail."""
    ends = asyncio.get_running_loop().time() + wait_ms / 1000
    await _fetch_files(engine, message)
    show(engine, message)
    _later(engine, (ends - asyncio.get_running_loop().time()) * 1000, message, _first(message))


async def _fetch_files(engine: Engine, message: Message) -> None:
    for url in message.media_urls:
        try:
            media = await fetching.fetch(engine, message.account_sid, url)
        except fetching.NotFetched as why:
            message.fate, message.fate_code = "failed", why.code
            return
        media.message_sid = message.sid
        message.media = (*message.media, media.sid)


def _first(message: Message) -> Status:
    return "failed" if message.fate == "failed" else "sent"


async def announce(engine: Engine, message: Message) -> None:
    """Move a message on and wait for its callback's answer: the callback that overtakes the POST's answer."""
    await _fetch_files(engine, message)
    callback = advance(engine, message, _first(message))
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
    show(engine, message)
    return _callback(engine, message)


def _callback(engine: Engine, message: Message) -> asyncio.Task[Any] | None:
    if message.status_callback is None:
        return None
    params = webhooks.status_params(message)
    effect = faulty.strike(
        engine.faults, "callback", to=message.to, from_=message.from_, body=message.body, status=message.status
    )
    if effect.lose:
        log_post(engine, "callback", message, message.status_callback, params, [])
        return None
    if effect.disorder and message.sid not in engine.held and message.status not in ("read", "failed", "undelivered"):
        engine.held[message.sid] = [params]
        # The one that follows may never come; a held callback is late then, not lost.
        asyncio.get_running_loop().call_later(HELD_CALLBACK_S, _release, engine, message)
        return None
    overtaken = engine.held.pop(message.sid, [])
    return spawn(engine, _post_callbacks(engine, message, [params, *overtaken], effect))


def _release(engine: Engine, message: Message) -> None:
    held = engine.held.pop(message.sid, [])
    if held and not engine.feed.closing.is_set():
        spawn(engine, _post_callbacks(engine, message, held, faulty.NO_EFFECT))


async def _post_callbacks(
    engine: Engine, message: Message, callbacks: list[dict[str, str]], effect: faulty.Effect
) -> None:
    if effect.delay_ms:
        await asyncio.sleep(effect.delay_ms / 1000)
    url = message.status_callback or ""
    for params in callbacks:
        posts = (post(engine, "callback", message, url, params, str(uuid.uuid4())) for _ in range(effect.copies))
        await asyncio.gather(*posts)


def cancel(engine: Engine, message: Message) -> bool:
    """Cancel a message that waits for its time; false when it is too late for that."""
    if message.status != "scheduled":
        return False
    message.status = "canceled"
    message.updated_at = engine.now()
    show(engine, message)
    return True


def read_thread(engine: Engine, thread: Thread) -> int:
    """The contact looks at the thread: what was delivered is read now; how many messages that were."""
    thread.unread = 0
    delivered = [message for message in thread.messages if message.status == "delivered"]
    for message in delivered:
        advance(engine, message, "read")
    screens.tell_thread(engine.feed, engine.state, thread, engine.now())
    return len(delivered)
