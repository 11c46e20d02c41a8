"""A picture is made small, upright and anonymous, and a hostile one is refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from recado.media import images
from recado.media.images import SIDE, UnreadableImage, measure, reduce


def picture(
    path: Path, size: tuple[int, int] = (60, 40), *, kind: str = "JPEG", color: str = "red", **more: object
) -> Path:
    Image.new("RGB", size, color).save(path, kind, **more)
    return path


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x010F] = "Fabricante Secreto"
    return data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_pictures_of_all_kinds_that_whatsapp_sends_are_measured_and_reduced(tmp_path: Path, kind: str) -> None:
    path = picture(tmp_path / "a", (3000, 1500), kind=kind)
    assert measure(path) == (3000, 1500)
    with Image.open(reduce(path, tmp_path)) as small:
        assert (small.format, small.size) == ("JPEG", (SIDE, SIDE // 2))


def test_a_small_picture_keeps_its_size(tmp_path: Path) -> None:
    with Image.open(reduce(picture(tmp_path / "a"), tmp_path)) as small:
        assert small.size == (60, 40)


def test_the_copy_is_upright_and_says_nothing_of_where_it_was_taken(tmp_path: Path) -> None:
    path = picture(tmp_path / "a", (80, 40), exif=exif(6))
    assert measure(path) == (40, 80)
    made = reduce(path, tmp_path)
    with Image.open(made) as small:
        assert small.size == (40, 80)
        assert not small.getexif()
    assert b"Secreto" in path.read_bytes()
    assert b"Secreto" not in made.read_bytes()


def test_of_a_moving_sticker_the_first_frame_is_shown_on_white(tmp_path: Path) -> None:
    first, second = Image.new("RGBA", (64, 64), (0, 0, 0, 0)), Image.new("RGBA", (64, 64), (0, 0, 255, 90))
    first.paste("red", (0, 0, 32, 64))
    first.save(tmp_path / "a", "WEBP", save_all=True, append_images=[second], duration=100, lossless=True)
    with Image.open(reduce(tmp_path / "a", tmp_path)) as small:
        left, right = small.getpixel((10, 30)), small.getpixel((54, 30))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 240 > 20 > left[2]
    assert min(right) > 240


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


def test_a_picture_just_over_the_limit_is_measured_and_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (5_001, 5_000)).save(tmp_path / "a", "PNG")
    assert measure(tmp_path / "a") == (5_001, 5_000)
    with pytest.raises(UnreadableImage, match="too large"):
        reduce(tmp_path / "a", tmp_path)


@pytest.mark.parametrize("size", [(60_000, 60_000), (2_000_000_000, 1)])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a").write_bytes(_png(*size))
    with pytest.raises(UnreadableImage):
        reduce(tmp_path / "a", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_no_other_format_is_read(tmp_path: Path, kind: str) -> None:
    picture(tmp_path / "a", kind=kind)
    with pytest.raises(UnreadableImage):
        measure(tmp_path / "a")


def test_a_broken_picture_is_refused(tmp_path: Path) -> None:
    data = picture(tmp_path / "a", (500, 500), kind="PNG").read_bytes()
    (tmp_path / "a").write_bytes(data[:-40])
    with pytest.raises(UnreadableImage):
        reduce(tmp_path / "a", tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(images.FORMATS))
def test_no_damage_makes_it_raise_anything_else(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    buffer = BytesIO()
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(buffer, kind)
    bytes_ = bytearray(buffer.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(bytes_) - 1), min_size=1, max_size=6)):
        bytes_[at] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(bytes_)
    try:
        measure(tmp_path / "a")
        reduce(tmp_path / "a", tmp_path).unlink()
    except UnreadableImage:
        pass
