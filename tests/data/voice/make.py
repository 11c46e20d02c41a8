"""Make the notes again: `python tests/data/voice/make.py /path/to/espeak-ng`. Needs PyAV; see README.md."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av

HERE = Path(__file__).parent
#: As WhatsApp records: Opus, mono, 16 kbit/s.
RATE, BITS = 48_000, 16_000


def speak(espeak: list[str], note: dict[str, str], into: Path) -> None:
    """The note's text, spoken; `-g` is the pause between words in 10 ms."""
    voice = ["-v", note["voice"], "-s", str(note["speed"]), "-p", "45", "-g", "1"]
    subprocess.run([*espeak, *voice, "-w", str(into), note["text"]], check=True)


def encode(wav: Path, ogg: Path) -> None:
    """Ogg with Opus, as WhatsApp sends it."""
    resampler = av.AudioResampler("s16", "mono", RATE)
    with av.open(wav) as source, av.open(ogg, "w", format="ogg") as target:
        stream = target.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = BITS
        for frame in [*source.decode(audio=0), None]:
            if frame is not None:
                frame.pts = None
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        target.mux(stream.encode(None))


if __name__ == "__main__":
    for note in json.loads((HERE / "notes.json").read_text()):
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "note.wav"
            speak(sys.argv[1:], note, wav)
            encode(wav, HERE / note["file"])
