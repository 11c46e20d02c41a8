"""Knowledge over the API."""

from __future__ import annotations

import asyncio
import hashlib
import time
from itertools import count, islice

import pytest

from recado.assistants import knowledge
from recado.db.scope import Scope, scoped
from tests.api.programs import Office
from tests.api.test_assistants import audited

LETTERS = str.maketrans("0123456789", "ghijklmnop")
FAQ = "# Qual o horário?\nAbrimos das 7h às 20h.\n\n# Fazem entrega?\nSim, no centro.\n"


async def test_a_source_is_known_replaced_and_forgotten(office: Office) -> None:
    path = "/v1/knowledge/sources/perguntas%20b%C3%A1sicas.md"
    first = await office.admin.ask("PUT", path, json={"text": FAQ})
    assert (first.status_code, first.json()) == (
        *(200, {"source": "perguntas básicas.md", "entries": 2, "language": "pt"}),
    )
    ids = {item["id"] for item in (await office.admin.get("/v1/knowledge"))["items"]}
    again = await office.admin.ask("PUT", path, json={"text": FAQ})
    assert again.json() == first.json()
    assert audited(office) == ["add"]
    assert {item["id"] for item in (await office.admin.get("/v1/knowledge"))["items"]} == ids
    for entry in ids:
        assert (await office.admin.get(f"/v1/knowledge/{entry}"))["id"] == entry
    await office.admin.ask("PUT", path, json={"text": "# Qual o horário?\nAbrimos das 7h às 20h.\n"})
    left = {item["id"] for item in (await office.admin.get("/v1/knowledge"))["items"]}
    assert len(left) == len(ids) - 1
    assert left < ids
    gone = await office.admin.ask("DELETE", path)
    assert (gone.status_code, gone.json()["entries"]) == (200, 1)
    assert (await office.admin.ask("DELETE", path)).status_code == 404
    assert [item["source"] for item in (await office.admin.get("/v1/knowledge"))["items"]] == ["faq.md"]


async def test_rows_of_questions_and_answers_are_knowledge_too(office: Office) -> None:
    text = "pergunta;resposta\nQual o preço?;10 reais\nTem estacionamento?;Sim\n"
    answer = await office.admin.ask("PUT", "/v1/knowledge/sources/a.csv", json={"text": text, "language": "pt"})
    assert answer.json()["entries"] == 2


@pytest.mark.parametrize(
    ("source", "text", "says"),
    [
        ("a.md", "# só um título\n", "no entry found"),
        ("a.csv", "uma coluna\n", "line 1: needs two columns"),
        ("a.csv", 'a,"b', "line 1: "),
        ("a.md", f"# {'t' * 400}\nx\n", "entry 1: a title may hold 300 characters"),
    ],
)
async def test_a_text_that_holds_no_knowledge_is_refused_in_words_of_ours(
    office: Office, source: str, text: str, says: str
) -> None:
    answer = await office.admin.ask("PUT", f"/v1/knowledge/sources/{source}", json={"text": text})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["where"] == "body.text"
    assert error["detail"].startswith(says)
    assert "uma coluna" not in answer.text
    assert "ttt" not in answer.text


async def test_two_who_replace_one_source_at_once_leave_one_of_the_two_texts(office: Office) -> None:
    pool, owner_id = office.front.wiring.pool, office.front.owner_id

    async def replace(scope: Scope, title: str) -> None:
        entries = [knowledge.Entry(title=title, content="Sim.")]
        await knowledge.replace(scope, source="b.md", entries=entries, language="pt")

    async def second() -> None:
        async with scoped(pool, owner_id) as scope:
            await replace(scope, "Outra")

    async with scoped(pool, owner_id) as scope:
        await replace(scope, "Uma")
        waiting = asyncio.create_task(second())
        assert not (await asyncio.wait([waiting], timeout=0.3))[0]
    await waiting
    assert [row["title"] for row in office.front.rows("SELECT title FROM knowledge WHERE source = 'b.md'")] == ["Outra"]


async def test_a_long_text_keeps_nobody_else_waiting(office: Office) -> None:
    # Every word another, so that each has to be analysed.
    words = (hashlib.sha256(str(n).encode()).hexdigest().translate(LETTERS)[:9] for n in count())
    text = "".join(f"# {next(words)}\n{' '.join(islice(words, 10))}\n" for _ in range(2200))
    assert 200_000 < len(text) <= 250_000
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - began)

    watching = asyncio.create_task(watch())
    began = time.monotonic()
    answer = await office.admin.ask("PUT", "/v1/knowledge/sources/long.md", json={"text": text})
    took_s = time.monotonic() - began
    watching.cancel()
    assert (answer.status_code, answer.json()["entries"]) == (200, 2200)
    assert longest_s < took_s / 4
