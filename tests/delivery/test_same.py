"""same: what a reader would call the same text, whatever a carrier did to its letters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery.same import CUT, same, says, says_nothing

POSTED = "“Olá” — disse a Zoë…\nNão\u00a0é: 2 × R$ 10,50?  ❤️\u200b\n\n• pão ‘francês’ \n"
CHANGED = {
    "line ends": POSTED.replace("\n", "\r\n"),
    "old line ends": POSTED.replace("\n", "\r"),
    "blanks at the ends": POSTED.strip(),
    "blanks at the ends of lines": "\n".join(line.rstrip() for line in POSTED.split("\n")),
    "composed": unicodedata.normalize("NFC", POSTED),
    "decomposed": unicodedata.normalize("NFD", POSTED),
    "control characters": POSTED.replace("é", "\x07é\x1b"),
    "quotes": POSTED.translate(str.maketrans("“”‘’", "\"\"''")),
    "dashes": POSTED.replace("—", "-"),
    "dots": POSTED.replace("…", "..."),
    "hard blanks": POSTED.replace("\u00a0", " "),
    "zero width": POSTED.replace("\u200b", "").replace("\ufe0f", ""),
    "on trial": f"Sent from your Twilio trial account - {POSTED}",
}


@pytest.mark.parametrize("how", CHANGED)
def test_what_only_a_machine_tells_apart_is_the_same(how: str) -> None:
    assert same(POSTED, CHANGED[how])
    assert same(CHANGED[how], POSTED)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sim.", "Sim"),
        ("Sim.", "Não."),
        ("R$ 10", "R$ 100"),
        ("R$ 10", "R$ 1"),
        ("avó", "avô"),
        ("nao", "não"),
        ("Oi", "oi"),
        ("vamos a pé", "vamos ape"),
        ("às 10 h", "às 11 h"),
        ("", "Oi"),
        ("👍", "👎"),
        ("a b", "b a"),
        ("Pedido 1\nPedido 2", "Pedido 1"),
        ("x" * CUT, "y" * CUT),
        ("x" * 1500, "x" * 1501),
    ],
)
def test_what_a_reader_tells_apart_is_not_the_same(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)


def test_of_a_text_that_was_cut_the_rest_is_not_asked_for() -> None:
    long = "pão de queijo e café, " * 100
    assert same(long, long[:CUT])
    assert same(long[: CUT - 3] + "...", long)
    assert same(long.replace("ã", "\u200bã"), long[:CUT])
    assert not same(long, long[: CUT - 100])
    assert not same(long, "N" + long[1:CUT])


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "****", "***** ***"])
def test_a_text_that_was_redacted_says_nothing(text: str) -> None:
    assert says_nothing(text)
    assert not says_nothing(text + "a")


texts = st.text(max_size=60) | st.text(
    st.sampled_from("aeé\u0301\u0303 \n\r\t\u00a0\u200b\ufe0f\u200d“”'\"—-…./<>‹›ﬁ½²´`≮\u0338"), max_size=30
)


@given(texts)
def test_what_is_compared_is_compared_as_itself(text: str) -> None:
    assert says(says(text)) == says(text)
    assert same(text, text)
    assert same(text, says(text))


@given(texts, texts)
def test_it_is_the_same_both_ways_and_in_any_form_of_either(one: str, other: str) -> None:
    assert same(one, other) == same(other, one) == (says(one) == says(other))
    for form in ("NFC", "NFD"):
        assert same(unicodedata.normalize(form, one), other) == same(one, other)


@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20), st.integers(0, 20))
def test_a_letter_or_digit_more_is_another_text(text: str, at: int) -> None:
    assert not same(text, text[:at] + "q" + text[at:])
