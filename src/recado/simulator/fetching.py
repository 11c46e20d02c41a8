"""Twilio fetches what the business wants to send: the link is called, and the file held to WhatsApp's types and sizes.

Types: https://www.twilio.com/docs/whatsapp/guidance-whatsapp-media-messages. Codes: 63019, the file could not be had
or is too large; 63005, the channel does not take this type.
"""

from __future__ import annotations

import asyncio

import aiohttp
import yarl

from recado.simulator import kinds
from recado.simulator import state as records
from recado.simulator.engine import Engine
from recado.simulator.state import Media

FETCH_S = 15.0
NOT_HAD, NOT_ACCEPTED = 63019, 63005

ACCEPTED = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/aac",
        "audio/amr",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/3gpp",
        "video/mp4",
        "video/3gpp",
        "application/pdf",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "text/plain",
        "text/vcard",
    }
)


class NotFetched(Exception):
    """The file can't be sent; `code` is Twilio's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"not fetched: {code}")
        self.code = code


async def fetch(engine: Engine, account_sid: str, url: str) -> Media:
    """The file behind a link, kept as Twilio keeps it.

    Raises:
        NotFetched: it could not be had, is too large, or of a type that WhatsApp does not take.

    """
    if engine.session is None:
        raise NotFetched(NOT_HAD)
    try:
        async with (
            asyncio.timeout(FETCH_S),
            engine.session.get(yarl.URL(url, encoded=True), headers={"User-Agent": "TwilioProxy/1.1"}) as answer,
        ):
            if answer.status != 200:
                raise NotFetched(NOT_HAD)
            content_type = answer.content_type.lower()
            data = bytearray()
            async for chunk in answer.content.iter_chunked(65536):
                data += chunk
                if len(data) > kinds.MAX_BYTES:
                    raise NotFetched(NOT_HAD)
            disposition = answer.content_disposition
    except (aiohttp.ClientError, OSError, ValueError):
        raise NotFetched(NOT_HAD) from None
    if content_type not in ACCEPTED:
        raise NotFetched(NOT_ACCEPTED)
    if kinds.too_large(content_type, len(data)):
        raise NotFetched(NOT_HAD)
    media = Media(
        sid=records.new_sid("ME"),
        account_sid=account_sid,
        content_type=content_type,
        data=bytes(data),
        created_at=engine.now(),
        file_name=(disposition.filename or "") if disposition else "",
    )
    records.add_file(engine.state, media)
    return media
