from __future__ import annotations

import csv
import io
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.assistants import knowledge, words
from recado.assistants.knowledge import Entry
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.errors import UsageError
from tests.assistants.conftest import new_owner

HOURS = Entry(title="Qual o horário?", content="Das 7h às 20h.")
PLACE = Entry(title="Onde fica a loja?", content="Rua das Flores, 120.")
PARKING = Entry(title="Tem estacionamento?", content="Sim, atrás da loja.")


class TestMarkdown:
    def test_a_heading_is_the_question_and_the_text_below_it_the_answer(self) -> None:
        text = "## Qual o horário?\n\nDas 7h\nàs 20h.\n\n## Onde fica? ##\nRua A.\n"
        assert knowledge.read_markdown(text) == [
            Entry(title="Qual o horário?", content="Das 7h\nàs 20h."),
            Entry(title="Onde fica?", content="Rua A."),
        ]

    def test_nested_headings_keep_their_path_and_siblings_do_not_inherit(self) -> None:
        text = "# Entregas\nNo Centro.\n## Prazo\nUm dia.\n### Aos sábados\nDois.\n## Taxa\nR$ 6.\n# Lojas\nDuas."
        assert [entry.title for entry in knowledge.read_markdown(text)] == [
            "Entregas",
            "Entregas › Prazo",
            "Entregas › Prazo › Aos sábados",
            "Entregas › Taxa",
            "Lojas",
        ]

    def test_text_before_the_first_heading_is_an_entry_named_after_the_file(self) -> None:
        assert knowledge.read("about us.md", b"Somos uma padaria.\n# A\nb")[0] == Entry(
            title="about us", content="Somos uma padaria."
        )

    def test_a_heading_without_text_is_a_path_and_no_entry(self) -> None:
        assert knowledge.read_markdown("# Loja\n## Horário\nDas 7h.") == [
            Entry(title="Loja › Horário", content="Das 7h.")
        ]

    def test_a_hash_in_a_code_block_or_without_a_space_is_no_heading(self) -> None:
        text = "# Senha\n```\n# rede\n```\n#padaria"
        assert knowledge.read_markdown(text) == [Entry(title="Senha", content="```\n# rede\n```\n#padaria")]

    @given(st.text())
    def test_any_text_is_read_without_a_crash_and_no_entry_is_empty(self, text: str) -> None:
        try:
            entries = knowledge.read_markdown(text)
        except UsageError:
            return
        assert all(entry.title and entry.content for entry in entries)


class TestCsv:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("header", ["question{0}answer\r\n", "Pergunta{0}Resposta\n", ""])
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_delimiter_header_and_byte_order_mark_are_recognised(
        self, delimiter: str, header: str, mark: bytes
    ) -> None:
        row = f'"Qual o horário, hoje?"{delimiter}"Das 7h; às 20h,\nsem ""pausa""."\n'
        entries = knowledge.read("faq.CSV", mark + (header.format(delimiter) + row).encode())
        assert entries == [Entry(title="Qual o horário, hoje?", content='Das 7h; às 20h,\nsem "pausa".')]

    def test_blank_lines_and_empty_trailing_columns_are_left_out(self) -> None:
        assert knowledge.read_csv("\na;b;;\n;;\nc;d\n") == [
            Entry(title="a", content="b"),
            Entry(title="c", content="d"),
        ]

    @pytest.mark.parametrize("row", ["only one", "a,b,c", ",answer", 'a,"b'])
    def test_a_row_that_is_not_question_and_answer_is_named_by_its_line(self, row: str) -> None:
        with pytest.raises(UsageError, match=r"faq\.csv: line 2"):
            knowledge.read_csv(f"question,answer\n{row}", name="faq.csv")

    @given(st.lists(st.tuples(st.sampled_from("abç é,;\"'\n"), st.sampled_from('xyz,;"\n')), min_size=1))
    def test_what_a_spreadsheet_writes_is_what_is_read(self, rows: list[tuple[str, str]]) -> None:
        filled = [(f"q{question}q", f"a{answer}a") for question, answer in rows]
        out = io.StringIO()
        csv.writer(out).writerows([("question", "answer"), *filled])
        assert [(entry.title, entry.content) for entry in knowledge.read_csv(out.getvalue())] == filled


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("faq.md", b""),
        ("faq.md", b"# Only\n## Headings\n"),
        ("faq.csv", b"question,answer\n"),
        ("faq.md", b"\x89PNG\x00\x01"),
        ("faq.md", "horário".encode("latin-1")),
        ("faq.csv", "horário".encode("utf-16")),
        ("faq.pdf", b"%PDF-1.7"),
        ("faq", b"# a\nb"),
        ("faq.md", b"# a\n" + b"x" * 30_000),
        ("faq.md", b"# " + b"x" * 400 + b"\ny"),
    ],
)
def test_an_empty_undecodable_or_oversized_file_is_refused_by_name(name: str, data: bytes) -> None:
    with pytest.raises(UsageError) as refused:
        knowledge.read(name, data)
    assert str(refused.value).startswith(name)
    assert len(str(refused.value)) < 300


class TestReplace:
    async def test_the_same_source_again_changes_nothing(self, scope: Scope) -> None:
        first = await knowledge.replace(scope, source="faq.md", entries=[HOURS, PLACE], language="pt")
        before = await _rows(scope)
        again = await knowledge.replace(scope, source="faq.md", entries=[HOURS, PLACE], language="pt")
        assert (first.entries, first.changed, again.entries, again.changed) == (2, True, 2, False)
        assert await _rows(scope) == before

    async def test_unchanged_entries_keep_their_id_when_others_change_come_go_or_move(self, scope: Scope) -> None:
        await knowledge.replace(scope, source="faq.md", entries=[HOURS, PLACE], language="pt")
        before = {row["title"]: row["id"] for row in await _rows(scope)}
        await knowledge.replace(scope, source="faq.md", entries=[PLACE, PARKING, HOURS], language="pt")
        rows = await _rows(scope)
        assert [row["title"] for row in rows] == [PLACE.title, PARKING.title, HOURS.title]
        assert {row["title"]: row["id"] for row in rows if row["title"] in before} == before
        await knowledge.replace(scope, source="faq.md", entries=[PARKING], language="pt")
        assert [row["title"] for row in await _rows(scope)] == [PARKING.title]

    async def test_another_source_is_left_alone(self, scope: Scope) -> None:
        await knowledge.replace(scope, source="a.md", entries=[HOURS], language="pt")
        await knowledge.replace(scope, source="b.md", entries=[PLACE], language="pt")
        await knowledge.replace(scope, source="a.md", entries=[], language="pt")
        assert [row["title"] for row in await _rows(scope)] == [PLACE.title]

    async def test_an_entry_that_is_given_twice_is_kept_once(self, scope: Scope) -> None:
        assert (await knowledge.replace(scope, source="a.md", entries=[HOURS, HOURS], language="pt")).entries == 1


class TestSearch:
    @pytest.fixture(autouse=True)
    async def _known(self, scope: Scope) -> None:
        await knowledge.replace(scope, source="faq.md", entries=[HOURS, PLACE, PARKING], language="pt")

    @pytest.mark.parametrize(
        "question", ["Qual o horário?", "qual o horario", "HORÁRIO", "horarios", "qual o hoarrio?", "horáriooooo"]
    )
    async def test_accents_case_plurals_and_slips_do_not_hide_an_entry(self, scope: Scope, question: str) -> None:
        matches = await knowledge.search(scope, question, language="pt")
        assert matches[0].title == HOURS.title
        assert matches[0].score == pytest.approx(1.0)

    async def test_a_word_in_the_title_counts_more_than_in_the_content(self, scope: Scope) -> None:
        matches = await knowledge.search(scope, "loja", language="pt")
        assert [match.title for match in matches] == [PLACE.title, PARKING.title]
        assert matches[0].score > matches[1].score

    async def test_words_that_nobody_wrote_about_lower_the_score(self, scope: Scope) -> None:
        sure = (await knowledge.search(scope, "estacionamento", language="pt"))[0].score
        unsure = (await knowledge.search(scope, "estacionamento para helicópteros", language="pt"))[0].score
        assert unsure < 0.53 < sure

    @pytest.mark.parametrize("question", ["", "  ", "oi, tudo bem?", "??? !!!", "😀", "que", "\0"])
    async def test_a_message_without_a_word_that_means_something_finds_nothing(
        self, scope: Scope, question: str
    ) -> None:
        assert await knowledge.search(scope, question, language="pt") == []

    @pytest.mark.parametrize(
        "question", ["'); DROP TABLE knowledge; --", "a' | 'b:*", "\\", "x & !y <-> z", "%s %(a)s"]
    )
    async def test_what_looks_like_query_syntax_is_only_words(self, scope: Scope, question: str) -> None:
        await knowledge.search(scope, question, language="pt")

    async def test_only_the_beginning_of_an_endless_question_is_read(self, scope: Scope) -> None:
        endless = "horário" + " " * knowledge.QUESTION_CHARS + "helicóptero " * 20_000
        assert (await knowledge.search(scope, endless, language="pt"))[0].score == pytest.approx(1.0)

    async def test_a_limit_keeps_the_best(self, scope: Scope) -> None:
        assert [match.title for match in await knowledge.search(scope, "loja", language="pt", limit=1)] == [PLACE.title]

    async def test_an_unknown_language_is_searched_word_for_word(self, scope: Scope) -> None:
        assert (await knowledge.search(scope, "horario", language="fr"))[0].title == HOURS.title

    async def test_no_owner_finds_what_another_knows(self, pool: Pool, database_url: str, owner_id: UUID) -> None:
        async with scoped(pool, owner_id) as mine:
            await knowledge.replace(mine, source="secret.md", entries=[HOURS], language="pt")
        async with scoped(pool, await new_owner(database_url)) as theirs:
            assert await knowledge.search(theirs, "horário", language="pt") == []


@given(st.text(max_size=200), st.sampled_from(["pt", "es", "en", "fr"]))
def test_what_is_indexed_are_letters_and_digits_only_so_that_no_text_can_break_the_query(
    text: str, language: str
) -> None:
    for lexeme in words.indexed(text, language):
        assert lexeme.isalnum()
        assert lexeme == lexeme.casefold() or not lexeme.isascii()
    for word in words.asked(text, language):
        assert all(lexeme.isalnum() for lexeme in word.exact | word.near)


async def _rows(scope: Scope) -> list[dict[str, object]]:
    cursor = await scope.conn.execute("SELECT * FROM knowledge ORDER BY source, ordinal")
    return await cursor.fetchall()
