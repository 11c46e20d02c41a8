"""A contact card says its name and numbers, however it was written; what is wrong in it costs itself alone."""

from __future__ import annotations

import base64
import json
import quopri
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.media import cards

ANA = {"name": "Ana Souza", "organization": None, "phones": ["+55 11 98765-4321"], "emails": []}
PHOTO = base64.encodebytes(bytes(range(256)) * 400).decode()


def card(*lines: str, version: str = "3.0", end: str = "END:VCARD") -> str:
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, end]) + "\r\n"


SIMPLE = card("FN:Ana Souza", "TEL;type=CELL;waid=5511987654321:+55 11 98765-4321")


@pytest.mark.parametrize(
    "written",
    [
        SIMPLE,
        SIMPLE.replace("\r\n", "\n"),
        SIMPLE.replace("\r\n", "\r"),
        "\ufeff" + SIMPLE,
        "\r\n\r\n  " + SIMPLE.lower().replace("ana souza", "Ana Souza"),
        SIMPLE.replace("END:VCARD", ""),
        SIMPLE[: SIMPLE.index("END")].rstrip(),
        card("N:Souza;Ana;;;", "TEL:+55 11 98765-4321"),
        card("FN:Ana Souza", "N:", 'TEL;VALUE=uri;TYPE="voice,cell":tel:+55%2011%2098765-4321;ext=5', version="4.0"),
        card("FN:Ana Souza", "TEL;VALUE=uri:tel:+55 11 98765-4321", version="4.0"),
        card("item1.FN:Ana Souza", "item2.TEL;type=pref:+55 11 98765-4321", "item2.X-ABLabel:_$!<Mobile>!$_"),
        card("FN:Ana S", " ouza", "TEL:+55 11", "\t 98765-4321"),
        card(f"PHOTO:data:image/jpeg;base64,{PHOTO.replace(chr(10), '')}", "FN:Ana Souza", "TEL:+55 11 98765-4321"),
        card("FN:Ana Souza", "TEL:+55 11 98765-4321", "PHOTO;ENCODING=b;TYPE=JPEG:" + PHOTO.replace("\n", "\n ")),
        card("PHOTO;ENCODING=BASE64;JPEG:" + PHOTO, "FN:Ana Souza", "TEL:+55 11 98765-4321", version="2.1"),
        card("FN;ENCODING=b:" + base64.b64encode(b"Ana Souza").decode(), "TEL:+55 11 98765-4321"),
        card("FN;ENCODING=B:QW5hIFNvdXph*", "TEL:+55 11 98765-4321"),
        card("N;ENCODING=QUOTED-PRINTABLE:=53ouza;A=", "na;;;", "TEL;CELL:+55 11 98765-4321", version="2.1"),
        card("FN;QUOTED-PRINTABLE:Ana=20Souza=", "TEL;CELL:+55 11 98765-4321", version="2.1"),
        card("FN:Ana Souza", "TEL;TYPE=\"CELL:+55 11 98765-4321"),
        card("FN:Ana Souza", "garbage", ";;;:::", "X-;A=B", "BDAY:not a date", "REV:", "TEL:+55 11 98765-4321"),
        card("FN:Ana Souza", "ADR;CHARSET=nonsense;ENCODING=QUOTED-PRINTABLE:=ZZ=", "TEL:+55 11 98765-4321"),
        card("FN;CHARSET=klingon:Ana Souza", "TEL;ENCODING=B;VALUE=text:KzU1IDExIDk4NzY1LTQzMjE="),
        card("FN;CHARSET=UNICODE_ESCAPE:Ana Souza", "TEL:+55 11 98765-4321"),
        card("FN:Ana\\, ".replace("\\, ", " ") + "Souza", "TEL:\u202a+55 11 98765-4321\u202c"),
        "FN:Ana Souza\nTEL:+55 11 98765-4321",
        card("FN:Ana Souza", "BEGIN:VEVENT", "END:VEVENT", "TEL:+55 11 98765-4321", "TEL:+55 11 98765-4321"),
    ],
)  # fmt: skip
def test_a_card_is_read_however_it_was_written(written: str) -> None:
    assert cards.read(written.encode()) == [ANA]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_card_is_read_in_the_encodings_that_phones_have(encoding: str) -> None:
    assert cards.read(SIMPLE.encode(encoding)) == [ANA]


@pytest.mark.parametrize(
    ("charset", "name"),
    [("windows-1251", "Иван Петров"), ("ISO-8859-1", "João Ação"), ("KOI8-R", "Иван"), ("Shift_JIS", "山田")],
)
def test_a_name_is_read_in_the_character_set_that_is_named_quoted_or_not(charset: str, name: str) -> None:
    raw = name.encode(charset)
    quoted = quopri.encodestring(raw).replace(b"\n", b"\r\n")
    for line in (
        b"FN;CHARSET=" + charset.encode() + b":" + raw,
        b"FN;CHARSET=" + charset.encode() + b";ENCODING=QUOTED-PRINTABLE:" + quoted,
    ):
        data = b"BEGIN:VCARD\r\nVERSION:2.1\r\n" + line + b"\r\nTEL;HOME:123\r\nEND:VCARD"
        assert cards.read(data) == [{"name": name, "organization": None, "phones": ["123"], "emails": []}]


def test_a_long_name_goes_on_over_soft_line_breaks() -> None:
    quoted = "=C3=A7=\r\n=C3=A3=\r\no"
    assert cards.read(card(f"FN;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:{quoted}").encode())[0]["name"] == "ção"


def test_escapes_are_undone_and_a_value_is_one_line() -> None:
    (found,) = cards.read(
        card(r"FN:Souza\, Ana\; \\o/\nx", r"ORG:Pães\; e Cia;Vendas;", "EMAIL:mailto:ana@a.br").encode()
    )
    assert found == {
        "name": "Souza, Ana; \\o/ x",
        "organization": "Pães; e Cia Vendas",
        "phones": [],
        "emails": ["ana@a.br"],
    }


def test_one_bad_card_of_several_costs_only_itself() -> None:
    bad = "BEGIN:VCARD\r\nVERSION:9\r\nPHOTO;ENCODING=b:\xff\x00\r\nFN;ENCODING=B:====\r\n"
    written = SIMPLE + bad + SIMPLE.replace("Ana Souza", "Bia") + bad + SIMPLE.replace("Ana Souza", "Cia")
    assert [one["name"] for one in cards.read(written.encode("latin-1"))] == ["Ana Souza", "Bia", "Cia"]


def test_cards_numbers_and_names_are_bounded() -> None:
    many = card("FN:" + "a" * 10_000, *(f"TEL:{n}" for n in range(500))) * 300
    found = cards.read(many.encode())
    assert len(found) == cards.CARDS
    assert {(len(one["name"]), len(one["phones"])) for one in found} == {(cards.NAME_CHARS, cards.NUMBERS)}


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"BEGIN:VCARD\nEND:VCARD", b"BEGIN:VCARD\nFN:\nTEL:  \nEND:VCARD"]
)
def test_what_says_nothing_is_no_card(data: bytes) -> None:
    assert cards.read(data) == []


BITS = st.sampled_from(
    [
        *(b"BEGIN:VCARD", b"END:VCARD", b"FN:", b"TEL", b"item1.", b";", b":", b"=", b"\r\n", b"\n", b" ", b"\t", b'"'),
        *(b"ENCODING=QUOTED-PRINTABLE", b"ENCODING=b", b"CHARSET=utf-16", b"CHARSET=windows-1251", b"\xff", b"\0"),
        *(b"=C3", b"tel:", b"\\", b"VALUE=uri", b"Ana", b"\xef\xbb\xbf", b"\xd8\x00", b"%ff", b"CHARSET=UTF-7"),
    ]
)


@given(st.lists(BITS, max_size=40).map(b"".join) | st.binary(max_size=200))
def test_no_bytes_make_it_raise_and_what_it_says_can_be_stored(data: bytes) -> None:
    found: list[dict[str, Any]] = cards.read(b"BEGIN:VCARD\n" + data)
    assert "\\u0000" not in json.dumps(found)
    json.dumps(found, ensure_ascii=False).encode()
    assert all(one["name"] or one["organization"] or one["phones"] or one["emails"] for one in found)


@given(st.lists(BITS.filter(lambda bit: b"\n" not in bit and b"VCARD" not in bit), max_size=20).map(b"".join))
def test_a_name_and_a_number_are_read_whatever_stands_in_a_property_between_them(data: bytes) -> None:
    # What the property before them says of itself may take the next line: it is not one that people's phones read.
    written = b"BEGIN:VCARD\r\nFN:Ana Souza\r\nX-A:" + data + b"\r\nTEL:+55 11 98765-4321\r\nEND:VCARD"
    (found,) = cards.read(written)
    assert (found["name"], found["phones"][-1]) == ("Ana Souza", "+55 11 98765-4321")
