from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.assistants import keyless, knowledge
from recado.assistants.knowledge import Match
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from tests.assistants.conftest import new_owner

DATA = Path(__file__).parent / "data"
ASKED = list(csv.DictReader((DATA / "questions.csv").read_text().splitlines()))
FILES = {"bakery-pt.md": "pt", "bakery-es.md": "es", "bakery-en.csv": "en", "clinic-pt.md": "pt", "gym-pt.md": "pt"}


@pytest.fixture
async def bakery(scope: Scope) -> Scope:
    await _know(scope, "bakery-pt.md")
    return scope


async def _know(scope: Scope, name: str) -> None:
    entries = knowledge.read(name, (DATA / name).read_bytes())
    await knowledge.replace(scope, source=name, entries=entries, language=FILES[name])


@pytest.mark.parametrize("name", FILES)
async def test_it_answers_most_questions_of_a_company_and_never_wrongly(
    pool: Pool, database_url: str, name: str
) -> None:
    outcomes: Counter[str] = Counter()
    wrong: list[tuple[str, str]] = []
    async with scoped(pool, await new_owner(database_url)) as scope:
        await _know(scope, name)
        for row in (row for row in ASKED if row["knowledge"] == name):
            answer = await keyless.answer(scope, row["question"], language=row["language"])
            if answer is not None and (not row["answer"] or row["answer"] not in answer):
                wrong.append((row["question"], answer))
            if row["answer"]:
                outcomes["silent" if answer is None else "answered"] += 1
    assert wrong == []
    assert outcomes["answered"] >= 0.8 * outcomes.total()


class TestABurst:
    async def test_each_question_that_is_sure_is_answered_in_order_and_once(self, bakery: Scope) -> None:
        text = "oi\nvcs abrem domingo?\nqual a previsão do tempo?\ntem estacionamento?\nque horas fecha?"
        answer = await keyless.answer(bakery, text, language="pt")
        assert answer is not None
        hours, parking = answer.split("\n\n")
        assert hours.startswith("Abrimos de segunda")
        assert parking.startswith("Há um estacionamento")

    async def test_questions_on_one_line_are_told_apart_by_their_marks(self, bakery: Scope) -> None:
        answer = await keyless.answer(bakery, "Bom dia! Vocês entregam? E aceita pix?", language="pt")
        assert answer is not None
        assert [part.split()[0] for part in answer.split("\n\n")] == ["Entregamos", "Aceitamos"]

    async def test_none_is_answered_only_when_no_question_is_sure(self, bakery: Scope) -> None:
        assert await keyless.answer(bakery, "oi\nvocês consertam celular?\ntem wifi?", language="pt") is None


class TestCourtesy:
    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("oi", "pt"),
            ("Oiii", "pt"),
            ("bom dia!", "pt"),
            ("Olá, tudo bem?", "pt"),
            ("boa noite, gente", "pt"),
            ("oi\nbom dia", "pt"),
            ("hola", "es"),
            ("¡Buenos días!", "es"),
            ("hola, qué tal", "es"),
            ("hello", "en"),
            ("Hi there, how are you?", "en"),
            ("good morning", "en"),
        ],
    )
    async def test_a_greeting_alone_is_greeted_in_its_language(self, scope: Scope, text: str, language: str) -> None:
        other = "es" if language == "en" else "en"
        assert await keyless.answer(scope, text, language=other) == keyless.GREETING[language]

    @pytest.mark.parametrize(
        ("text", "language"), [("obrigada!", "pt"), ("muchas gracias", "es"), ("thank you so much", "en")]
    )
    async def test_thanks_alone_are_answered_in_kind(self, scope: Scope, text: str, language: str) -> None:
        assert await keyless.answer(scope, text, language=language) == keyless.WELCOME[language]

    @pytest.mark.parametrize("text", ["oi, quero falar com o gerente", "obrigado, mas quanto custa o kit?", "👍", "??"])
    async def test_a_greeting_never_stands_in_for_an_answer(self, bakery: Scope, text: str) -> None:
        assert await keyless.answer(bakery, text, language="pt") is None

    async def test_thanks_with_a_question_get_the_answer(self, bakery: Scope) -> None:
        answer = await keyless.answer(bakery, "obrigado, mas quanto custa o pão francês?", language="pt")
        assert answer is not None
        assert answer.startswith("O pão francês custa R$ 18")


class TestSure:
    def test_a_score_below_the_threshold_is_no_answer(self) -> None:
        assert keyless.sure([_match(keyless.THRESHOLD - 0.01)]) is None
        assert keyless.sure([_match(keyless.THRESHOLD)]) is not None

    def test_two_entries_about_as_good_are_no_answer(self) -> None:
        assert keyless.sure([_match(0.9), _match(0.88)]) is None
        assert keyless.sure([_match(0.9), _match(0.8)]) is not None

    def test_two_entries_that_say_the_same_are_one_answer(self) -> None:
        assert keyless.sure([_match(0.9, "7h"), _match(0.9, "7h"), _match(0.5)]) is not None
        assert keyless.sure([_match(0.9, "7h"), _match(0.9, "7h"), _match(0.9, "8h")]) is None

    def test_nothing_found_is_no_answer(self) -> None:
        assert keyless.sure([]) is None


class TestDetect:
    @pytest.mark.parametrize("row", ASKED, ids=lambda row: row["question"])
    def test_it_never_mistakes_a_language_for_another(self, row: dict[str, str]) -> None:
        assert keyless.detect(row["question"]) in (row["language"], None)

    def test_it_tells_most_questions(self) -> None:
        assert sum(keyless.detect(row["question"]) == row["language"] for row in ASKED) >= 0.75 * len(ASKED)

    @pytest.mark.parametrize("text", ["", "123", "😀", "whatsapp", "日本語です", "ok"])
    def test_it_says_nothing_when_nothing_tells(self, text: str) -> None:
        assert keyless.detect(text) is None

    @given(st.sampled_from([row["question"] for row in ASKED]), st.sampled_from(["  ", "!!!", " 42 ", "\n"]))
    def test_case_repetition_and_what_is_no_word_do_not_matter(self, text: str, noise: str) -> None:
        told = keyless.detect(text)
        assert keyless.detect(text.upper()) == told
        assert keyless.detect(noise + text + noise + text) == told

    @given(st.text())
    def test_any_text_is_read_without_a_crash(self, text: str) -> None:
        assert keyless.detect(text) in ("pt", "es", "en", None)


def test_the_words_for_a_person_are_in_the_contacts_language_and_english_where_we_have_none() -> None:
    assert "pessoa da equipe" in keyless.words_for_person("pt")
    assert "persona del equipo" in keyless.words_for_person("es")
    assert "person on our team" in keyless.words_for_person("en")
    assert keyless.words_for_person("fr") == keyless.words_for_person("en")


def _match(score: float, content: str | None = None) -> Match:
    return Match(id=uuid4(), title="t", content=content or uuid4().hex, score=score)
