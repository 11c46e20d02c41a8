"""The process that listens: `python -m recado.media.voice.ears MODEL THREADS`, one JSON line a note each way.

It ends with its standard input, so with the worker, however that ends. Nothing it reads or writes is logged.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.vad import collect_chunks, get_speech_timestamps
from numpy.typing import NDArray

#: What Whisper works with.
RATE = 16_000
BEAM = 5
#: Sampling is tried when the surest reading repeats itself or is unsure; each try costs as much as the first.
TEMPERATURES = (0.0, 0.4)
NICENESS = 5
#: What Whisper looks at to tell a language, and reads at once.
WINDOW_S = 30
#: A language this many times less likely than the likeliest is not listened for.
UNLIKELY = 50.0
#: What a prior counts beside a reading's mean log-probability a token: 20 times as likely before is worth 0.15.
PRIOR_WEIGHT = 0.05
#: A line in the note's language before it: Whisper base writes the words of a language more surely after some of it.
PROMPTS = {
    "pt": "Mensagem de voz de um cliente.",
    "es": "Mensaje de voz de un cliente.",
    "en": "Voice message from a customer.",
}

#: A note's tokens, generously: a reading that repeats itself for ever ends there.
TOKENS, TOKENS_A_SECOND, MOST_TOKENS = 24, 12, 384
#: Text that can be compressed better than this repeats itself: nobody said that.
MOST_COMPRESSION = 2.4


class TooLong(Exception):
    """The note is longer than allowed."""


class NoAudio(Exception):
    """There is nothing to hear in the file."""


def samples(path: str, longest_s: float) -> NDArray[np.float32]:
    """The note as Whisper takes it, mono. Raises TooLong as soon as that is so, NoAudio or av.FFmpegError.

    Frames that are broken are left out, as every player does.
    """
    pieces: list[NDArray[Any]] = []
    left = int(longest_s * RATE)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(path, metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise NoAudio
        for packet in container.demux(audio=0):
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in [*decoded, None] if packet.size == 0 else decoded:
                if frame is not None:
                    frame.pts = None  # what a sender says of time is not believed
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray().reshape(-1))
                    left -= pieces[-1].size
                    if left < 0:
                        raise TooLong
    if not pieces:
        raise NoAudio
    return np.concatenate(pieces).astype(np.float32) / 32768.0


def listen(model: WhisperModel, question: dict[str, Any]) -> dict[str, Any]:
    """What the note says, or why that can't be known."""
    try:
        audio = samples(question["path"], question["longest_s"])
    except TooLong:
        return {"reason": "too_long"}
    except (NoAudio, av.FFmpegError, OSError, ValueError):
        return {"reason": "unreadable"}
    seconds = round(audio.size / RATE, 2)
    # Silence is taken out first: Whisper hears words in it.
    speech, _ = collect_chunks(audio, get_speech_timestamps(audio))
    spoken = np.concatenate(speech)
    if not spoken.size:
        return {"text": "", "language": None, "duration_s": seconds}
    reading = _read_in_the_likeliest(model, spoken, question["languages"])
    return {"text": reading.text, "language": reading.language, "duration_s": seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What a note says if it is in that language, and how sure the model is of it: mean log-probability a token."""

    language: str
    text: str
    sureness: float


def _read_in_the_likeliest(model: WhisperModel, speech: NDArray[np.float32], languages: Mapping[str, float]) -> Hearing:
    """Listen in the language that fits best of those that the note may be in; in any, where none is known.

    The model's own guess is weak on a few seconds of speech. So it counts among these languages only, times what was
    known before; and where several are left, how surely the note reads in each decides.
    """
    priors = {language: prior for language, prior in languages.items() if language in model.supported_languages}
    first = speech[: WINDOW_S * RATE]
    if len(priors) > 1:
        _, _, everything = model.detect_language(audio=first)
        likely = {language: p * priors[language] for language, p in everything if language in priors}
        most = max(likely.values())
        priors = {language: priors[language] for language, p in likely.items() if p * UNLIKELY >= most}
    if len(priors) < 2:
        return _read_prompted(model, speech, next(iter(priors), None))
    # Without prompts: one that the model repeats is a sure reading.
    readings = [_read(model, first, language) for language in priors]
    best = max(readings, key=lambda reading: reading.sureness + PRIOR_WEIGHT * math.log(priors[reading.language]))
    return _read_prompted(model, speech, best.language)


def _read_prompted(model: WhisperModel, speech: NDArray[np.float32], language: str | None) -> Hearing:
    """The reading after a line in its language; without that line where the model only repeats it."""
    prompt = None if language is None else PROMPTS.get(language)
    reading = _read(model, speech, language, prompt=prompt)
    if prompt is not None and _plain(prompt) in _plain(reading.text):
        return _read(model, speech, language)
    return reading


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


class Remembering(WhisperModel):  # type: ignore[misc]
    """Whisper that encodes a piece of sound once, however often in a row it is read: half of what a reading costs."""

    _sound: bytes | None = None
    _encoded: Any = None

    def encode(self, features: NDArray[np.float32]) -> Any:
        """What the decoder reads of this piece of sound."""
        sound = features.tobytes()
        if sound != self._sound:
            self._encoded, self._sound = super().encode(features), sound
        return self._encoded


def _read(
    model: WhisperModel, speech: NDArray[np.float32], language: str | None, *, prompt: str | None = None
) -> Hearing:
    segments, info = model.transcribe(
        speech,
        language=language,
        beam_size=BEAM,
        max_new_tokens=min(MOST_TOKENS, TOKENS + int(speech.size / RATE * TOKENS_A_SECOND)),
        temperature=TEMPERATURES,
        condition_on_previous_text=False,
        initial_prompt=prompt,
    )
    said = [segment for segment in segments if segment.compression_ratio <= MOST_COMPRESSION]
    tokens = sum(len(segment.tokens) for segment in said)
    surely = sum(segment.avg_logprob * len(segment.tokens) for segment in said)
    return Hearing(
        language=info.language,
        text=" ".join(segment.text.strip() for segment in said).strip(),
        sureness=surely / tokens if tokens else -math.inf,
    )


def main(model: str, threads: int) -> None:
    """Load the model, say so, then answer until the input ends."""
    os.nice(NICENESS)
    answers = _only_answers()
    whisper = Remembering(model, device="cpu", compute_type="int8", cpu_threads=threads)
    _say(answers, {"ready": True})
    for line in sys.stdin:
        question = json.loads(line)
        _say(answers, listen(whisper, question) | {"id": question["id"]})


def _only_answers() -> IO[str]:
    """Standard output for us alone: what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    return answers


def _say(answers: IO[str], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    folder = Path(sys.argv[1]).expanduser()
    main(str(folder) if folder.is_dir() else sys.argv[1], int(sys.argv[2]))
