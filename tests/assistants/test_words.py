from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.assistants import words
from recado.assistants.vocabulary import SAME, SHORT, STOP, VAGUE

LETTERS = st.text(alphabet="abcdeçãé", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("left", "right"),
    [("horário", "horarios"), ("pão", "paes"), ("cartões", "cartao"), ("reclamação", "reclamacao"), ("Açaí", "acai")],
)
def test_forms_of_a_word_share_a_lexeme(left: str, right: str) -> None:
    assert words.indexed(left, "pt") & words.indexed(right, "pt")


@pytest.mark.parametrize(("left", "right"), [("pão", "pau"), ("avó", "ave"), ("conta", "canto")])
def test_different_words_share_none(left: str, right: str) -> None:
    assert not words.indexed(left, "pt") & words.indexed(right, "pt")


def test_a_word_that_was_typed_twice_counts_once() -> None:
    assert [word.text for word in words.asked("entrega Entrega ENTREGA entregas?", "pt")] == ["entrega", "entregas"]


def test_shortened_words_are_read_in_full() -> None:
    assert [word.text for word in words.asked("q hrs? qual o end?", "pt")] == ["horas", "endereco"]


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["Vocês fazem entrega hoje?"], "pt"),
        (["Hola, ¿cuánto cuesta?"], "es"),
        (["Hi, do you deliver?"], "en"),
        (["Oi"], None),
        (["Oi", "obrigado"], "pt"),
        (["Hola", "thanks"], None),
        (["ok", "👍", "42", ""], None),
        ([], None),
        (["https://example.com/what/is/this?how=you"], None),
        (["www.padaria.com.br", "ana@bom.com", "padaria.com/bom-dia"], None),
        (["Oi, tudo bem?", "Quero um bolo", "What is this and how do you do it? Is it for the evening?"], "pt"),
    ],
)
def test_a_language_is_told_only_where_that_is_sure(texts: list[str], language: str | None) -> None:
    assert words.written_in(texts) == language


@given(st.text(alphabet="abcdeпри9", min_size=2, max_size=12), st.integers(1, 12), st.sampled_from("abcд0"))
def test_one_slip_behind_the_first_letter_is_looked_for_whichever_it_is(word: str, at: int, letter: str) -> None:
    at = min(at, len(word) - 1)
    letter = letter if letter.isascii() == word[at].isascii() and letter.isdigit() == word[at].isdigit() else word[at]
    slips = [word[:at] + letter + word[at:], word[:at] + word[at + 1 :], word[:at] + letter + word[at + 1 :]]
    if at + 1 < len(word):
        slips.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    assert set(slips) - {word} <= set(words.slips(word))


@given(st.text(alphabet="abcdeпри9漢", max_size=20))
def test_slips_are_no_more_than_a_small_multiple_of_the_word(word: str) -> None:
    assert len(list(words.slips(word))) <= 240 * max(len(word), 1)


@pytest.mark.parametrize(("left", "right"), [("bolos", "lobos"), ("entrega", "encomenda"), ("abc", "abcde")])
def test_two_slips_are_another_word(left: str, right: str) -> None:
    assert right not in words.slips(left)


def test_of_an_endless_question_so_many_words_are_looked_at_and_of_an_endless_word_its_beginning() -> None:
    assert len(words.asked(" ".join(f"palavra{n}" for n in range(500)), "pt")) == words.MOST_ASKED
    assert all(len(lexeme) <= words.WORD_CHARS for lexeme in words.indexed("ab" * 5_000, "pt"))


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    once = words.fold(text)
    assert words.fold(once) == once


def test_the_vocabulary_is_written_as_it_is_looked_up() -> None:
    everything = STOP | VAGUE | SHORT.keys() | {word for callers, called in SAME for word in callers | called}
    assert [word for word in sorted(everything) if words.fold(word) != word or not word.isalnum()] == []
