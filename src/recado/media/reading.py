"""What is in a file that is no voice note: a document's text, a picture's size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a document says, and how large a picture is; None where it does not apply, or can't be told."""

    text: str | None = field(default=None, repr=False)
    width: int | None = None
    height: int | None = None


async def read(path: Path, content_type: str) -> Read:
    """What can be told of a file of that type; never raises for what a file holds."""
    return Read()
