"""length: how long a note is by its frames, whatever its header says."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.media.voice import endpoint, length
from recado.media.voice.length import counted_s
from tests.media.voice import NOTES, Note

LONG_S = 220.0


def made(path: Path, codec: str, rate: int, seconds: float, **how: str) -> Path:
    """A file of that codec with so many seconds of noise that hardly takes room."""
    with av.open(str(path), "w", options=how) as target:
        stream = target.add_stream(codec, rate=rate, layout="mono")
        total, at = int(seconds * rate), 0
        size = stream.codec_context.frame_size or 1024
        while at < total:
            count = min(size, total - at)
            sound = (np.sin(np.arange(at, at + count) / 20.0) * 3000).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            for one in av.AudioResampler(stream.format.name, "mono", rate).resample(frame):
                target.mux(stream.encode(one))
            at += count
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("long.aac", "aac", 44100),
        ("long.mp3", "libmp3lame", 44100),
        ("low.mp3", "libmp3lame", 16000),
        ("long.ogg", "libopus", 48000),
        ("long.wav", "pcm_s16le", 8000),
        ("long.m4a", "aac", 44100),
    ],
)
def test_a_note_of_220_seconds_is_one_of_220_seconds(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    how = {"write_xing": "0"} if name.endswith("mp3") else {}
    note = made(tmp_path / name, codec, rate, LONG_S, **how)
    assert endpoint.length_s(note) == pytest.approx(LONG_S, abs=0.2)
    if not name.endswith(("m4a", "wav")):
        assert counted_s(note, enough_s=10) == pytest.approx(10, abs=0.2), "it stops where it is long enough"


@pytest.mark.parametrize("mark", [b"#!AMR\n", b"#!AMR-WB\n"])
def test_each_frame_of_amr_is_20_milliseconds(tmp_path: Path, mark: bytes) -> None:
    note = tmp_path / "note.amr"
    size = length._AMR[mark][2]
    note.write_bytes(mark + (bytes([2 << 3 | 4]) + bytes(size - 1)) * 11_000)
    assert endpoint.length_s(note) == pytest.approx(LONG_S)


@pytest.mark.parametrize("declared", [0, 100, 0xFFFFFFFF])
def test_what_a_wav_says_of_its_length_is_not_believed(tmp_path: Path, declared: int) -> None:
    note = made(tmp_path / "note.wav", "pcm_s16le", 8000, 5)
    content = bytearray(note.read_bytes())
    at = content.find(b"data")
    content[at + 4 : at + 8] = struct.pack("<I", declared)
    note.write_bytes(content)
    assert endpoint.length_s(note) == pytest.approx(5, abs=0.1)


def test_what_an_ogg_says_of_its_end_is_not_believed(tmp_path: Path) -> None:
    note = made(tmp_path / "note.ogg", "libopus", 48000, 5)
    content = bytearray(note.read_bytes())
    for granule in (0, 2**60):
        at = content.rfind(b"OggS")
        content[at + 6 : at + 14] = struct.pack("<q", granule)
        note.write_bytes(content)
        assert endpoint.length_s(note) == pytest.approx(5, abs=0.1)


def test_a_tag_in_front_and_junk_between_frames_are_no_sound(tmp_path: Path) -> None:
    note = made(tmp_path / "note.aac", "aac", 44100, 5)
    content = note.read_bytes()
    note.write_bytes(b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256) + content + b"\x00\xff" * 20 + content)
    assert endpoint.length_s(note) == pytest.approx(10, abs=0.2)


def test_a_container_that_says_less_than_its_size_can_be_is_not_believed(tmp_path: Path) -> None:
    note = made(tmp_path / "note.m4a", "aac", 44100, 2)
    note.write_bytes(note.read_bytes() + bytes(1_000_000))
    assert endpoint.length_s(note) >= 1_000_000 / endpoint.MOST_BYTES_A_SECOND


@pytest.mark.parametrize("note", NOTES[:2])
def test_a_real_note_is_as_long_as_it_is(note: Note) -> None:
    with av.open(str(note.path)) as container:
        told = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert counted_s(note.path, enough_s=300) == pytest.approx(told, abs=0.1)


@given(
    start=st.sampled_from(
        [b"", b"#!AMR\n", b"#!AMR-WB\n", b"OggS", b"RIFF    WAVEfmt ", b"ID3", b"\xff\xf1", b"\xff\xfb"]
    ),
    rest=st.binary(max_size=400),
)
def test_whatever_stands_in_it_counting_ends(
    start: bytes, rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    note = tmp_path_factory.getbasetemp() / "any"
    note.write_bytes(start + rest)
    assert endpoint.length_s(note) >= 0 if start + rest else True
