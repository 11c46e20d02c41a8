"""Any OpenAI-compatible transcription endpoint: OPENAI_API_KEY, and OPENAI_BASE_URL for another than OpenAI's own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import openai
from openai import AsyncOpenAI
from tinytag import TinyTag, TinyTagException

from recado.errors import SettingsError
from recado.hidden import watch
from recado.media.transcription import SPARE_S, Languages, Transcript, TranscriptionFailed
from recado.media.voice.length import counted_s

#: One call, and how often the client tries again after 408, 409, 429, 5xx and broken connections, backing off.
CALL_S, TRIES_MORE = 30.0, 2
AT_ONCE: Final = 8
#: What endpoints know, by type: the name that tells them the format. Anything else is made Ogg first.
KNOWN: Final = {"audio/ogg": "note.ogg", "audio/mpeg": "note.mp3", "audio/mp4": "note.m4a"}
#: A language that is so many times likelier than the next is asked for; else the endpoint tells it by the note.
STANDS_OUT: Final = 10.0
#: Models that say which language they heard, and what they call those that the assistants speak.
TELLS_LANGUAGE: Final = "whisper"
NAMES: Final = {"portuguese": "pt", "spanish": "es", "english": "en"}
#: How `convert`, which only its own process may import, says that a note is too long.
TOO_LONG: Final = 4
#: What a second of speech takes at least, in bytes: the length of a note whose container does not say it.
BYTES_A_SECOND = 1500
#: And at most, compressed: 512 kbit/s.
MOST_BYTES_A_SECOND = 64_000


def open_endpoint(model: str, *, longest_s: float) -> Endpoint:
    """The transcriber at the endpoint. Raises SettingsError without a key."""
    try:
        client = AsyncOpenAI(max_retries=TRIES_MORE, timeout=CALL_S)
    except openai.OpenAIError:
        raise SettingsError("RECADO_TRANSCRIBER: openai:MODEL needs OPENAI_API_KEY") from None
    return Endpoint(client, model, longest_s=longest_s)


class Endpoint:
    """A Transcriber over HTTP; the model must be one that takes files, such as whisper-1 or gpt-4o-transcribe."""

    at_once = AT_ONCE

    def __init__(self, client: AsyncOpenAI, model: str, *, longest_s: float) -> None:
        self._client = client
        watch(client)
        self._model = model
        self._longest_s = longest_s
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def start(self) -> None:
        """Nothing takes long."""

    async def transcribe(self, path: Path, *, content_type: str, languages: Languages) -> Transcript:
        """See Transcriber. What is longer than allowed by its own container is not sent.

        Endpoints tell languages apart among all of them. One that stands out beforehand is asked for; where what comes
        back is in none of the languages that it may be in, the likeliest is asked for instead.
        """
        if content_type not in KNOWN:
            _demand_converter()
        duration_s = await asyncio.to_thread(length_s, path, enough_s=self._longest_s)
        if duration_s > self._longest_s:
            raise TranscriptionFailed("too_long")
        try:
            async with self._at_once:
                if content_type in KNOWN:
                    content = await asyncio.to_thread(path.read_bytes)
                else:
                    content, content_type = await as_ogg(path, longest_s=self._longest_s), "audio/ogg"
                file = (KNOWN[content_type], content, content_type)
                said, language = await self._heard(file, languages)
        except openai.APITimeoutError:
            raise TranscriptionFailed("slow") from None
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            raise TranscriptionFailed("unreadable") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError):
            raise TranscriptionFailed("no_model") from None
        except openai.APIError:
            raise TranscriptionFailed("unavailable") from None
        text = getattr(said, "text", None)
        if not isinstance(text, str):
            raise TranscriptionFailed("unavailable")
        return Transcript(text=text.strip(), language=language, duration_s=duration_s)

    async def _heard(self, file: tuple[str, bytes, str], languages: Languages) -> tuple[Any, str | None]:
        """What the endpoint says, and the language that it was asked for or told."""
        likely = sorted(languages, key=lambda one: -languages[one])
        likeliest = likely[0] if likely else None
        if likeliest is None or (len(likely) > 1 and languages[likeliest] < STANDS_OUT * languages[likely[1]]):
            said = await self._ask(file, "verbose_json" if self._model.startswith(TELLS_LANGUAGE) else "json")
            told = getattr(said, "language", None)
            language = NAMES.get(told.lower(), told.lower()) if isinstance(told, str) and told else None
            if language is None or likeliest is None or language in languages:
                return said, language
        return await self._ask(file, "json", language=likeliest), likeliest

    async def _ask(self, file: tuple[str, bytes, str], response_format: str, **asked: str | None) -> Any:
        create: Any = self._client.audio.transcriptions.create
        return await create(model=self._model, file=file, response_format=response_format, **asked)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def length_s(path: Path, *, enough_s: float = 3600.0) -> float:
    """The note's length by its frames; else as its container says, or what its size allows at most.

    Never less than it could be, and no further than it takes to know that it is over `enough_s`.
    """
    size = path.stat().st_size
    if (counted := counted_s(path, enough_s=enough_s)) is not None:
        return counted
    try:
        told = TinyTag.get(path, tags=False, image=False).duration
    except (TinyTagException, OSError, ValueError, ArithmeticError, IndexError):
        told = None
    # A header that says less than any sound of that size can be is not believed.
    return max(told, size / MOST_BYTES_A_SECOND) if told is not None and told > 0 else size / BYTES_A_SECOND


def _demand_converter() -> None:
    if importlib.util.find_spec("av") is None:
        raise TranscriptionFailed("format")


async def as_ogg(path: Path, *, longest_s: float) -> bytes:
    """The note as Ogg, by a process of its own. Raises TranscriptionFailed, also without `av` of the extra `voice`."""
    _demand_converter()
    command = [sys.executable, "-P", "-m", "recado.media.voice.convert", str(path), str(longest_s)]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    converter = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment
    )
    try:
        async with asyncio.timeout(SPARE_S):
            note, _ = await converter.communicate()
    except TimeoutError:
        raise TranscriptionFailed("slow") from None
    finally:
        if converter.returncode is None:
            with suppress(ProcessLookupError):
                converter.kill()
            await converter.wait()
    if converter.returncode == TOO_LONG:
        raise TranscriptionFailed("too_long")
    if converter.returncode != 0 or not note:
        raise TranscriptionFailed("unreadable")
    return note
