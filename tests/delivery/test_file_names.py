from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery.file_names import _ENDINGS, BYTES, file_name
from recado.media.sniff import TYPES

PDF, TEXT = "application/pdf", "text/plain"


@pytest.mark.parametrize(
    ("given_name", "kind", "named"),
    [
        ("cardápio.pdf", PDF, "cardápio.pdf"),
        ("CARDAPIO.PDF", PDF, "CARDAPIO.PDF"),
        ("fatura.pdf.hta", TEXT, "fatura.pdf.txt"),
        ("fatura.pdf.hta", PDF, "fatura.pdf.pdf"),
        ("fatura.hta", PDF, "fatura.pdf"),
        ("fatura\u202efdp.exe", PDF, "faturafdp.pdf"),
        ("fatura.pdf\u200b.lnk", PDF, "fatura.pdf.pdf"),
        ("run.exe. .", PDF, "run.pdf"),
        ("Tabela 3.5", PDF, "Tabela 3.5.pdf"),
        ("notes.md", "text/plain; charset=utf-8", "notes.md"),
        ("nota", "audio/ogg", "nota.ogg"),
        ("..\\..\\boot.ini", TEXT, "boot.txt"),
        ("/etc/passwd", TEXT, "passwd.txt"),
        ("CON", PDF, "_CON.pdf"),
        ("com1.pdf.pdf", PDF, "_com1.pdf.pdf"),
        ("a:b|c.pdf", PDF, "a_b_c.pdf"),
        (".htaccess", TEXT, "htaccess.txt"),
        ("desktop.ini", None, "desktop_ini"),
        ("fatura.pdf.hta", "application/x-msdownload", "fatura_pdf_hta"),
        ("...", PDF, None),
        ("", PDF, None),
        (None, PDF, None),
        ("\u202e\u200f", PDF, None),
    ],
)
def test_the_ending_follows_what_the_file_is(given_name: str | None, kind: str | None, named: str | None) -> None:
    assert file_name(given_name, kind) == named


def test_every_type_that_is_kept_has_an_ending() -> None:
    assert set(_ENDINGS) == set(TYPES)


@given(
    st.text(st.characters() | st.sampled_from("./\\: \u202e\u2066\u200b\x85CONnul"), max_size=300),
    st.sampled_from([*sorted(TYPES), "text/html", "", None]),
)
def test_whatever_is_given_it_is_one_harmless_name_and_the_same_when_it_is_named_again(
    text: str, kind: str | None
) -> None:
    named = file_name(text, kind)
    if named is None:
        return
    assert len(named.encode()) <= BYTES
    assert named.isprintable()
    assert not set(named) & set('/\\:*?"<>|\u202e\u2066')
    assert named == named.strip(". ")
    ending = named.rpartition(".")[2] if "." in named else ""
    assert ending.lower() in _ENDINGS.get(kind or "", ("",))
    assert file_name(named, kind) == named
