"""The process that makes Ogg of audio for endpoints: `python -m recado.media.voice.convert PATH LONGEST_S`.

The note is on its standard output. It decodes what a stranger sent, so it gives up its rights first, as parsers of
documents do.
"""

from __future__ import annotations

import io
import sys

import av

from recado.media.parsing import give_up_rights

#: Opus knows few rates; this one is also the best for it.
RATE = 48_000
BITS_A_SECOND = 24_000
CPU_S = 60
#: How it ends when there is nothing to hear, and when there is too much.
UNREADABLE, TOO_LONG = 3, 4


class TooLong(Exception):
    """The note is longer than allowed."""


def convert(path: str, longest_s: float) -> bytes:
    """The note as WhatsApp has its own. Raises TooLong, and av.FFmpegError, ValueError or IndexError."""
    made, left = io.BytesIO(), longest_s * RATE
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(path, metadata_errors="ignore") as source, av.open(made, "w", format="ogg") as target:
        opus = target.add_stream("libopus", rate=RATE, layout="mono")
        opus.bit_rate = BITS_A_SECOND
        for frame in source.decode(source.streams.audio[0]):
            frame.pts = None  # what a sender says of time is not believed
            for piece in resampler.resample(frame):
                left -= piece.samples
                if left < 0:
                    raise TooLong
                target.mux(opus.encode(piece))
        target.mux(opus.encode(None))
    return made.getvalue()


if __name__ == "__main__":
    give_up_rights(cpu_s=CPU_S)
    try:
        note = convert(sys.argv[1], float(sys.argv[2]))
    except TooLong:
        sys.exit(TOO_LONG)
    except (av.FFmpegError, ValueError, IndexError):
        sys.exit(UNREADABLE)
    sys.stdout.buffer.write(note)
