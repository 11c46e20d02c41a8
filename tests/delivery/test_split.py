from __future__ import annotations

import pytest
import regex
from hypothesis import assume, example, given
from hypothesis import strategies as st

from recado.delivery.split import split, units

FAMILY = "👨‍👩‍👧‍👦"
URL = "https://exemplo.com.br/pedidos/42?item=caf%C3%A9&tamanho=grande"

MONO = "```mono\nmono```"
WORDS = ["Olá", "pão", "de", "queijo.", "Tudo bem?", "R$ 12,50", "你好。", "مرحبا", "é", "e\u0301", "1. ", "- "]
MARKED = ["*negrito aqui*", "_itálico_", "~riscado~", MONO, URL, "*", "_", FAMILY, "🇧🇷"]
BLANKS = ["\n", "\n\n", "\r\n", " ", "  ", "\t"]

pieces = st.sampled_from([*WORDS, *MARKED, *BLANKS])
messages = st.lists(pieces, max_size=120).map(" ".join) | st.lists(pieces, max_size=120).map("".join)
anything = st.text(st.characters(), max_size=400) | st.lists(st.text(max_size=8), max_size=60).map(" ".join)


def without_blanks(text: str) -> str:
    return "".join(text.split())


def longest_blank_run(text: str) -> int:
    return max((len(run) for run in regex.findall(r"[\s\x1c-\x1f]+", text)), default=0)


@given(messages | anything, st.integers(2, 300))
def test_no_part_is_longer_than_the_limit_or_blank_and_nothing_visible_is_lost(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(units(part) <= limit for part in parts)
    assert all(part.strip() for part in parts)
    assert without_blanks("".join(parts)) == without_blanks(text)


@given(messages | anything, st.integers(30, 300))
@example("a" * 30 + "\n", 30)
@example("  " + "a" * 40 + "  ", 30)
@example("palavra " * 40 + "\n\n", 50)
def test_the_parts_join_to_the_text_exactly(text: str, limit: int) -> None:
    longest_cluster = max((units(cluster) for cluster in regex.findall(r"\X", text)), default=1)
    assume(text.strip())
    assume(longest_blank_run(text) <= (limit - longest_cluster) // 2)
    assert "".join(split(text, limit)) == text


@given(messages | anything, st.integers(30, 300))
def test_no_cluster_is_cut_that_fits_in_a_part(text: str, limit: int) -> None:
    assume(all(units(cluster) <= limit for cluster in regex.findall(r"\X", text)))
    parts = split(text, limit)
    assume("".join(parts) == text)
    edges, at = {0}, 0
    for cluster in regex.finditer(r"\X", text):
        edges.add(cluster.end())
    for part in parts:
        at += len(part)
        assert at in edges


@given(st.lists(st.sampled_from([FAMILY, "🇧🇷", "e\u0301", "\r\n", "x"]), max_size=80).map("".join), st.integers(11, 40))
def test_no_cluster_is_cut_where_there_is_no_blank_to_cut_at(text: str, limit: int) -> None:
    clusters = [cluster for cluster in regex.findall(r"\X", text) if cluster.strip()]
    assert [
        cluster for part in split(text, limit) for cluster in regex.findall(r"\X", part) if cluster.strip()
    ] == clusters


@given(st.lists(st.sampled_from(["oi", "preço", URL, "fim.", FAMILY]), min_size=1, max_size=60), st.integers(70, 200))
def test_no_url_is_cut_that_fits_in_a_part(words: list[str], limit: int) -> None:
    text = " ".join(words)
    assert sum(part.count(URL) for part in split(text, limit)) == text.count(URL)


@given(
    st.lists(
        st.sampled_from(["oi", "*muito bom mesmo*", "_com calma, por favor_", "~era dez~", MONO, "fim."]),
        min_size=1,
        max_size=60,
    ),
    st.integers(30, 200),
)
def test_no_formatting_pair_is_cut_that_fits_in_a_part(words: list[str], limit: int) -> None:
    parts = split(" ".join(words), limit)
    for word in set(words):
        assert sum(part.count(word) for part in parts) >= words.count(word)


def test_a_text_that_fits_stays_whole() -> None:
    assert split("Olá!\n\nTudo bem?\n", 1500) == ("Olá!\n\nTudo bem?\n",)


def test_a_text_of_blanks_gives_no_parts() -> None:
    assert split("", 10) == split(" \n\t ", 10) == split(" " * 50, 10) == ()


def test_it_cuts_at_a_paragraph_before_a_line_before_a_sentence_before_a_word() -> None:
    assert split("Um dois. Três\nquatro.\n\nCinco seis. Sete", 36) == ("Um dois. Três\nquatro.\n\n", "Cinco seis. Sete")
    assert split("Um dois três.\nQuatro. Cinco seis", 26) == ("Um dois três.\n", "Quatro. Cinco seis")
    assert split("Um dois três. Quatro cinco", 22) == ("Um dois três. ", "Quatro cinco")
    assert split("um dois três quatro", 14) == ("um dois três ", "quatro")


def test_a_paragraph_that_ends_early_does_not_leave_a_part_nearly_empty() -> None:
    first = split("Oi!\n\n" + "palavra " * 30, 100)[0]
    assert len(first) > 90


def test_a_sentence_without_a_blank_behind_it_is_a_place_to_cut() -> None:
    assert split("你好。我们有咖啡和面包", 8) == ("你好。", "我们有咖啡和面包")


def test_the_number_of_a_list_item_does_not_end_a_sentence() -> None:
    assert split("Temos pão. Veja 1. bolo grande", 20) == ("Temos pão. ", "Veja 1. bolo grande")


def test_an_emoji_counts_as_the_code_units_it_has() -> None:
    assert units("🧾") == 2
    assert split("🧾" * 4, 4) == ("🧾🧾", "🧾🧾")


def test_a_cluster_longer_than_a_part_is_cut_as_a_last_resort() -> None:
    parts = split("a" + "\u0301" * 30, 10)
    assert "".join(parts) == "a" + "\u0301" * 30
    assert [len(part) for part in parts] == [10, 10, 10, 1]


def test_a_url_longer_than_a_part_is_cut_as_a_last_resort() -> None:
    parts = split("veja https://exemplo.com/" + "x" * 100 + " ok", 40)
    assert parts[0] == "veja "
    assert "".join(parts) == "veja https://exemplo.com/" + "x" * 100 + " ok"


def test_a_scheme_at_the_very_end_of_the_part_is_known_for_a_url() -> None:
    assert split("preços(https://exemplo.com/a)", 11)[0] == "preços("


def test_blanks_that_no_part_can_carry_are_left_out() -> None:
    assert without_blanks("".join(split("a" + " " * 5000 + "b", 100))) == "ab"
    assert len(split("a" + " " * 5000 + "b", 100)) == 2


def test_blanks_before_a_cluster_that_then_would_not_fit_are_left_out() -> None:
    assert split(f"   {FAMILY} oi", 12) == (f"{FAMILY} ", "oi")


def test_a_pair_longer_than_a_part_is_cut_like_other_text() -> None:
    text = "Oi *" + "bom dia " * 9 + "a todos* fim"
    assert len(split(text, 50)[0]) > 40


def test_a_limit_that_holds_no_emoji_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        split("oi", 1)


@pytest.mark.parametrize(
    "unit",
    ["a", "a\u0301", "\u0301", "*a ", "_a\n", "`", "```a ", "a.a-", "http://", "👩\u200d", "🇧🇷", " .", "oi! "],
)
def test_a_long_text_takes_time_in_proportion(unit: str) -> None:
    # What is quadratic in so many does not end before the test's time-out.
    text = unit * (400_000 // len(unit))
    assert without_blanks("".join(split(text, 1500))) == without_blanks(text)
