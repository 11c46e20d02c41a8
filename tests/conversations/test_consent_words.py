"""The words of consent: a word is the whole message, however it is written, and nothing else is one."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.conversations.consent_words import MOST_CHARS, WORDS, asks, language_of, normal
from recado.journey.understand.opt_outs import CONFIRMED

PAGE = Path(__file__).parents[2] / "docs/how-to/consent.md"
EVERY = [(word, action) for action, lists in WORDS.items() for words in lists.values() for word in words]
AROUND = st.text(st.sampled_from(" .,;:!?¡¿*_~\"'`«»()[]-–—…\n\t\u200b\u200e\u2060\ufe0f🙏👍🛑"), max_size=8)
ACCENTS = st.sampled_from(["", "\u0301", "\u0303", "\u0327", "\u0308"])


@pytest.mark.parametrize(("word", "action"), EVERY)
def test_every_word_is_heard(word: str, action: str) -> None:
    assert asks(normal(word)) == action


WRITTEN = """
STOP|stop|Stop!|*STOP*|  sair  |“Sair.”|Parar!!!|párar|Cancelár|BAJA.|¡Baja!|ＳＴＯＰ|não quero mais mensagens
NAO QUERO MAIS MENSAGENS.|Opt-out|st\u200bop|STOP 🛑|_parar_|parar\t
""".strip()
OTHERS = """
parar de fumar|quero cancelar meu pedido|cancelar?não|pode parar em frente|stop it|não pare||...|🛑|s t o p|stopp|paro
sairei|baja la cabeza|alta médica|start now|stop stop|cancelar 2
""".strip()


@pytest.mark.parametrize("said", WRITTEN.replace("\n", "|").split("|"))
def test_case_accents_and_punctuation_do_not_matter(said: str) -> None:
    assert asks(normal(said)) == "stop"


@pytest.mark.parametrize("said", [*OTHERS.replace("\n", "|").split("|"), "stop " * 13, " " * 61 + "stop"])
def test_what_is_not_the_word_alone_is_a_message_like_any_other(said: str) -> None:
    assert asks(normal(said)) is None


@given(st.sampled_from(EVERY), AROUND, AROUND, st.randoms(use_true_random=False), ACCENTS)
def test_a_word_is_heard_however_it_is_written(
    chosen: tuple[str, str], before: str, after: str, chance: random.Random, accent: str
) -> None:
    word, action = chosen
    cased = "".join(chance.choice((letter.upper(), letter.lower())) for letter in word)
    place = chance.randrange(1, len(cased) + 1)
    written = before + cased[:place] + (accent if cased[place - 1].isalpha() else "") + cased[place:] + after
    if len(written) <= MOST_CHARS:
        assert asks(normal(written)) == action


@given(st.sampled_from(EVERY), st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), st.booleans())
def test_another_word_beside_it_makes_it_a_message(chosen: tuple[str, str], other: str, first: bool) -> None:
    said = f"{other} {chosen[0]}" if first else f"{chosen[0]} {other}"
    known = {normal(word) for word, _ in EVERY}
    assert (asks(normal(said)) is not None) == (normal(said) in known)


@given(st.text(max_size=200))
def test_any_text_has_one_normal_form_of_letters_digits_and_single_spaces(text: str) -> None:
    found = normal(text)
    if found is not None:
        assert len(text) <= MOST_CHARS
        assert all(part and part.isalnum() for part in found.split(" "))
        assert not any(unicodedata.category(character) in ("Mn", "Cf") for character in found)
        assert len(found) > MOST_CHARS or normal(found) == found


def test_a_word_tells_its_language_where_only_one_has_it() -> None:
    assert (language_of("SAIR"), language_of("baja"), language_of("Unsubscribe!")) == ("pt", "es", "en")
    assert (language_of("STOP"), language_of("parar"), language_of("oi")) == (None, None, None)


def test_a_confirmation_names_a_word_that_undoes_it() -> None:
    for change, back in (("opted_out", "start"), ("opted_in", "stop")):
        for text in CONFIRMED[change].values():  # type: ignore[index]
            [word] = re.findall(r"\b[A-Z]{4,}\b", text)
            assert asks(normal(word)) == back


def test_the_page_lists_exactly_these_words() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    listed = {cells[0]: cells[1:] for cells in rows if cells[0] in ("Portuguese", "Spanish", "English")}
    for language, name in (("pt", "Portuguese"), ("es", "Spanish"), ("en", "English")):
        expected = [", ".join(f"`{word}`" for word in WORDS[action][language]) for action in ("stop", "start")]  # type: ignore[index]
        assert listed[name] == expected
