"""What is in a file that is no voice note: a document's text and pages, a picture's size."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from recado.media.images import UnreadableImage, measure
from recado.media.text import extract


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a document says, and how large a picture is; None where it does not apply, or can't be told."""

    text: str | None = field(default=None, repr=False)
    pages: int | None = None
    width: int | None = None
    height: int | None = None


async def read(path: Path, content_type: str) -> Read:
    """What can be told of a file of that type; never raises for what a file holds."""
    return await asyncio.to_thread(_read, path, content_type)


def _read(path: Path, content_type: str) -> Read:
    if content_type.startswith("image/"):
        try:
            width, height = measure(path)
        except UnreadableImage:
            return Read()
        return Read(width=width, height=height)
    found = extract(path, content_type)
    return Read(text=found.text, pages=found.pages)
