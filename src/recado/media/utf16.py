"""Text in UTF-16, which some phones and spreadsheets write: told by its byte order mark, or by the zeros of ASCII."""

from __future__ import annotations

import codecs
import mmap
import re
from typing import Final

#: What no text has, of the characters that are there in ASCII.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_STEP: Final = 65_536


def codec_of(head: bytes) -> str | None:
    """The codec of a text that begins with `head`, if it is in UTF-16; without a mark its first four letters tell."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if len(head) >= 8:
        for codec, zeros, letters in (("utf-16-be", head[0:8:2], head[1:8:2]), ("utf-16-le", head[1:8:2], head[0:8:2])):
            if zeros == b"\0\0\0\0" and 0 not in letters:
                return codec
    return None


def is_text(content: bytes | mmap.mmap, codec: str, *, whole: bool) -> bool:
    """Whether these bytes are text of that codec, without control characters; a beginning may end in a character."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for start in range(0, len(content), _STEP):
            last = whole and start + _STEP >= len(content)
            if _CONTROL.search(decoder.decode(content[start : start + _STEP], last)):
                return False
    except UnicodeDecodeError:
        return False
    return True
