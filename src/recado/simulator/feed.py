"""What phones show: bubbles and contact lists as JSON, and the live events that keep open phones up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from recado.simulator.state import Message, Thread

BACKLOG = 1000


@dataclass(slots=True, kw_only=True, eq=False)
class Feed:
    """The open phones; `closing` ends their streams."""

    phones: set[asyncio.Queue[dict[str, Any]]] = field(default_factory=set)
    closing: asyncio.Event = field(default_factory=asyncio.Event)


def bubble(message: Message) -> dict[str, Any]:
    """A message as the contact sees it, with Twilio's word on its delivery."""
    return {
        "seq": message.seq,
        "sid": message.sid,
        "account_sid": message.account_sid,
        "number": message.number,
        "contact": message.contact,
        "direction": message.direction,
        "body": message.shown,
        "media_urls": list(message.media_urls),
        "status": message.status,
        "error_code": message.error_code,
        "created_at": message.created_at,
        "sent_at": message.sent_at,
        "delivered_at": message.delivered_at,
        "read_at": message.read_at,
        "webhook_statuses": [attempt.status for attempt in message.attempts],
        "acknowledged": any(attempt.status is not None and attempt.status < 300 for attempt in message.attempts),
    }


def summary(thread: Thread, now: float) -> dict[str, Any]:
    """One line of the contact list; `typing_s` is for how long the business is shown as typing."""
    return {
        "account_sid": thread.account_sid,
        "number": thread.number,
        "contact": thread.contact,
        "name": thread.name,
        "unread": thread.unread,
        "typing_s": max(0.0, round(thread.typing_until - now, 3)),
        "messages": len(thread.messages),
        "last": bubble(thread.messages[-1]) if thread.messages else None,
    }


def tell_message(feed: Feed, message: Message, thread: Thread, now: float) -> None:
    """Show a new or changed message, and its line of the contact list, on every open phone."""
    if feed.phones:
        tell(feed, {"type": "message", "message": bubble(message)})
        tell(feed, {"type": "thread", "thread": summary(thread, now)})


def tell_thread(feed: Feed, thread: Thread, now: float) -> None:
    """Show a changed line of the contact list on every open phone."""
    if feed.phones:
        tell(feed, {"type": "thread", "thread": summary(thread, now)})


def tell(feed: Feed, event: dict[str, Any]) -> None:
    """Send an event to every open phone; one that lags too far behind is told to load everything again."""
    for phone in feed.phones:
        if phone.qsize() < BACKLOG:
            phone.put_nowait(event)
            continue
        while not phone.empty():
            phone.get_nowait()
        phone.put_nowait({"type": "resync"})


async def watch(feed: Feed) -> AsyncIterator[dict[str, Any]]:
    """Events from now on, until the feed closes."""
    phone: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    feed.phones.add(phone)
    closing = asyncio.create_task(feed.closing.wait())
    event: asyncio.Task[dict[str, Any]] | None = None
    try:
        while True:
            event = asyncio.create_task(phone.get())
            await asyncio.wait({event, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                return
            yield event.result()
    finally:
        feed.phones.discard(phone)
        closing.cancel()
        if event is not None:
            event.cancel()
