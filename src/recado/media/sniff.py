"""What a file is by its first bytes, whatever its sender says: one of the types that WhatsApp carries, or none."""

from __future__ import annotations

from typing import Final

import puremagic
from puremagic import PureError

#: How much of a file's beginning is looked at.
HEAD_BYTES: Final = 8192

#: What puremagic calls the formats that may be kept, the surest first, and what they are.
_TYPES: Final = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".amr": "audio/amr",
    ".aac": "audio/aac",
    ".mp3": "audio/mpeg",
    ".mpga": "audio/mpeg",
    ".pdf": "application/pdf",
    ".ogg": "audio/ogg",
    ".3gp": "video/3gpp",
    ".mp4": "video/mp4",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def content_type_of(head: bytes) -> str | None:
    """The type of a file that begins with `head`; None for one that may not be kept."""
    try:
        found = {match.extension for match in puremagic.magic_string(head)}
    except (PureError, ValueError):
        return None
    return next((kind for extension, kind in _TYPES.items() if extension in found), None)
