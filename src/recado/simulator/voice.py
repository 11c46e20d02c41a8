"""A recording as WhatsApp sends it: Ogg with Opus, one channel; browsers record other containers."""

from __future__ import annotations

import io

import av

VOICE_TYPE = "audio/ogg"
RATE_HZ = 48_000
OPUS_BITS = 32_000


class NotAudio(Exception):
    """The file holds no sound that can be read."""


def to_ogg(data: bytes) -> bytes:
    """The recording as Ogg with Opus.

    Raises:
        NotAudio: it holds no sound that can be read.

    """
    out = io.BytesIO()
    try:
        with av.open(io.BytesIO(data), "r") as source, av.open(out, "w", format="ogg") as goal:
            if not source.streams.audio:
                raise NotAudio("no sound in it")
            stream = goal.add_stream("libopus", rate=RATE_HZ, layout="mono", bit_rate=OPUS_BITS)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
            for frame in source.decode(audio=0):
                for fitting in resampler.resample(frame):
                    goal.mux(stream.encode(fitting))
            for fitting in resampler.resample(None):
                goal.mux(stream.encode(fitting))
            goal.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudio(str(error)) from None
    return out.getvalue()
