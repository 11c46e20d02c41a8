"""What is in a file that is no voice note: a document's text and pages, a picture's size."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recado.media.images import UnreadableImage, measure
from recado.media.text import extract

#: Parsers of strangers' documents that one worker runs at once; each may take a core, and 256 MB.
PARSERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a document says, and how large a picture is; None where it does not apply, or can't be told."""

    text: str | None = field(default=None, repr=False)
    pages: int | None = None
    width: int | None = None
    height: int | None = None


class Reader:
    """Looks into files, and has no more than `PARSERS` documents parsed at once: each may take much CPU and memory.

    Whose turn it is among owners is for who asks (`journey/understand/attachments`).
    """

    def __init__(self) -> None:
        self._parsers = asyncio.Semaphore(PARSERS)

    async def read(self, path: Path, content_type: str) -> Read:
        """What can be told of a file of that type; never raises for what a file holds."""
        if content_type.startswith("image/"):
            return await asyncio.to_thread(_measured, path)
        async with self._parsers:
            found = await extract(path, content_type)
        return Read(text=found.text, pages=found.pages)


def _measured(path: Path) -> Read:
    try:
        width, height = measure(path)
    except UnreadableImage:
        return Read()
    return Read(width=width, height=height)
