"""Assistants and knowledge over the API."""

from __future__ import annotations

import asyncio
import hashlib
import time
from itertools import count, islice
from typing import Any
from uuid import UUID

import httpx2
import pytest

from recado.assistants import assistant, knowledge
from recado.db.scope import Scope, scoped
from tests.api.programs import Office

LETTERS = str.maketrans("0123456789", "ghijklmnop")
FAQ = "# Qual o horário?\nAbrimos das 7h às 20h.\n\n# Fazem entrega?\nSim, no centro.\n"


def audited(office: Office) -> list[str]:
    return [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")]


async def make(office: Office, name: str, **more: Any) -> httpx2.Response:
    return await office.admin.ask("POST", "/v1/assistants", json={"name": name, **more})


async def test_an_assistant_is_made_beside_the_default_one(office: Office) -> None:
    answer = await make(
        office, "  night   shift ", instructions="Seja breve.", model="openai:gpt-5-mini", language="es"
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["instructions"], made["model"], made["language"], made["is_default"]) == (
        *("night shift", "Seja breve.", "openai:gpt-5-mini", "es", False),
    )
    read = await office.admin.ask("GET", answer.headers["Location"])
    assert (read.json(), read.headers["ETag"]) == (made, answer.headers["ETag"])
    assert (await make(office, "night shift")).status_code == 409
    assert audited(office) == ["add"]


@pytest.mark.parametrize("model", ["test", "gpt-5-mini", "openai:", "open ai:x", "openai:a b"])
async def test_what_is_no_model_is_refused(office: Office, model: str) -> None:
    answer = await make(office, "night", model=model)
    assert answer.status_code == 422
    assert "PROVIDER:MODEL" in answer.text
    assert audited(office) == []


async def test_of_two_who_make_the_default_assistant_at_once_the_last_is_it(office: Office) -> None:
    pool, owner_id = office.front.wiring.pool, office.front.owner_id
    made = [(await make(office, name)).json()["id"] for name in ("night", "day")]

    async def second() -> None:
        async with scoped(pool, owner_id) as scope:
            await assistant.hold_default(scope)
            await assistant.make_default(scope, UUID(made[1]))

    async with scoped(pool, owner_id) as scope:
        await assistant.hold_default(scope)
        await assistant.make_default(scope, UUID(made[0]))
        waiting = asyncio.create_task(second())
        assert not (await asyncio.wait([waiting], timeout=0.3))[0]
    await waiting
    answers = await asyncio.gather(*(make(office, f"a{n}", is_default=True) for n in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    items = (await office.admin.get("/v1/assistants"))["items"]
    assert len(items) == 7
    assert [item["is_default"] for item in items].count(True) == 1


async def test_another_assistant_becomes_the_default_and_answers_where_none_is_named(office: Office) -> None:
    made = (await make(office, "night")).json()
    path = f"/v1/assistants/{made['id']}"
    answer = await office.admin.ask(
        "PATCH", path, json={"is_default": True}, headers={"If-Match": f'"{made["version"]}"'}
    )
    assert (answer.status_code, answer.json()["is_default"]) == (200, True)
    before = await office.admin.get(f"/v1/assistants/{office.ids['assistant_id']}")
    assert (before["is_default"], before["version"]) == (False, 2)
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        assert str((await assistant.get(scope, None)).id) == made["id"]
    again = await office.admin.ask(
        "PATCH", path, json={"is_default": True}, headers={"If-Match": answer.headers["ETag"]}
    )
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert audited(office) == ["add", "change"]


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
