"""What a file is: by its content, among what may be kept, of the family that was announced."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recado.media.sniff import HEAD_BYTES, TYPES, may_become, settle

_OOXML = "application/vnd.openxmlformats-officedocument."
DOCX, XLSX, PPTX = (
    f"{_OOXML}{name}" for name in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")
)
OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def ftyp(brand: bytes, *others: bytes) -> bytes:
    box = b"ftyp" + brand + b"\0\0\2\0" + b"".join(others)
    return (len(box) + 4).to_bytes(4) + box + bytes(200)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            made.writestr(name, "<x/>")
    return buffer.getvalue()


def compound(stream: str) -> bytes:
    return OLE + bytes(2000) + stream.encode("utf-16-le") + bytes(2000)


MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"", "utf-16-le"), (b"", "utf-16-be"))
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ana Conceição \U0001f600\r\nEND:VCARD\r\n"

#: What comes, how it is announced, what it is.
FILES = [
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(200), "image/jpeg", "image/jpeg"),
    (b"\xff\xd8\xff\xe1\0\x10Exif\0\0" + bytes(200), "image/jpeg", "image/jpeg"),
    (b"\xff\xd8\xff\xdb\0\x43" + bytes(200), "image/jpg", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200), "image/png", "image/png"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200), "image/jpeg", "image/png"),
    (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(200), "image/webp", "image/webp"),
    (b"OggS\0\2" + bytes(22) + b"\x01\x13OpusHead\1" + bytes(100), "audio/ogg; codecs=opus", "audio/ogg"),
    (b"OggS\0\2" + bytes(22) + b"\x01\x13OpusHead\1" + bytes(100), "audio/mpeg", "audio/ogg"),
    (b"ID3\4\0\0\0\0\0\0" + bytes(200), "audio/mpeg", "audio/mpeg"),
    (b"\xff\xfb\x90\x64" + bytes(400), "audio/mp3", "audio/mpeg"),
    (b"\xff\xf3\x90\x64" + bytes(400), "audio/mpeg", "audio/mpeg"),
    (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(100), "audio/aac", "audio/aac"),
    (b"#!AMR\n" + b"\x3c" * 100, "audio/amr", "audio/amr"),
    (ftyp(b"M4A ", b"mp42isom"), "audio/mp4", "audio/mp4"),
    (ftyp(b"isom", b"isomiso2avc1mp41"), "video/mp4", "video/mp4"),
    (ftyp(b"mp42", b"mp42isom"), "video/mp4", "video/mp4"),
    (ftyp(b"mp42", b"mp42isom"), "audio/x-m4a", "audio/mp4"),
    (ftyp(b"3gp5", b"isom3gp4"), "video/3gpp", "video/3gpp"),
    (ftyp(b"3gp5", b"isom3gp4"), "audio/3gpp", "audio/3gpp"),
    (b"%PDF-1.7\n%\xe2\xe3\n" + b"1 0 obj" * 30, "application/pdf", "application/pdf"),
    (archive("[Content_Types].xml", "word/document.xml"), DOCX, DOCX),
    (archive("[Content_Types].xml", "xl/workbook.xml"), XLSX, XLSX),
    (archive("[Content_Types].xml", "ppt/presentation.xml"), "application/octet-stream", PPTX),
    (archive("[Content_Types].xml", "xl/workbook.xml"), DOCX, XLSX),
    (compound("WordDocument"), "application/msword", "application/msword"),
    (compound("Workbook"), "application/vnd.ms-excel", "application/vnd.ms-excel"),
    (compound("PowerPoint Document"), "application/vnd.ms-powerpoint", "application/vnd.ms-powerpoint"),
    ("Preços: pão 5€\n".encode(), "text/plain; charset=utf-8", "text/plain"),
    ("Preços\n".encode("latin-1"), "text/plain", "text/plain"),
    (b"a;b\r\n1;2\r\n", "text/csv", "text/csv"),
    (b"BEGIN:VCARD\r\nVERSION:3.0\r\nEND:VCARD\r\n", "text/x-vcard", "text/vcard"),
    (b"just words\n", "application/octet-stream", "text/plain"),
    *(
        (mark + text.encode(codec), announced, is_)
        for mark, codec in MARKS
        for text, announced, is_ in (
            (
                CARD,
                "text/x-vcard",
                "text/vcard",
            ),
            ("nome;preço\r\npão;5 €\r\n" * 40_000, "text/csv", "text/csv"),
            ("Preços: pão 5 €\n", "text/plain; charset=utf-16", "text/plain"),
            ("Preços: pão 5 €\n", "application/octet-stream", "text/plain"),
        )
    ),
    (b"\xef\xbb\xbfBEGIN:VCARD\r\nEND:VCARD\r\n", "text/vcard", "text/vcard"),
    (b"\xef\xbb\xbf" + "pão;5 €\n".encode(), "text/csv", "text/csv"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(200), "", "image/jpeg"),
]
#: What comes, how it is announced; none of it may be kept.
OTHERS = [
    (b"", "image/jpeg"),
    (b"<!DOCTYPE html><html>", "image/jpeg"),
    (b"<!DOCTYPE html><html>", "text/html"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    (b"MZ\x90\0\3\0\0\0" + bytes(200), "application/octet-stream"),
    (b"\x7fELF\2\1\1" + bytes(200), "application/pdf"),
    (b"GIF89a" + bytes(200), "image/gif"),
    (b"RIFF\x24\0\0\0WAVEfmt " + bytes(200), "audio/wav"),
    (b"\x1f\x8b\x08\0" + bytes(200), "application/gzip"),
    (archive("a.txt"), DOCX),
    (archive("a.txt"), "application/zip"),
    (compound("Else"), "application/msword"),
    (b"words\0", "text/plain"),
    (b"\xff\xfe" + "words\0".encode("utf-16-le"), "text/plain"),
    (b"\xff\xfe" + ("words" * 50_000 + "\1").encode("utf-16-le"), "text/vcard"),
    (b"\xff\xfe" + "words".encode("utf-16-le") + b"\x00\xd8", "text/plain"),
    (b"\xff\xfe" + "words".encode("utf-16-le") + b"x", "text/plain"),
    (b"\xff\xfe\0\0" + "words".encode("utf-32-le"), "text/plain"),
    (b"\xff\xfe" + "words".encode("utf-16-le"), "image/jpeg"),
    (b"\0M\0Z\0\x90\0\3" + bytes(200), "text/plain"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(200), "audio/ogg"),
    (b"%PDF-1.7\n" + b"1 0 obj" * 30, "image/png"),
    (ftyp(b"isom", b"isom"), "image/jpeg"),
    (b"just words\n", "image/jpeg"),
    (bytes(200), "image/jpeg"),
]


@pytest.mark.parametrize(("content", "announced", "is_"), FILES)
def test_a_file_is_what_its_content_says(content: bytes, announced: str, is_: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert may_become(content[:HEAD_BYTES], announced)
    assert settle(tmp_path / "file", announced) == is_
    assert is_ in TYPES


@pytest.mark.parametrize(("content", "announced"), OTHERS)
def test_what_is_not_of_the_kinds_or_the_family_is_nothing(content: bytes, announced: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert settle(tmp_path / "file", announced) is None


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(TYPES)))
def test_no_bytes_are_taken_for_more_than_what_may_be_kept(head: bytes, announced: str) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(head)
        kind = settle(Path(folder) / "file", announced)
    assert kind in TYPES | {None}
    assert kind is None or may_become(head, announced)
