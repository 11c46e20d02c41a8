"""How long a note is: counted by its frames, not told by its header.

ADTS, AMR and MP3 have no length of their own; what an Ogg, WAV or MP4 says of itself anyone can write. Nothing is
decoded: the work is bounded by the file's size, and ends where the note is longer than anyone asks for.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

Content = bytes | mmap.mmap

_ADTS_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
# With the byte that says which: https://www.rfc-editor.org/rfc/rfc4867, section 5.3.
_AMR: Final = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}
_AMR_FRAME_S: Final = 0.02
_MP3_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MP3_KBITS: Final = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Of each of Opus' 32 configurations, in seconds: https://www.rfc-editor.org/rfc/rfc6716, section 3.1.
_OPUS_S: Final = (0.01, 0.02, 0.04, 0.06) * 3 + (0.01, 0.02) * 2 + (0.0025, 0.005, 0.01, 0.02) * 4
#: So much of what is no frame may stand between two.
_JUNK: Final = 64 * 1024


def counted_s(path: Path, *, enough_s: float) -> float | None:
    """The note's length by its frames, no further than over `enough_s`; None for a format that has none to count."""
    if path.stat().st_size == 0:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        frames = _frames(content)
        if frames is None:
            return None
        length_s = 0.0
        for frame_s in frames:
            length_s += frame_s
            if length_s > enough_s:
                break
        return length_s or None


def _frames(content: Content) -> Iterator[float] | None:
    """How long each frame is, in seconds."""
    for mark, sizes in _AMR.items():
        if content[: len(mark)] == mark:
            return _amr(content, len(mark), sizes)
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return _wav(content)
    if content[:4] == b"OggS":
        return _opus(content) if content[:512].find(b"OpusHead") > 0 else None
    at = _after_tag(content)
    if content[at] == 0xFF and content[at + 1] & 0xF6 == 0xF0:
        return _adts(content, at)
    if content[at] == 0xFF and content[at + 1] & 0xE6 == 0xE2:
        return _mp3(content, at)
    return None


def _after_tag(content: Content) -> int:
    """Where an ID3v2 tag in front ends."""
    at = 0
    if content[:3] == b"ID3" and len(content) > 10:
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    return at if at + 1 < len(content) else 0


def _amr(content: Content, at: int, sizes: tuple[int, ...]) -> Iterator[float]:
    while at < len(content):
        at += sizes[content[at] >> 3 & 0x0F]
        yield _AMR_FRAME_S


def _adts(content: Content, at: int) -> Iterator[float]:
    while 0 <= at <= len(content) - 7:
        size = (content[at + 3] & 3) << 11 | content[at + 4] << 3 | content[at + 5] >> 5
        rate = content[at + 2] >> 2 & 0x0F
        if content[at] == 0xFF and content[at + 1] & 0xF6 == 0xF0 and size >= 7 and rate < len(_ADTS_RATES):
            yield ((content[at + 6] & 3) + 1) * 1024 / _ADTS_RATES[rate]
            at += size
        else:
            at = content.find(b"\xff", at + 1, at + _JUNK)


def _mp3(content: Content, at: int) -> Iterator[float]:
    while 0 <= at <= len(content) - 4:
        version, kbits, rate = content[at + 1] >> 3 & 3, content[at + 2] >> 4, content[at + 2] >> 2 & 3
        layer_3 = content[at] == 0xFF and content[at + 1] & 0xE6 == 0xE2
        if layer_3 and version != 1 and 0 < kbits < 15 and rate < 3:
            samples = 1152 if version == 3 else 576
            hertz = _MP3_RATES[version][rate]
            yield samples / hertz
            at += samples // 8 * _MP3_KBITS[version == 3][kbits] * 1000 // hertz + (content[at + 2] >> 1 & 1)
        else:
            at = content.find(b"\xff", at + 1, at + _JUNK)


def _wav(content: Content) -> Iterator[float]:
    at, byte_rate = 12, 0
    while at <= len(content) - 8:
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"fmt ":
            hertz, block = content[at + 12 : at + 16], content[at + 20 : at + 22]
            byte_rate = int.from_bytes(hertz, "little") * int.from_bytes(block, "little")
        elif name == b"data":
            # To the file's end, whatever the header says: a recorder that was cut off says nothing, or all of 4 GB.
            if byte_rate:
                yield (len(content) - at - 8) / byte_rate
            return
        at += 8 + size + size % 2


def _opus(content: Content) -> Iterator[float]:
    at, heads, goes_on = 0, 2, False
    while content[at : at + 4] == b"OggS" and at + 27 <= len(content):
        laces = content[at + 27 : at + 27 + content[at + 26]]
        at += 27 + len(laces)
        for lace in laces:
            if not goes_on:
                if heads:
                    heads -= 1
                elif lace and at + 1 < len(content):
                    yield _OPUS_S[content[at] >> 3] * _opus_frames(content, at)
            goes_on = lace == 255
            at += lace


def _opus_frames(content: Content, at: int) -> int:
    code = content[at] & 3
    return (1, 2, 2, content[at + 1] & 0x3F)[code]
