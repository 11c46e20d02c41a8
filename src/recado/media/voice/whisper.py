"""Whisper on this machine: in a process of its own, which the product can lose without being lost.

What decodes a stranger's audio and what counts for seconds on end stays out of the worker: its memory, its event loop
and its secrets. The process runs at a low priority, so that turns go first on a machine that is busy.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from recado.media.transcription import SPARE_S, Languages, Transcript, TranscriptionFailed

log = structlog.get_logger(__name__)

#: Loading, where the model must be downloaded first.
LOAD_S = 600.0
#: The longest line that the process may answer: an hour of fast speech takes a tenth of it.
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
#: What the process runs, before the model and the threads.
EARS: Final = ("-m", "recado.media.voice.ears")
#: The child needs its libraries and the way to a model's hub, and none of the product's secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV")
_PASSED_ON_FROM = ("HF_", "SSL_CERT_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def check() -> None:
    """Raises ImportError when the extra `voice` is not installed; loads nothing."""
    for name in ("av", "faster_whisper"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)


class Whisper:
    """A Transcriber: one note after the other, in a child process that loads the model once."""

    at_once = 1

    def __init__(self, model: str, *, threads: int, longest_s: float, ears: Sequence[str] = EARS) -> None:
        self._command = (sys.executable, *ears, model, str(threads))
        self._longest_s = longest_s
        self._turn = asyncio.Lock()
        self._numbers = count(1)
        self._child: Process | None = None

    async def start(self) -> None:
        """See Transcriber."""
        async with self._turn:
            try:
                await self._ready()
            except TranscriptionFailed as error:
                log.warning("transcriber_not_loaded", step="understand", reason=error.reason)

    async def transcribe(self, path: Path, *, content_type: str, languages: Languages) -> Transcript:
        """See Transcriber. A note that ends the process, or keeps it too long, is `unreadable` or `slow`.

        The content alone tells the type here. Whatever goes wrong costs the process: what it still says would be taken
        for the next note's words.
        """
        async with self._turn:
            child = await self._ready()
            question = {"path": str(path), "languages": dict(languages), "longest_s": self._longest_s}
            try:
                async with asyncio.timeout(self._longest_s + SPARE_S):
                    answer = await _ask(child, question | {"id": next(self._numbers)})
            except TimeoutError:
                await self._end()
                raise TranscriptionFailed("slow") from None
            except (EOFError, OSError, ValueError):
                await self._end()
                raise TranscriptionFailed("unreadable") from None
            except BaseException:
                await self._end()
                raise
        if "reason" in answer:
            raise TranscriptionFailed(answer["reason"])
        return Transcript(text=answer["text"], language=answer["language"], duration_s=answer["duration_s"])

    async def aclose(self) -> None:
        """See Transcriber."""
        await self._end()

    async def _ready(self) -> Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        self._child = child = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), limit=MOST_ANSWER_BYTES
        )
        try:
            async with asyncio.timeout(LOAD_S):
                await _answer(child)
        except (TimeoutError, EOFError, OSError, ValueError):
            await self._end()
            raise TranscriptionFailed("no_model") from None
        except BaseException:
            await self._end()
            raise
        log.info("transcriber_loaded", step="understand")
        return child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _ask(child: Process, question: dict[str, Any]) -> dict[str, Any]:
    """The answer to this question. Raises ValueError for any other, or one that is too long."""
    assert child.stdin is not None  # noqa: S101 - it was made with a pipe
    child.stdin.write(json.dumps(question).encode() + b"\n")
    await child.stdin.drain()
    answer = await _answer(child)
    if answer.get("id") != question["id"]:
        raise ValueError("the answer is another note's")
    return answer


async def _answer(child: Process) -> dict[str, Any]:
    assert child.stdout is not None  # noqa: S101 - it was made with a pipe
    line = await child.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    return answer


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_FROM)}
