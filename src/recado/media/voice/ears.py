"""The process that listens: `python -m recado.media.voice.ears MODEL THREADS`, one JSON line a note each way.

It ends with its standard input, so with the worker, however that ends. Nothing it reads or writes is logged.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

#: What Whisper works with.
RATE = 16_000
BEAM = 5
#: Sampling is tried when the surest reading repeats itself or is unsure; each try costs as much as the first.
TEMPERATURES = (0.0, 0.4)
NICENESS = 5


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
    known = question["language"] if question["language"] in model.supported_languages else None
    seconds = audio.size / RATE
    segments, info = model.transcribe(
        audio,
        language=known,
        beam_size=BEAM,
        max_new_tokens=min(MOST_TOKENS, TOKENS + int(seconds * TOKENS_A_SECOND)),
        temperature=TEMPERATURES,
        # Silence is taken out first: Whisper hears words in it.
        vad_filter=True,
        condition_on_previous_text=False,
    )
    said = [segment.text.strip() for segment in segments if segment.compression_ratio <= MOST_COMPRESSION]
    return {"text": " ".join(said).strip(), "language": info.language, "duration_s": round(seconds, 2)}


def main(model: str, threads: int) -> None:
    """Load the model, say so, then answer until the input ends."""
    os.nice(NICENESS)
    answers = _only_answers()
    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)
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
