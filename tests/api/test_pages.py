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
