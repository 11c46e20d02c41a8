"""The port of transcription: a voice note becomes text, by a model on this machine or at an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from recado.errors import RecadoError

#: What a note may take besides the longest length: Whisper base is faster than the note on one core.
SPARE_S: Final = 30.0

#: The languages that a note may be in, by their ISO 639-1 codes, each with what speaks for it before anybody has heard
#: the note: twice as much is twice as likely. Empty: any.
Languages = Mapping[str, float]

#: Why a note has no text, in a word: it can't be decoded; it is longer than RECADO_LONGEST_NOTE_S; it took too long;
#: the endpoint or the model's process is away; the model, its package or its key is not there; an endpoint may not know
#: this kind of audio, and nothing is there to convert it.
Failure = Literal["unreadable", "too_long", "slow", "unavailable", "no_model", "format"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What was said; empty when nobody spoke. `language` is an ISO 639-1 code, `duration_s` the note's length."""

    text: str = field(repr=False)
    language: str | None
    duration_s: float


class TranscriptionFailed(RecadoError):
    """There is no transcript: `reason` says in a word why."""

    def __init__(self, reason: Failure) -> None:
        super().__init__(f"the voice note can't be transcribed: {reason}")
        self.reason: Failure = reason


class Transcriber(Protocol):
    """Makes text of voice notes, for one process."""

    #: How many it listens to at once; more wait for it.
    at_once: int

    async def start(self) -> None:
        """Load what takes long, so that the first note does not wait for it; never raises."""
        ...

    async def transcribe(self, path: Path, *, content_type: str, languages: Languages) -> Transcript:
        """The text of a note whose content is of that type. Raises TranscriptionFailed.

        `languages` are those that it may be in: one alone is listened for unasked, several are told apart by the note.
        """
        ...

    async def aclose(self) -> None:
        """End what was started; twice does no harm."""
        ...
