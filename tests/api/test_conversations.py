from __future__ import annotations

import asyncio

import httpx2

from recado.db.scope import scoped
from recado.identity import users
from recado.ids import new_id
from tests.api.programs import Office
from tests.api.test_messages import close_window, path


async def test_a_conversation_is_taken_given_back_and_closed_for_good(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    statuses = []
    for action in ("take", "take", "give-back", "close", "take"):
        answer = await office.admin.ask("POST", f"{path}/{action}", json={"reason": "teste"})
        statuses.append((answer.status_code, answer.json()["status"]))
    assert statuses == [(200, "handoff"), (409, 409), (200, "open"), (200, "closed"), (409, 409)]
    closed = await office.admin.get(path)
    assert closed["close_reason"] == "teste"
    assert closed["closed_at"].endswith("Z")
    late = await office.admin.ask("POST", f"{path}/messages", json={"body": "Oi"})
    assert late.status_code == 409
    actions = [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")]
    assert actions == ["take", "give_back", "close"]
    await office.front.accept(await office.front.arrival("Voltei"))
    assert len(office.front.rows("SELECT FROM conversations")) == 2


async def test_of_two_who_take_a_conversation_at_once_one_does(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/take"
    answers = await asyncio.gather(*(office.admin.ask("POST", path) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_a_conversation_changes_only_in_the_version_that_was_read(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    taken = await office.admin.ask("POST", f"{path}/take", headers={"If-Match": read})
    stale = await office.admin.ask("POST", f"{path}/close", headers={"If-Match": read})
    assert (taken.status_code, stale.status_code) == (200, 412)


async def test_a_conversation_is_assigned_to_a_user_who_may_act_and_by_one_of_two_at_once(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        now = office.front.wiring.clock.now()
        operator, gone = [
            (await users.put(scope, email=f"{name}@padaria.example", role="operator", password_hash="x", now=now))[0]
            for name in ("eva", "max")
        ]
        await users.disable(scope, gone.id, now=now)

    async def assign(to: object, version: int | None) -> httpx2.Response:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return await office.admin.ask("POST", f"{path}/assign", json={"assignee_id": to}, headers=headers)

    assert (await assign(str(operator.id), None)).status_code == 428
    # A viewer, one who was disabled, one there is not.
    for nobody in (office.ids["user_id"], str(gone.id), str(new_id())):
        answer = await assign(nobody, 1)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["where"] == "body.assignee_id"
    answers = await asyncio.gather(*(assign(str(operator.id), 1), assign(None, 1), assign(str(operator.id), 1)))
    assert [answer.status_code for answer in answers].count(412) >= 1
    assert (await office.admin.get(path))["assignee_id"] == str(operator.id)
    found = await office.admin.get("/v1/conversations", params={"assignee_id": str(operator.id)})
    assert [item["id"] for item in found["items"]] == [str(office.conversation_id)]
    version = found["items"][0]["version"]
    same = await assign(str(operator.id), version)
    assert (same.status_code, same.headers["ETag"]) == (200, f'"{version}"')
    assert [row["action"] for row in office.front.rows("SELECT action FROM audit")] == ["assign"]
    events = office.front.rows("SELECT data FROM events WHERE what = 'assigned'")
    assert [event["data"] for event in events] == [{"assignee_id": str(operator.id)}]
    await office.admin.ask("POST", f"{path}/take")
    assert (await office.admin.get(path))["assignee_id"] == str(operator.id)
    back = (await office.admin.ask("POST", f"{path}/give-back")).json()
    assert back["assignee_id"] is None
    closed = (await office.admin.ask("POST", f"{path}/close")).json()
    assert (await assign(None, closed["version"])).status_code == 409


async def test_a_conversation_can_be_found_by_status_and_contact(office: Office) -> None:
    found = await office.admin.get(
        "/v1/conversations", params={"status": "open", "contact_id": office.ids["contact_id"]}
    )
    assert [item["id"] for item in found["items"]] == [str(office.conversation_id)]
    assert (await office.admin.get("/v1/conversations", params={"status": "closed"}))["items"] == []


async def test_a_conversation_shows_how_long_its_window_is_open(office: Office) -> None:
    close_window(office, hours=23)
    shown = (await office.admin.get(path(office)))["window"]
    assert shown["open"] is True
    assert 3500 < shown["seconds_left"] <= 3600
    assert shown["closes_at"].endswith("Z")
    close_window(office)
    closed = await office.admin.get("/v1/conversations")
    assert (closed["items"][0]["window"]["open"], closed["items"][0]["window"]["seconds_left"]) == (False, 0)
    taken = await office.admin.ask("POST", f"{path(office)}/take")
    assert taken.json()["window"]["open"] is False
