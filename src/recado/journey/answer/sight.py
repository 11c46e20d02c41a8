"""answer, what is seen: the lines that a turn shows to a model, and the pictures where it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC
from pathlib import Path
from typing import cast
from uuid import UUID
from weakref import WeakKeyDictionary

from recado.assistants.run import Author, Line, Picture
from recado.conversations.happenings import happened
from recado.conversations.media import STORED, Media
from recado.conversations.messages import Message
from recado.conversations.reading import Reading
from recado.conversations.saying import DOCUMENT_CHARS, says
from recado.fair import Gate
from recado.media import images
from recado.media.scratch import scratch
from recado.media.storage import Storage

#: What a turn shows, the newest of what was sent. A model is paid for each, at every turn.
MOST_PICTURES = 4
#: What is shown of a document that was answered before.
EARLIER_CHARS = 1_500
#: Pictures in work at once, whoever's: while one is decoded another is read and written.
DECODED_AT_ONCE = 2
_GATES: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()
#: By what they are, so stickers too; of what moves, the first frame.
_SHOWN = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})


def worth_showing(readings: Sequence[Reading]) -> list[Media]:
    """The newest pictures of the contact's among these readings, which come oldest first."""
    found = [
        media
        for reading in readings
        if reading.author == "contact"
        for media in reading.media
        if media.status == STORED and media.storage_key and media.content_type in _SHOWN
    ]
    return found[-MOST_PICTURES:]


def _decoding(owner: str) -> AbstractAsyncContextManager[None]:
    """Wait for the owner's turn to have a picture decoded: not in a thread, of which everything else has its share."""
    return _GATES.setdefault(asyncio.get_running_loop(), Gate(DECODED_AT_ONCE)).turn(owner)


async def pictures_of(storage: Storage, home: Path, media: Sequence[Media]) -> dict[UUID, Picture]:
    """The pictures by their media's id, made small for a model.

    One that can't be had or read now is left out: the assistant is told that there is a picture, and answers the rest.
    """
    seen: dict[UUID, Picture] = {}
    if not media:
        return seen
    with scratch(home) as folder:
        for one in media:
            assert one.storage_key is not None, "only what is stored is shown"  # noqa: S101
            path = folder / str(one.id)
            try:
                await storage.fetch(one.storage_key, path)
                async with _decoding(one.storage_key.partition("/")[0]):
                    small = await asyncio.to_thread(images.reduce, path, folder)
                seen[one.id] = Picture(content_type="image/jpeg", data=await asyncio.to_thread(small.read_bytes))
            except Exception as error:  # a storage that is away must not cost the contact the answer
                await happened(
                    None,
                    "answer",
                    "picture_not_shown",
                    message_id=one.message_id,
                    media_id=one.id,
                    error=type(error).__name__,
                )
    return seen


def lines(
    messages: Sequence[Message],
    readings: Mapping[UUID, Reading],
    seen: Mapping[UUID, Picture],
    *,
    document_chars: int = DOCUMENT_CHARS,
) -> list[Line]:
    """The messages as the assistant reads them, each with those of its pictures that are shown."""
    return [
        Line(
            author=cast("Author", message.author),
            text=says(read, document_chars=document_chars),
            at=message.received_at.astimezone(UTC),
            pictures=tuple(seen[media.id] for media in read.media if media.id in seen),
        )
        for message in messages
        for read in [readings[message.id]]
    ]
