"""What a document says is read within limits, and a hostile document costs nothing but its own text."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recado.media import parsing, text
from recado.media.text import MOST_BYTES, MOST_CHARS, Extracted, tidy
from tests.media import documents
from tests.media.documents import CARD, archive, letter, pdf, sheet, slides, word

NOTHING = Extracted(text=None, pages=None)
OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
BODY = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
    "<office:body><office:text><text:p>{}</text:p></office:text></office:body></office:document-content>"
)
ODT = "application/vnd.oasis.opendocument.text"


def extract(path: Path, content_type: str) -> Extracted:
    return asyncio.run(text.extract(path, content_type))


class TestWhatItSays:
    def test_a_pdf_says_its_text_and_how_many_pages_it_has(self, tmp_path: Path) -> None:
        found = extract(pdf(tmp_path / "a", "Bolo de milho", "Segunda folha"), "application/pdf")
        assert found == Extracted(text="Bolo de milho\nSegunda folha", pages=2)

    def test_office_documents_say_their_text_tables_too(self, tmp_path: Path) -> None:
        assert extract(word(tmp_path / "a", "Olá", "mundo"), OFFICE).text == "Olá\nmundo\nBolo | R$ 40"
        assert extract(slides(tmp_path / "b", "Um", "Dois"), "x/y") == Extracted(text="Um\n\nDois", pages=2)
        assert (
            extract(sheet(tmp_path / "c", [["Bolo", "40"], ["Pão", "1"]]), "x/y").text == "Preços:\nBolo | 40\nPão | 1"
        )
        assert extract(letter(tmp_path / "d", "Prezada Ana,", "segue."), ODT).text == "Prezada Ana,\n\nsegue."

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
    def test_plain_text_is_read_in_the_encodings_that_people_have(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "a").write_bytes("item;preço\r\npão;1,50".encode(encoding))
        assert extract(tmp_path / "a", "text/csv").text == "item;preço\npão;1,50"

    def test_a_card_says_its_names_and_numbers_as_json(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text(CARD + CARD.replace("Ana Souza", "Bia"))
        ana, bia = json.loads(extract(tmp_path / "a", "application/octet-stream").text or "")
        (tmp_path / "b").write_bytes((CARD + CARD.replace("Ana Souza", "Bia")).encode("utf-16"))
        assert json.loads(extract(tmp_path / "b", "text/plain").text or "") == [ana, bia]
        assert ana == {
            "name": "Ana Souza",
            "organization": "Padaria Central",
            "phones": ["+55 11 98765-4321", "+55 11 3333-4444"],
            "emails": ["ana@padaria.example"],
        }
        assert bia["name"] == "Bia"

    def test_what_the_bytes_say_counts_and_not_the_type(self, tmp_path: Path) -> None:
        assert extract(pdf(tmp_path / "a", "Oi"), "text/plain").text == "Oi"
        (tmp_path / "b").write_bytes(b"\x00\x01\x02" * 100)
        assert extract(tmp_path / "b", "text/plain") == NOTHING

    @pytest.mark.parametrize("content_type", ["application/zip", "application/octet-stream", "video/mp4", "image/png"])
    def test_anything_else_says_nothing(self, tmp_path: Path, content_type: str) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        assert extract(tmp_path / "a", content_type) == NOTHING
        assert extract(archive(tmp_path / "b", {"a.txt": "x"}), content_type) == NOTHING


class TestLimits:
    def test_the_text_is_bounded_whatever_the_document_is(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("palavra " * 50_000)
        assert (tmp_path / "a").stat().st_size > MOST_BYTES
        many = word(tmp_path / "b", *(["palavra " * 100] * 100))
        rows = sheet(tmp_path / "c", [["x" * 50] * 10] * 1_500)
        for path, content_type in ((tmp_path / "a", "text/plain"), (many, OFFICE), (rows, "x/y")):
            text = extract(path, content_type).text
            assert text is not None
            assert MOST_CHARS * 0.9 < len(text) <= MOST_CHARS

    def test_of_thousands_of_pages_the_first_are_read_and_all_are_counted(self, tmp_path: Path) -> None:
        found = extract(pdf(tmp_path / "a", *(f"folha {n}" for n in range(3_000))), "application/pdf")
        assert found.pages == 3_000
        assert found.text is not None
        assert found.text.startswith("folha 0\nfolha 1\n")
        assert "folha 60" not in found.text

    def test_of_a_thousand_cards_the_first_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text(CARD.replace("FN:Ana Souza", "FN:" + "a" * 5_000) * 1_000)
        cards = json.loads(extract(tmp_path / "a", "text/vcard").text or "")
        assert len(cards) == 20
        assert len(cards[0]["name"]) == 128

    @given(st.text(max_size=200))
    def test_what_is_kept_can_be_stored_and_has_no_controls(self, text: str) -> None:
        kept = tidy(text)
        assert not any(ord(char) < 32 and char != "\n" for char in kept)
        assert "\n\n\n" not in kept
        assert tidy(kept) == kept
        kept.encode()


def _bomb() -> bytes:
    return b"0" * 100_000_000


LAUGHS = (
    "<!DOCTYPE x [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9))
    + "]>"
)


class TestHostileFiles:
    def test_an_encrypted_document_says_nothing(self, tmp_path: Path) -> None:
        assert extract(pdf(tmp_path / "a", "segredo", password="x"), "application/pdf") == NOTHING

    @pytest.mark.parametrize("make", [pdf, word, slides, letter])
    @pytest.mark.parametrize("share", [0.2, 0.9])
    def test_a_broken_document_says_nothing_or_what_is_left(self, tmp_path: Path, make: object, share: float) -> None:
        path = make(tmp_path / "a", "Olá")  # type: ignore[operator]
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert extract(path, "application/octet-stream").text in (None, "Olá")

    def test_a_zip_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        bomb = archive(tmp_path / "a", {"word/document.xml": _bomb()})
        assert bomb.stat().st_size < 200_000
        with pytest.raises(ValueError, match="too much"):
            parsing._office(bomb)
        began = time.monotonic()
        assert extract(bomb, OFFICE) == NOTHING
        assert extract(documents.lying_about_its_size(tmp_path / "b", "word/document.xml", _bomb()), OFFICE) == NOTHING
        assert extract(archive(tmp_path / "c", {f"{n}.xml": "" for n in range(5_000)}), OFFICE) == NOTHING
        assert time.monotonic() - began < 45

    def test_a_bomb_in_a_pdfs_stream_ends_its_own_process_only(self, tmp_path: Path) -> None:
        packed = zlib.compress(zlib.compress(_bomb() * 3, 9), 9)
        body = (
            b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        )
        body += b"3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<<>>>>endobj\n"
        body += b"4 0 obj<</Filter[/FlateDecode/FlateDecode]/Length %d>>stream\n%s\nendstream endobj\n" % (
            len(packed),
            packed,
        )
        (tmp_path / "a").write_bytes(body + b"trailer<</Root 1 0 R>>\n%%EOF")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert extract(tmp_path / "a", "application/pdf").text is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000

    def test_pages_that_contain_themselves_end(self, tmp_path: Path) -> None:
        kids = b"2 0 R " * 2_000
        (tmp_path / "a").write_bytes(
            b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids["
            + kids
            + b"]/Count 99999999>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
        )
        began = time.monotonic()
        assert extract(tmp_path / "a", "application/pdf").text is None
        assert time.monotonic() - began < 50

    def test_entities_that_grow_are_not_expanded(self, tmp_path: Path) -> None:
        content = LAUGHS + BODY.format("&j;")
        found = extract(archive(tmp_path / "a", {"mimetype": ODT, "content.xml": content}), ODT)
        assert len(found.text or "") <= MOST_CHARS
        assert "ha" * 100 not in (found.text or "")

    def test_a_document_can_not_read_files_of_this_machine(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("segredo do servidor")
        outside = f"<!DOCTYPE x [<!ENTITY e SYSTEM 'file://{tmp_path}/secret'>]>"
        inside = "<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'><w:body><w:p><w:r><w:t>&e;</w:t></w:r></w:p></w:body></w:document>"
        letter_ = archive(tmp_path / "a", {"mimetype": ODT, "content.xml": outside + BODY.format("&e;")})
        word_ = word(tmp_path / "b", "x")
        archive(word_, {"word/document.xml": outside + inside})
        for path in (letter_, word_):
            assert "segredo" not in (extract(path, "x/y").text or "")

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.sampled_from([b"%PDF-1.4\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"BEGIN:VCARD\n", b""]),
        st.binary(max_size=400),
    )
    def test_no_bytes_make_it_raise(self, tmp_path: Path, head: bytes, rest: bytes) -> None:
        (tmp_path / "a").write_bytes(head + rest)
        extract(tmp_path / "a", "text/plain")


class TestTheParsersProcess:
    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        begin = "from recado.media.parsing import give_up_rights; give_up_rights()\n"
        return subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=False)

    def test_it_can_take_neither_memory_nor_time_nor_write_a_file(self, tmp_path: Path) -> None:
        assert "MemoryError" in self.run("x = bytearray(400_000_000)").stderr
        assert (
            "File too large"
            in self.run(f"import pathlib; pathlib.Path({str(tmp_path / 'a')!r}).write_text('x')").stderr
        )
        ended = self.run("import resource; print(resource.getrlimit(resource.RLIMIT_CPU))")
        assert ended.stdout.strip() == "(10, 10)"

    def test_it_knows_nothing_of_our_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECADO_SECRET_KEYS", "segredo")
        site = tmp_path / "spy"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))"
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        extract(pdf(tmp_path / "a", "Oi"), "application/pdf")
        seen = (tmp_path / "seen").read_text()
        assert "PYTHONPATH" in seen
        assert "segredo" not in seen
