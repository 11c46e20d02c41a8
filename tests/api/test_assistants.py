"""Assistants over the API."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest

from recado.assistants import assistant
from recado.db.scope import scoped
from tests.api.programs import Office
from tests.api.test_messages import SID, template


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


async def test_an_assistant_is_changed_by_one_of_two_who_read_the_same(office: Office) -> None:
    path = f"/v1/assistants/{office.ids['assistant_id']}"
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    blind = await office.admin.ask("PATCH", path, json={"instructions": "A"})
    answers = await asyncio.gather(
        *(
            office.admin.ask("PATCH", path, json={"instructions": text}, headers={"If-Match": read})
            for text in ("B", "C")
        )
    )
    assert blind.status_code == 428
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    [changed] = [answer for answer in answers if answer.status_code == 200]
    now = await office.admin.get(path)
    assert now["instructions"] == changed.json()["instructions"]
    assert changed.headers["ETag"] == f'"{now["version"]}"' != read


async def test_whether_an_assistant_sees_can_be_set_and_left_to_what_is_known_again(office: Office) -> None:
    path = f"/v1/assistants/{office.ids['assistant_id']}"
    for given, then in (({"sees": True}, True), ({"language": "es"}, True), ({"sees": "auto"}, None)):
        read = (await office.admin.ask("GET", path)).headers["ETag"]
        changed = await office.admin.ask("PATCH", path, json=given, headers={"If-Match": read})
        assert changed.status_code == 200, changed.text
        assert changed.json()["sees"] is then


async def test_whether_an_assistant_may_send_templates_is_off_until_it_is_set(office: Office) -> None:
    made = await office.admin.ask("POST", "/v1/assistants", json={"name": "night"})
    assert made.json()["templates"] is False
    path = f"/v1/assistants/{made.json()['id']}"
    for given, then in (({"templates": True}, True), ({"language": "es"}, True), ({"templates": False}, False)):
        read = (await office.admin.ask("GET", path)).headers["ETag"]
        changed = await office.admin.ask("PATCH", path, json=given, headers={"If-Match": read})
        assert changed.json()["templates"] is then, changed.text
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    wrong = await office.admin.ask("PATCH", path, json={"templates": "maybe"}, headers={"If-Match": read})
    assert wrong.status_code == 422


async def test_the_fallback_is_chosen_for_an_assistant_and_taken_back(office: Office) -> None:
    await template(office)
    assistant = f"/v1/assistants/{office.ids['assistant_id']}"
    at = f"{assistant}/fallback-template"
    version = {"If-Match": (await office.admin.ask("GET", assistant)).headers["ETag"]}
    chosen = {"content_sid": SID, "variables": {"1": "{contact_name}", "2": "{text}"}}
    answer = await office.admin.ask("PUT", at, json=chosen, headers=version)
    assert (answer.status_code, answer.json()) == (200, chosen)
    assert office.front.rows("SELECT fallback_template FROM assistants")[0]["fallback_template"] == chosen
    assert (await office.admin.ask("PUT", at, json=chosen)).status_code == 428
    assert (await office.admin.ask("PUT", at, json=chosen, headers=version)).status_code == 412
    version = {"If-Match": answer.headers["ETag"]}
    for wrong in (
        {"content_sid": SID, "variables": {"1": "{contact_name}", "2": "olá"}},
        {"content_sid": SID, "variables": {"2": "{text}"}},
        {"content_sid": "HX" + "6" * 32, "variables": {"1": "{text}"}},
    ):
        assert (await office.admin.ask("PUT", at, json=wrong, headers=version)).status_code == 422
    answer = await office.admin.ask("PUT", at, json={"content_sid": None}, headers=version)
    assert answer.json() == {"content_sid": None, "variables": {}}
    assert office.front.rows("SELECT fallback_template FROM assistants")[0]["fallback_template"] is None
    assert (await (await office.program("write")).ask("PUT", at, json=chosen)).status_code == 403
