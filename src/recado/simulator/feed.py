"""What phones show: bubbles and contact lists as JSON, and the live events that keep open phones up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

from recado.simulator import kinds, vcards
from recado.simulator.state import Media, Message, State, Thread

BACKLOG = 1000


@dataclass(slots=True, kw_only=True, eq=False)
class Feed:
    """The open phones; `closing` ends their streams."""

    phones: set[asyncio.Queue[dict[str, Any]]] = field(default_factory=set)
    closing: asyncio.Event = field(default_factory=asyncio.Event)


def bubble(state: State, message: Message) -> dict[str, Any]:
    """A message as the contact sees it, with Twilio's word on its delivery."""
    files = [state.media[sid] for sid in message.media if sid in state.media]
    params = message.params or {}
    return {
        "seq": message.seq,
        "sid": message.sid,
        "account_sid": message.account_sid,
        "number": message.number,
        "contact": message.contact,
        "direction": message.direction,
        "kind": _kind(message, files),
        "body": message.shown,
        "media_urls": list(message.media_urls),
        "files": [_file(media) for media in files],
        "face": asdict(message.face) if message.face is not None else None,
        "content_sid": message.content_sid,
        "quotes": params.get("OriginalRepliedMessageSid"),
        "forwarded": "often" if "FrequentlyForwarded" in params else "once" if "Forwarded" in params else None,
        "headline": params.get("ReferralHeadline"),
        "place": _place(message, params),
        "status": message.status,
        "error_code": message.error_code,
        "created_at": message.created_at,
        "sent_at": message.sent_at,
        "delivered_at": message.delivered_at,
        "read_at": message.read_at,
        "webhook_statuses": [attempt.status for attempt in message.attempts],
        "acknowledged": any(attempt.status is not None and attempt.status < 300 for attempt in message.attempts),
    }


def _kind(message: Message, files: list[Media]) -> str:
    if message.direction == "inbound":
        return message.kind
    if files:
        return kinds.kind_of_file(files[0].content_type)
    if message.face is not None and message.face.latitude is not None:
        return "location"
    return "interactive" if message.face is not None else "text"


def _file(media: Media) -> dict[str, Any]:
    card = vcards.read(media.data) if media.content_type == kinds.VCARD else None
    return {
        "sid": media.sid,
        "content_type": media.content_type,
        "file_name": media.file_name,
        "size_bytes": len(media.data),
        "url": f"/sim/media/{media.sid}",
        "card": asdict(card) if card is not None else None,
    }


def _place(message: Message, params: dict[str, str]) -> dict[str, Any] | None:
    if message.face is not None and message.face.latitude is not None:
        face = asdict(message.face)
        return {name: face[name] for name in ("latitude", "longitude", "label", "address")}
    if "Latitude" not in params or "Longitude" not in params:
        return None
    return {
        "latitude": float(params["Latitude"]),
        "longitude": float(params["Longitude"]),
        "label": params.get("Label", ""),
        "address": params.get("Address", ""),
    }


def summary(state: State, thread: Thread, now: float) -> dict[str, Any]:
    """One line of the contact list; `typing_s` is for how long the business is shown as typing, `window_s` for how
    long it may still write what it likes.
    """
    return {
        "account_sid": thread.account_sid,
        "number": thread.number,
        "contact": thread.contact,
        "name": thread.name,
        "unread": thread.unread,
        "typing_s": max(0.0, round(thread.typing_until - now, 3)),
        "window_s": max(0.0, round(thread.window_until - now, 3)),
        "messages": len(thread.messages),
        "last": bubble(state, thread.messages[-1]) if thread.messages else None,
    }


def tell_message(feed: Feed, state: State, message: Message, thread: Thread, now: float) -> None:
    """Show a new or changed message, and its line of the contact list, on every open phone."""
    if feed.phones:
        tell(feed, {"type": "message", "message": bubble(state, message)})
        tell(feed, {"type": "thread", "thread": summary(state, thread, now)})


def tell_thread(feed: Feed, state: State, thread: Thread, now: float) -> None:
    """Show a changed line of the contact list on every open phone."""
    if feed.phones:
        tell(feed, {"type": "thread", "thread": summary(state, thread, now)})


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
