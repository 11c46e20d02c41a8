"""Splitting a long text into messages that WhatsApp takes, where a reader would."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import regex

# Unicode's white space and the four separators that Python's str.strip counts in too.
_BLANKS = regex.compile(r"[\s\x1c-\x1f]+")
_NOT_BLANK = regex.compile(r"[^\s\x1c-\x1f]")
_GRAPHEME = regex.compile(r"\X")
# A sentence ends in its mark and whatever closes around it; the number of a list's item is none.
_SENTENCE_END = regex.compile(r"""(?:[!?…。！？؟।]|(?<!(?:^|\s)\d{1,3})\.)["')\]}»”’*_~`]*$""")
# Chinese and Japanese put no blank after a sentence.
_WIDE_STOP = regex.compile(r"[。！？；]+[」』”’）]*")
# The scheme's length is bounded, or a long word would be scanned once for each of its letters.
_URL = regex.compile(r"""(?i)(?<![a-z0-9])(?:[a-z][a-z0-9+.\-]{0,15}://|www\.)[^\s<>"]+""")
_URL_START_CHARS = 24
# WhatsApp's own: https://faq.whatsapp.com/539178204879377. Only monospace reaches over lines.
_PAIRS = (
    regex.compile(r"(?<![\w*])\*(?=[^\s*])[^*\n]*(?<=\S)\*(?!\w)"),
    regex.compile(r"(?<!\w)_(?=[^\s_])[^_\n]*(?<=\S)_(?!\w)"),
    regex.compile(r"(?<![\w~])~(?=[^\s~])[^~\n]*(?<=\S)~(?!\w)"),
    regex.compile(r"(?s)```.+?```"),
    regex.compile(r"(?<!`)`(?=[^\s`])[^`\n]*(?<=\S)`(?!`)"),
)

_PARAGRAPH, _LINE, _SENTENCE, _WORD = range(4)


def units(text: str) -> int:
    """The length as Twilio is sure not to count more: in UTF-16 code units, so an emoji counts two or more."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)


def split(text: str, limit: int) -> tuple[str, ...]:
    """`text` in parts of at most `limit` UTF-16 code units, none of them blank, that join to the text again.

    A part ends at a paragraph's end, else a line's, a sentence's, a word's; blanks stay at the end of the part
    before. A grapheme cluster, a URL or a formatting pair (`*bold*`) is cut only when it alone is longer than a part.
    Blanks are left out only where keeping them would make a blank part (a run of them about as long as a part, or a
    text of nothing else). Takes time in proportion to the text. Raises `ValueError` for a limit below 2, as one
    character may need two code units.
    """
    if limit < 2:
        raise ValueError("limit must be at least 2")
    end = len(text.rstrip())
    if end == 0:
        return ()
    if len(text) <= limit and units(text) <= limit:
        return (text,)
    parts: list[str] = []
    start = 0
    while True:
        reach = _reach(text, start, limit)
        first = _first_visible(text, start)
        if reach == len(text):
            parts.append(text[start:])
            return tuple(parts)
        # What follows must hold something to see, so the cut is before the last visible character.
        cut = _cut(text, start, min(reach, end - 1), limit, first)
        if cut is None and first > start:
            # Nothing to see fits behind these blanks.
            start = first
            continue
        if cut is None:
            # One cluster is all there is to see: it is too long itself, or only blanks behind it don't fit.
            cut = reach
        parts.append(text[start:cut])
        start = cut
        if start >= end:
            return tuple(parts)


def _reach(text: str, start: int, limit: int) -> int:
    """The greatest index such that `text[start:index]` has at most `limit` code units."""
    window = text[start : start + limit]
    if window.isascii():
        return start + len(window)
    counted = accumulate(2 if char > "\uffff" else 1 for char in window)
    return start + bisect_right(list(counted), limit)


def _first_visible(text: str, start: int) -> int:
    found = _NOT_BLANK.search(text, start)
    return found.start() if found else len(text)


def _cut(text: str, start: int, reach: int, limit: int, first: int) -> int | None:
    """Where the part that begins at `start` ends: in (first, reach], or None if no cluster ends there."""
    # Pairs are looked for one part further than this one, as only a pair that fits in a part can be kept whole.
    region = text[start : reach + limit]
    length = reach - start
    edges = _edges(region[: length + 1], length, first - start)
    if not edges:
        return None
    ends = _ends(region[: length + _URL_START_CHARS], length)
    urls = [found.span() for found in _URL.finditer(region[: length + _URL_START_CHARS])]
    pairs = [found.span() for pair in _PAIRS for found in pair.finditer(region) if units(found.group()) <= limit]
    for spans in (urls + pairs, urls, []):
        inside = _inside(spans, length)
        allowed = [edge for edge in edges if not inside[edge]]
        if allowed:
            safe = set(allowed)
            best = _best([(at, kind) for at, kind in ends if at in safe], length)
            return start + (allowed[-1] if best is None else best)
    return None


def _edges(window: str, length: int, first: int) -> list[int]:
    """Ends of grapheme clusters in (first, length]; `window` has one character more, which decides the last one."""
    if window.isascii() and "\r" not in window:
        return list(range(first + 1, length + 1))
    return [found.end() for found in _GRAPHEME.finditer(window) if first < found.end() <= length]


def _ends(window: str, length: int) -> list[tuple[int, int]]:
    """Where a reader would cut: (index after the blanks, kind), in order of index."""
    ends: list[tuple[int, int]] = []
    for found in _BLANKS.finditer(window):
        if found.end() > length:
            break
        before = window[max(0, found.start() - 8) : found.start()]
        lines = found.group().count("\n")
        kind = _PARAGRAPH if lines > 1 else _LINE if lines else _SENTENCE if _SENTENCE_END.search(before) else _WORD
        ends.append((found.end(), kind))
    ends += [(found.end(), _SENTENCE) for found in _WIDE_STOP.finditer(window[:length])]
    return sorted(ends)


def _inside(spans: list[tuple[int, int]], length: int) -> list[bool]:
    """For each index up to `length`, whether a cut there would be inside one of the spans."""
    inside = [False] * (length + 1)
    for begin, stop in spans:
        for index in range(begin + 1, min(stop, length + 1)):
            inside[index] = True
    return inside


def _best(ends: list[tuple[int, int]], length: int) -> int | None:
    """The last end of the best kind that fills a third of the part; else the last of any kind."""
    for kind in (_PARAGRAPH, _LINE, _SENTENCE):
        good = [at for at, its in ends if its == kind and at * 3 >= length]
        if good:
            return good[-1]
    return ends[-1][0] if ends else None
