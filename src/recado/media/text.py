"""What a document says: its text, within limits, whatever the document tries.

Parsers of files that strangers send may hang, or ask for all memory. They run in a process of their own
(`recado.media.parsing`) that has a few seconds of CPU, little memory, no file to write and none of our environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from recado.media import utf16

log = structlog.get_logger(__name__)

#: What is kept of a document's text.
MOST_CHARS = 20_000
#: A plain text is read so far.
MOST_BYTES = 256 * 1024
#: The parser's process has far less CPU than that: it ends sooner, unless the machine is busy with other things.
WAIT_S = 45.0

_PDF, _ZIP, _OLE, _CARD = b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"BEGIN:VCARD"
_PLAIN = {"application/json", "application/csv", "application/xml"}
_CARDS = {"text/vcard", "text/x-vcard", "text/directory"}
#: Controls, and halves of characters, which no database takes.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What was found: None where there is no text to be had. `pages` counts pages or slides.

    The text of a contact card is JSON: a list of `{"name", "organization", "phones", "emails"}`.
    """

    text: str | None = field(default=None, repr=False)
    pages: int | None = None


async def extract(path: Path, content_type: str) -> Extracted:
    """The text of a PDF, Word, Excel, PowerPoint, OpenDocument, plain text or vCard file; empty for anything else.

    What the first bytes say counts, the type only where they say nothing. Never raises because of what the file holds:
    a broken, encrypted or hostile one has no text. Takes at most `WAIT_S` seconds; cancelled it ends at once.
    """
    how = await asyncio.to_thread(_way, path, content_type)
    if how is None:
        return Extracted()
    return await asyncio.to_thread(_plain, path) if how == "plain" else await _parsed(path, how)


def _way(path: Path, content_type: str) -> str | None:
    with path.open("rb") as file:
        head = file.read(1024)
    if _PDF in head:
        return "pdf"
    if head.startswith(_ZIP):
        return "office"
    if head.startswith(_OLE):
        return "sheets"
    beginning = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if codec := utf16.codec_of(head[:8]):
        beginning = head.decode(codec, "replace").lstrip("\ufeff \t\r\n").encode("utf-8", "replace")
    if content_type in _CARDS or beginning.upper().startswith(_CARD):
        return "cards"
    return "plain" if content_type.startswith("text/") or content_type in _PLAIN else None


def tidy(text: str) -> str:
    """Without controls, with one blank line at most between paragraphs, and no longer than `MOST_CHARS`."""
    text = _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n"))
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n ?(?:\n ?)+", "\n\n", text)[:MOST_CHARS].strip()


def _plain(path: Path) -> Extracted:
    with path.open("rb") as file:
        data = file.read(MOST_BYTES)
    if codec := utf16.codec_of(data[:8]):
        text = data.decode(codec, "replace")
    elif b"\0" in data:
        return Extracted()
    else:
        try:
            # The last character may be cut in the middle.
            text = data[: len(data) - 3].decode("utf-8-sig") + data[len(data) - 3 :].decode("utf-8", "ignore")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    return Extracted(text=tidy(text) or None)


async def _parsed(path: Path, how: str) -> Extracted:
    # -P: no module is taken from the folder that the process happens to stand in.
    command = [sys.executable, "-P", "-m", "recado.media.parsing", how, str(await asyncio.to_thread(path.resolve))]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    try:
        parser = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment
        )
        try:
            async with asyncio.timeout(WAIT_S):
                said, _ = await parser.communicate()
        finally:
            if parser.returncode is None:
                with suppress(ProcessLookupError):
                    parser.kill()
                await parser.wait()
        found = json.loads(said)
    except (TimeoutError, ValueError, OSError) as error:
        log.info("document_unreadable", step="understand", error=type(error).__name__)
        return Extracted()
    return Extracted(text=found["text"], pages=found["pages"])
