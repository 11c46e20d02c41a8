"""What contacts do: they send messages of every kind, several at once, and Twilio tells the webhook of each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping

from recado.simulator import faults as faulty
from recado.simulator import feed as screens
from recado.simulator import kinds, webhooks
from recado.simulator import state as records
from recado.simulator.engine import Engine, log_post, post, show, spawn
from recado.simulator.kinds import Writing
from recado.simulator.state import Account, Attempt, Media, Message, Number

WINDOW_S = 24 * 3600.0
TYPING_S = 25.0


def keep_file(engine: Engine, account_sid: str, data: bytes, *, content_type: str, file_name: str = "") -> Media:
    """A file that a contact is about to send; `content_type` is what Twilio will call it."""
    media = Media(
        sid=records.new_sid("ME"),
        account_sid=account_sid,
        content_type=content_type,
        data=data,
        created_at=engine.now(),
        file_name=file_name,
    )
    records.add_file(engine.state, media)
    return media


def receive(
    engine: Engine,
    *,
    account: Account,
    number: Number,
    contact: str,
    writing: Writing,
    media: Media | None = None,
    profile_name: str | None = None,
    extra: Mapping[str, str | None] | None = None,
    message_sid: str | None = None,
) -> Message:
    """A contact's message reaches Twilio; it gives the business 24 hours to write what it likes.

    Raises:
        ValueError: `message_sid` is taken.

    """
    now = engine.now()
    quoted = engine.state.by_sid.get(writing.quotes or "")
    params = kinds.params_of(writing, media, quoted_sender=quoted.from_ if quoted else number.address)
    params.update(extra or {})
    num_media = 1 if media is not None else int(params.get("NumMedia") or 0)
    message = Message(
        seq=records.take_seq(engine.state),
        sid=message_sid or records.new_sid("MM" if num_media else "SM"),
        account_sid=account.sid,
        direction="inbound",
        number=number.address,
        contact=contact,
        body=params.get("Body") or "",
        shown=params.get("Body") or "",
        status="received",
        created_at=now,
        updated_at=now,
        sent_at=now,
        kind=params.get("MessageType") or "text",
        messaging_service_sid=number.messaging_service_sid,
        idempotency_token=str(uuid.uuid4()),
    )
    records.add(engine.state, message)
    thread = records.thread_of(engine.state, account.sid, number.address, contact)
    thread.name = profile_name if profile_name is not None else thread.name
    thread.window_until = now + WINDOW_S
    if media is not None:
        media.message_sid, media.created_at = message.sid, now
        message.media = (media.sid,)
        params = {"NumMedia": "1", **_media_params(engine, message, media), **params}
    message.params = webhooks.inbound_params(message, params, thread.name)
    urls = (message.params.get(f"MediaUrl{index}", "") for index in range(num_media))
    message.media_urls = tuple(urls)
    show(engine, message)
    return message


def _media_params(engine: Engine, message: Message, media: Media) -> dict[str, str | None]:
    path = f"/2010-04-01/Accounts/{message.account_sid}/Messages/{message.sid}/Media/{media.sid}"
    return {"MediaUrl0": engine.url + path, "MediaContentType0": media.content_type}


def deliver(engine: Engine, message: Message, *, times: int = 1) -> asyncio.Task[list[Attempt]]:
    """Post an inbound message's webhook, `times` at once; the task gives all attempts, in no order."""
    return spawn(engine, _post(engine, message, times))


async def _post(engine: Engine, message: Message, times: int) -> list[Attempt]:
    url = engine.state.numbers[message.account_sid, message.number].webhook_url
    if url is None or message.params is None:
        return []
    effect = faulty.strike(engine.faults, "inbound", to=message.to, from_=message.from_, body=message.body)
    if effect.lose:
        log_post(engine, "inbound", message, url, message.params, [])
        return []
    if effect.delay_ms:
        await asyncio.sleep(effect.delay_ms / 1000)
    token = message.idempotency_token or ""
    posts = (post(engine, "inbound", message, url, message.params, token) for _ in range(times * effect.copies))
    attempts = [attempt for each in await asyncio.gather(*posts) for attempt in each]
    message.attempts.extend(attempts)
    show(engine, message)
    return attempts


def type_indicator(engine: Engine, message: Message) -> None:
    """The business has read the contact's message and types; shown until it answers, 25 seconds at most."""
    thread = records.thread_of(engine.state, message.account_sid, message.number, message.contact)
    thread.typing_until = engine.now() + TYPING_S
    for earlier in reversed(thread.messages):
        if earlier.direction == "inbound" and earlier.seq <= message.seq:
            if earlier.read_at is not None:
                break
            earlier.read_at = engine.now()
            show(engine, earlier)
    screens.tell_thread(engine.feed, engine.state, thread, engine.now())
