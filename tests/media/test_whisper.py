"""Whisper on this machine: understands, bounds what it is given, and can be lost without harm."""

from __future__ import annotations

import asyncio
import os
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import psutil
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from recado.journey.understand.language import ASSISTANTS, OF_COUNTRY
from recado.media.transcription import TranscriptionFailed
from recado.media.voice import ears
from recado.media.voice.whisper import Whisper
from tests.media.voice import NOTES, Note, accuracy

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whisper(model: Path) -> AsyncIterator[Whisper]:
    made = Whisper(str(model), threads=2, longest_s=90)
    await made.start()
    yield made
    await made.aclose()


def child_of(whisper: Whisper) -> psutil.Process:
    assert whisper._child is not None
    return psutil.Process(whisper._child.pid)


def sound(path: Path, *, seconds: float, sample: Callable[[int], int]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(sample(n).to_bytes(2, "little", signed=True) for n in range(int(seconds * 8000))))
    return path


async def test_the_committed_notes_are_understood_in_their_language(whisper: Whisper) -> None:
    shares = []
    for note in NOTES:
        transcript = await whisper.transcribe(note.path, content_type="audio/ogg", languages={note.language: 1})
        shares.append(accuracy(note.text, transcript.text))
        assert transcript.language == note.language
        assert 3 <= transcript.duration_s <= 8
    assert sum(shares) / len(shares) >= 0.85, shares
    assert {note.language for note in NOTES} == {"pt", "es", "en"}


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.path.stem)
async def test_a_contacts_first_note_is_understood_in_its_own_language(whisper: Whisper, note: Note) -> None:
    # To a number whose assistant speaks Portuguese; the telephone is of the contact's country.
    languages = {"pt": ASSISTANTS, "es": 1.0, "en": 1.0}
    languages[note.language] *= OF_COUNTRY
    transcript = await whisper.transcribe(note.path, content_type="audio/ogg", languages=languages)
    assert transcript.language == note.language
    assert accuracy(note.text, transcript.text) >= 0.85


class Sleepy:
    """A model that repeats what it is told before the note, and else reads it."""

    supported_languages = ("pt", "es", "en")

    def transcribe(self, _speech: object, **asked: object) -> tuple[list[Segment], Info]:
        prompt = asked["initial_prompt"]
        text = f" {prompt}" if prompt else " Boa tarde!"
        return [Segment(text, [1, 2, 3], -0.1, 1.0)], Info(str(asked["language"]))


class Segment(NamedTuple):
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float


class Info(NamedTuple):
    language: str


async def test_a_prompt_that_the_model_only_repeats_is_not_what_was_said() -> None:
    reading = ears._read_in_the_likeliest(Sleepy(), np.zeros(16_000, np.float32), {"pt": 1})  # type: ignore[arg-type]
    assert (reading.text, reading.language) == ("Boa tarde!", "pt")


async def test_a_piece_of_sound_is_encoded_once_however_often_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []

    def encode(_model: object, features: object) -> int:
        encoded.append(features)
        return len(encoded)

    monkeypatch.setattr(ears.WhisperModel, "encode", encode)
    model = ears.Remembering.__new__(ears.Remembering)
    one, other = np.zeros((80, 3000), np.float32), np.ones((80, 3000), np.float32)
    assert [model.encode(sound) for sound in (one, one.copy(), other, other, one)] == [1, 1, 2, 2, 3]


async def test_in_silence_nothing_is_heard(whisper: Whisper, tmp_path: Path) -> None:
    silence = sound(tmp_path / "silence.wav", seconds=5, sample=lambda _: 0)
    transcript = await whisper.transcribe(silence, content_type="audio/ogg", languages={"pt": 1})
    assert (transcript.text, transcript.duration_s) == ("", 5)


def opus(path: Path, samples: NDArray[np.float32]) -> Path:
    """A voice note as WhatsApp has them, of these samples at 48 kHz."""
    frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 48_000
    with av.open(str(path), "w", format="ogg") as note:
        stream = note.add_stream("libopus", rate=48_000, layout="mono")
        note.mux(stream.encode(frame))
        note.mux(stream.encode(None))
    return path


def ticking(*, every_s: float, width: int) -> NDArray[np.float32]:
    """Five seconds of a clock, or of something that knocks on the microphone."""
    heard = np.zeros(5 * 48_000, np.float32)
    for offset in range(width):
        heard[offset :: int(every_s * 48_000)] = 0.8
    return heard


# In each of them Whisper base hears words ("E aí? E aí?", "Welcome to our channel.") as long as nobody has taken out
# what is no speech.
@pytest.mark.parametrize(("every_s", "width"), [(0.5, 3), (1, 3), (1, 240)])
async def test_in_noise_without_speech_nothing_is_heard(
    whisper: Whisper, tmp_path: Path, every_s: float, width: int
) -> None:
    note = opus(tmp_path / "note.ogg", ticking(every_s=every_s, width=width))
    transcript = await whisper.transcribe(note, content_type="audio/ogg", languages={"pt": 1})
    assert transcript.text == ""
    assert transcript.duration_s == pytest.approx(5, abs=0.1)


async def test_a_note_that_is_too_long_is_refused(whisper: Whisper, tmp_path: Path) -> None:
    with pytest.raises(TranscriptionFailed) as failed:
        await whisper.transcribe(
            sound(tmp_path / "long.wav", seconds=91, sample=lambda _: 0), content_type="audio/ogg", languages={"pt": 1}
        )
    assert failed.value.reason == "too_long"


@pytest.mark.parametrize("content", [b"", b"not audio at all", b"OggS" + bytes(2000), NOTES[0].path.read_bytes()[:300]])
async def test_what_is_no_audio_is_unreadable_and_the_next_note_is_understood(
    whisper: Whisper, tmp_path: Path, content: bytes
) -> None:
    before = child_of(whisper).pid
    (tmp_path / "note.ogg").write_bytes(content)
    with pytest.raises(TranscriptionFailed) as failed:
        await whisper.transcribe(tmp_path / "note.ogg", content_type="audio/ogg", languages={"pt": 1})
    assert failed.value.reason == "unreadable"
    assert child_of(whisper).pid == before


async def test_a_note_with_broken_frames_is_understood_as_far_as_it_goes(whisper: Whisper, tmp_path: Path) -> None:
    content = bytearray(NOTES[0].path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = os.urandom(200)
    (tmp_path / "note.ogg").write_bytes(content)
    transcript = await whisper.transcribe(tmp_path / "note.ogg", content_type="audio/ogg", languages={"pt": 1})
    assert 1 < transcript.duration_s <= 6


async def test_a_process_that_dies_costs_one_note_and_the_next_has_a_new_one(whisper: Whisper) -> None:
    note = NOTES[0]
    at_work = asyncio.create_task(whisper.transcribe(note.path, content_type="audio/ogg", languages={note.language: 1}))
    await asyncio.sleep(0.2)
    child_of(whisper).kill()
    with pytest.raises(TranscriptionFailed) as failed:
        await at_work
    assert failed.value.reason == "unreadable"
    transcript = await whisper.transcribe(note.path, content_type="audio/ogg", languages={note.language: 1})
    assert accuracy(note.text, transcript.text) >= 0.85


async def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_notes(whisper: Whisper) -> None:
    at_work = asyncio.create_task(whisper.transcribe(NOTES[0].path, content_type="audio/ogg", languages={"pt": 1}))
    await asyncio.sleep(0.2)
    at_work.cancel()
    await asyncio.gather(at_work, return_exceptions=True)
    other = NOTES[-1]
    heard = await whisper.transcribe(other.path, content_type="audio/ogg", languages={other.language: 1})
    assert accuracy(other.text, heard.text) >= 0.85


async def test_the_process_that_listens_is_nice_and_knows_no_secret(
    whisper: Whisper, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setenv("RECADO_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    await whisper.aclose()
    await whisper.start()
    child = child_of(whisper)
    assert child.nice() > psutil.Process().nice()
    environment = child.environ()
    assert "PATH" in environment
    assert not [name for name in environment if name.startswith("RECADO_") or "KEY" in name]


async def test_a_model_that_is_not_there_is_said_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = Whisper(str(tmp_path / "empty"), threads=1, longest_s=30)
    await broken.start()
    with pytest.raises(TranscriptionFailed) as failed:
        await broken.transcribe(NOTES[0].path, content_type="audio/ogg", languages={"pt": 1})
    assert failed.value.reason == "no_model"
    await broken.aclose()
