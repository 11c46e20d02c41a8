"""A transcription endpoint: what is asked, what is believed, and what becomes of each way it may fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from recado.errors import SettingsError
from recado.media.transcription import TranscriptionFailed, open_transcriber
from recado.media.voice import endpoint
from recado.media.voice.endpoint import Endpoint, open_endpoint
from recado.settings import Settings
from tests.media.voice import NOTES

NOTE = NOTES[0]
Answer = Callable[[int], web.Response]


@dataclass(slots=True)
class Service:
    """An OpenAI-compatible endpoint that answers as the test wants; `answer` is told how many calls came before."""

    answer: Answer = lambda _: web.json_response({"text": " Boa tarde! "})
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def transcriptions(self, call: web.Request) -> web.Response:
        form = await call.post()
        self.asked.append(
            {name: value if isinstance(value, str) else value.file.read() for name, value in form.items()}
        )
        return self.answer(len(self.asked) - 1)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", made.transcriptions)
    async with TestServer(app) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", str(server.make_url("/v1")))
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield made


@pytest.fixture
async def transcriber(service: Service) -> AsyncIterator[Endpoint]:
    made = open_endpoint("whisper-1", longest_s=30)
    yield made
    await made.aclose()


def refuse(status: int) -> Answer:
    return lambda _: web.json_response({"error": {"message": "no"}}, status=status)


async def test_the_note_is_sent_with_model_and_language_and_its_length_is_its_own(
    service: Service, transcriber: Endpoint
) -> None:
    transcript = await transcriber.transcribe(NOTE.path, language="pt")
    assert (transcript.text, transcript.language) == ("Boa tarde!", "pt")
    assert transcript.duration_s == pytest.approx(4.4, abs=0.1)
    assert service.asked == [
        {"file": NOTE.path.read_bytes(), "model": "whisper-1", "language": "pt", "response_format": "json"}
    ]


async def test_a_note_that_is_too_long_is_not_sent(service: Service) -> None:
    transcriber = open_endpoint("whisper-1", longest_s=4)
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, language="pt")
    assert (failed.value.reason, service.asked) == ("too_long", [])
    await transcriber.aclose()


async def test_a_note_whose_length_nobody_can_tell_is_taken_for_as_long_as_it_may_be(
    service: Service, transcriber: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "note").write_bytes(b"#!AMR\n" + bytes(15_000))
    transcript = await transcriber.transcribe(tmp_path / "note", language=None)
    assert transcript.duration_s == pytest.approx(10, abs=0.1)
    assert "language" not in service.asked[0]


async def test_what_passes_is_tried_again(
    service: Service, transcriber: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer = lambda before: web.json_response({"text": "Oi"}) if before else refuse(503)(before)
    assert (await transcriber.transcribe(NOTE.path, language="pt")).text == "Oi"
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("status", "reason", "calls"),
    [(400, "unreadable", 1), (422, "unreadable", 1), (401, "no_model", 1), (403, "no_model", 1), (404, "no_model", 1)],
)
async def test_what_would_be_refused_again_is_not_tried_again(
    service: Service, transcriber: Endpoint, status: int, reason: str, calls: int
) -> None:
    service.answer = refuse(status)
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, language="pt")
    assert (failed.value.reason, len(service.asked)) == (reason, calls)


@pytest.mark.parametrize("answer", [refuse(500), refuse(429)])
async def test_an_endpoint_that_goes_on_failing_is_given_up(
    service: Service, transcriber: Endpoint, answer: Answer
) -> None:
    service.answer = answer
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, language="pt")
    assert (failed.value.reason, len(service.asked)) == ("unavailable", 1 + endpoint.TRIES_MORE)


@pytest.mark.parametrize("body", [{}, {"text": None}, {"text": ["a"]}])
async def test_an_answer_without_text_is_no_transcript(
    service: Service, transcriber: Endpoint, body: dict[str, Any]
) -> None:
    service.answer = lambda _: web.json_response(body)
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, language="pt")
    assert failed.value.reason == "unavailable"


async def test_an_endpoint_that_never_answers_is_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "CALL_S", 0.1)
    monkeypatch.setattr(endpoint, "TRIES_MORE", 0)

    async def hang(call: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", hang)
    async with TestServer(app, shutdown_timeout=0) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", str(server.make_url("/v1")))
        transcriber = open_endpoint("whisper-1", longest_s=30)
        with pytest.raises(TranscriptionFailed) as failed:
            await transcriber.transcribe(NOTE.path, language="pt")
        await transcriber.aclose()
    assert failed.value.reason == "slow"


def test_without_a_key_the_start_is_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"^RECADO_TRANSCRIBER: .*OPENAI_API_KEY"):
        open_transcriber(Settings(transcriber="openai:whisper-1", _env_file=None))


def test_without_a_transcriber_there_is_none() -> None:
    assert open_transcriber(Settings(_env_file=None)) is None
