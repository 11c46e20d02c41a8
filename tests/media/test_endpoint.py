"""A transcription endpoint: what is asked, what is believed, and what becomes of each way it may fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from recado.errors import SettingsError
from recado.media.transcribers import open_transcriber
from recado.media.transcription import TranscriptionFailed
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
    files: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def transcriptions(self, call: web.Request) -> web.Response:
        form = await call.post()
        note = form["file"]
        assert isinstance(note, web.FileField)
        self.files.append((note.filename, note.content_type, note.file.read()))
        note.file.seek(0)
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
    transcript = await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
    assert (transcript.text, transcript.language) == ("Boa tarde!", "pt")
    assert transcript.duration_s == pytest.approx(4.4, abs=0.1)
    assert service.asked == [
        {"file": NOTE.path.read_bytes(), "model": "whisper-1", "language": "pt", "response_format": "json"}
    ]


@pytest.mark.parametrize(
    ("content_type", "name"), [("audio/ogg", "note.ogg"), ("audio/mpeg", "note.mp3"), ("audio/mp4", "note.m4a")]
)
async def test_the_endpoint_is_told_what_the_file_is(
    service: Service, transcriber: Endpoint, tmp_path: Path, content_type: str, name: str
) -> None:
    (tmp_path / "0199").write_bytes(b"as it came")  # production names files by their ids
    await transcriber.transcribe(tmp_path / "0199", content_type=content_type, languages={"pt": 1})
    assert service.files == [(name, content_type, b"as it came")]


def recorded(path: Path, *, seconds: float, codec: str, container: str, rate: int) -> Path:
    """A tone of that length, as a telephone that knows no Opus sends it."""
    wave = (np.sin(np.arange(int(seconds * rate)) * 0.1) * 9000).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
    frame.sample_rate = rate
    with av.open(str(path), "w", format=container) as made:
        stream = made.add_stream(codec, rate=rate, layout="mono")
        for piece in av.AudioResampler(format=stream.format, layout="mono", rate=rate).resample(frame):
            made.mux(stream.encode(piece))
        made.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("content_type", "codec", "container", "rate"),
    [
        ("audio/amr", "libopencore_amrnb", "amr", 8000),
        ("audio/aac", "aac", "adts", 16_000),
        ("audio/3gpp", "libopencore_amrnb", "3gp", 8000),
    ],
)
async def test_what_endpoints_may_not_know_is_made_ogg_first(
    service: Service, transcriber: Endpoint, tmp_path: Path, content_type: str, codec: str, container: str, rate: int
) -> None:
    note = recorded(tmp_path / "0199", seconds=3, codec=codec, container=container, rate=rate)
    await transcriber.transcribe(note, content_type=content_type, languages={"pt": 1})
    ((name, said, content),) = service.files
    assert (name, said, content[:4]) == ("note.ogg", "audio/ogg", b"OggS")
    (tmp_path / "sent").write_bytes(content)
    assert endpoint.length_s(tmp_path / "sent") == pytest.approx(3, abs=0.15)


async def test_what_can_not_be_converted_is_not_sent(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = open_endpoint("whisper-1", longest_s=2)
    note = recorded(tmp_path / "long", seconds=3, codec="aac", container="adts", rate=16_000)
    (tmp_path / "broken").write_bytes(b"#!AMR\n" + bytes(40))
    (tmp_path / "long").write_bytes(note.read_bytes())
    monkeypatch.setattr(endpoint, "BYTES_A_SECOND", 1_000_000)  # what its size tells is not asked here

    async def reason(name: str) -> str:
        with pytest.raises(TranscriptionFailed) as failed:
            await short.transcribe(tmp_path / name, content_type="audio/amr", languages={"pt": 1})
        return failed.value.reason

    assert [await reason("long"), await reason("broken")] == ["too_long", "unreadable"]
    monkeypatch.setitem(sys.modules, "av", None)  # as without the extra `voice`
    assert await reason("long") == "format"
    assert service.files == []
    await short.aclose()


async def test_a_note_that_is_too_long_is_not_sent(service: Service) -> None:
    transcriber = open_endpoint("whisper-1", longest_s=4)
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
    assert (failed.value.reason, service.asked) == ("too_long", [])
    await transcriber.aclose()


UNSURE = {"pt": 6, "es": 1, "en": 1}


async def test_the_endpoint_tells_the_language_where_none_stands_out(service: Service, transcriber: Endpoint) -> None:
    service.answer = lambda _: web.json_response({"text": "Buenas tardes.", "language": "spanish", "duration": 4})
    transcript = await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages=UNSURE)
    assert (transcript.text, transcript.language) == ("Buenas tardes.", "es")
    assert [(one.get("language"), one["response_format"]) for one in service.asked] == [(None, "verbose_json")]


async def test_a_language_that_nobody_speaks_there_is_asked_for_again_in_the_likeliest(
    service: Service, transcriber: Endpoint
) -> None:
    service.answer = lambda n: web.json_response(
        {"text": "Boas tardes.", "language": "galician"} if n == 0 else {"text": "Boa tarde!"}
    )
    transcript = await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages=UNSURE)
    assert (transcript.text, transcript.language) == ("Boa tarde!", "pt")
    assert [one.get("language") for one in service.asked] == [None, "pt"]


async def test_a_language_that_stands_out_is_asked_for(service: Service, transcriber: Endpoint) -> None:
    await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 2, "es": 60, "en": 1})
    assert [one["language"] for one in service.asked] == ["es"]


async def test_a_model_that_tells_no_language_is_believed(service: Service) -> None:
    made = open_endpoint("gpt-4o-transcribe", longest_s=30)
    transcript = await made.transcribe(NOTE.path, content_type="audio/ogg", languages=UNSURE)
    await made.aclose()
    assert (transcript.text, transcript.language) == ("Boa tarde!", None)
    assert [(one.get("language"), one["response_format"]) for one in service.asked] == [(None, "json")]


async def test_a_note_whose_length_nobody_can_tell_is_taken_for_as_long_as_it_may_be(
    service: Service, transcriber: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "note").write_bytes(b"\x1aE\xdf\xa3" + bytes(15_000))
    transcript = await transcriber.transcribe(tmp_path / "note", content_type="audio/mpeg", languages={})
    assert transcript.duration_s == pytest.approx(10, abs=0.1)
    assert "language" not in service.asked[0]


async def test_what_passes_is_tried_again(
    service: Service, transcriber: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer = lambda before: web.json_response({"text": "Oi"}) if before else refuse(503)(before)
    assert (await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})).text == "Oi"
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
        await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
    assert (failed.value.reason, len(service.asked)) == (reason, calls)


@pytest.mark.parametrize("answer", [refuse(500), refuse(429)])
async def test_an_endpoint_that_goes_on_failing_is_given_up(
    service: Service, transcriber: Endpoint, answer: Answer
) -> None:
    service.answer = answer
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
    assert (failed.value.reason, len(service.asked)) == ("unavailable", 1 + endpoint.TRIES_MORE)


@pytest.mark.parametrize(
    ("hides", "reason", "calls"),
    [
        ({"code": 429}, "unavailable", 1 + endpoint.TRIES_MORE),
        ({"type": "server_error"}, "unavailable", 1 + endpoint.TRIES_MORE),
        ({"code": "invalid_api_key"}, "no_model", 1),
        ({"code": 400}, "unreadable", 1),
    ],
)
async def test_an_error_that_is_hidden_in_an_answer_of_200_is_what_it_says(
    service: Service, transcriber: Endpoint, hides: dict[str, Any], reason: str, calls: int
) -> None:
    service.answer = lambda _: web.json_response({"error": hides})
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
    assert (failed.value.reason, len(service.asked)) == (reason, calls)


@pytest.mark.parametrize("body", [{}, {"text": None}, {"text": ["a"]}])
async def test_an_answer_without_text_is_no_transcript(
    service: Service, transcriber: Endpoint, body: dict[str, Any]
) -> None:
    service.answer = lambda _: web.json_response(body)
    with pytest.raises(TranscriptionFailed) as failed:
        await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
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
            await transcriber.transcribe(NOTE.path, content_type="audio/ogg", languages={"pt": 1})
        await transcriber.aclose()
    assert failed.value.reason == "slow"


def test_without_a_key_the_start_is_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"^RECADO_TRANSCRIBER: .*OPENAI_API_KEY"):
        open_transcriber(Settings(transcriber="openai:whisper-1", _env_file=None))


def test_without_a_transcriber_there_is_none() -> None:
    assert open_transcriber(Settings(_env_file=None)) is None
