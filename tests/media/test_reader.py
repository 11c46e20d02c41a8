"""Looking into files: documents of strangers are parsed a few at once, wherever else there is room."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from recado.media.reader import PARSERS, Reader
from tests.media.documents import endless_table, word
from tests.media.test_text import OFFICE


def parsers() -> int:
    """How many of the processes that this one has begun parse a document."""
    return sum("recado.media.parsing" in _command(child) for child in psutil.Process().children())


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    path = endless_table(tmp_path / "heavy", rows=300)
    assert path.stat().st_size < 100_000
    return path


async def test_documents_that_come_at_once_are_parsed_two_at_a_time_and_hold_no_shared_thread(
    tmp_path: Path, heavy: Path
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "picture.png")
    reader, most = Reader(), 0
    # The pool is the engine's too: a single thread of it must be enough.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    reading = [asyncio.create_task(reader.read(heavy, OFFICE)) for _ in range(6)]
    while not parsers():
        await asyncio.sleep(0.01)
    began = time.monotonic()
    assert (await reader.read(tmp_path / "picture.png", "image/png")).width == 30
    assert not reading[0].done(), "the picture waited for a document"
    while not all(task.done() for task in reading):
        most = max(most, parsers())
        await asyncio.sleep(0.02)
    assert most == PARSERS
    assert time.monotonic() > began
    assert (await reader.read(word(tmp_path / "letter", "Olá"), OFFICE)).text == "Olá\nBolo | R$ 40"


async def test_a_document_that_nobody_waits_for_any_more_is_not_parsed_on(heavy: Path) -> None:
    reading = asyncio.create_task(Reader().read(heavy, OFFICE))
    while not parsers():
        await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert parsers() == 0
