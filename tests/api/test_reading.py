from __future__ import annotations

from typing import Any

import pytest

from recado.conversations import contacts
from recado.db.scope import scoped
from tests.api.conftest import TOGETHER
from tests.api.programs import Office

LISTS = (
    "twilio-accounts numbers assistants knowledge contacts conversations users invitations keys".split()  # noqa: SIM905
)


@TOGETHER
@pytest.mark.parametrize("noun", LISTS)
async def test_every_list_has_items_with_ids_and_a_cursor(shared_office: Office, noun: str) -> None:
    page = await shared_office.admin.get(f"/v1/{noun}")
    assert set(page) == {"items", "next"}
    assert len(page["items"]) == 1
    assert isinstance(page["items"][0]["id"], str)
    assert page["next"] is None


async def test_no_answer_holds_a_token_or_a_hash(office: Office) -> None:
    for noun in LISTS:
        text = (await office.admin.ask("GET", f"/v1/{noun}")).text
        assert "token" not in text
        assert "hash" not in text


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(office: Office) -> None:
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await scope.conn.execute(
            "INSERT INTO contacts (owner_id, id, identity_key, address) "
            "SELECT %s, gen_random_uuid(), n, n FROM generate_series(1, 24) n",
            [scope.owner_id],
        )
        everything = [str(contact.id) for contact in await contacts.page(scope, after=None, limit=100)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        page = await office.admin.get("/v1/contacts", params=query)
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == everything
    assert len(seen) == 25


async def test_a_conversation_shows_its_messages_newest_first(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    await office.admin.ask("POST", path, json={"body": "Olá"})
    page = await office.admin.get(path)
    assert [(item["direction"], item["body"]) for item in page["items"]] == [("outbound", "Olá"), ("inbound", "Oi")]
    newest = await office.admin.get(f"/v1/messages/{page['items'][0]['id']}")
    assert newest == page["items"][0] | {"parameters": None}
    first = await office.admin.get(path, params={"limit": 1})
    second = await office.admin.get(path, params={"limit": 1, "cursor": first["next"]})
    assert [*first["items"], *second["items"]] == page["items"]


async def test_events_go_on_where_one_left_off(office: Office) -> None:
    [received] = (await office.admin.get("/v1/events"))["items"]
    assert (received["step"], received["what"]) == ("accept", "received")
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await scope.conn.execute(
            "INSERT INTO events (owner_id, step, what) SELECT %s, 'accept', 'e' || n FROM generate_series(1, 3) n",
            [scope.owner_id],
        )
    first = await office.admin.get("/v1/events", params={"limit": 2, "after": received["id"]})
    second = await office.admin.get("/v1/events", params={"after": first["next"]})
    assert [event["what"] for event in first["items"] + second["items"]] == ["e1", "e2", "e3"]
    third = await office.admin.get("/v1/events", params={"after": second["next"]})
    assert third == {"items": [], "next": second["next"]}


async def test_a_conversation_can_be_found_by_status_and_contact(office: Office) -> None:
    found = await office.admin.get(
        "/v1/conversations", params={"status": "open", "contact_id": office.ids["contact_id"]}
    )
    assert [item["id"] for item in found["items"]] == [str(office.conversation_id)]
    assert (await office.admin.get("/v1/conversations", params={"status": "closed"}))["items"] == []
