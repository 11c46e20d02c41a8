from __future__ import annotations

from tests.api.browsers import join
from tests.api.programs import Office


async def test_a_revoked_key_stays_in_the_list_with_its_end(office: Office) -> None:
    made = (await office.admin.ask("POST", "/v1/keys", json={"name": "CRM", "scopes": ["read"]})).json()
    ended = await office.admin.ask("DELETE", f"/v1/keys/{made['id']}")
    again = await office.admin.ask("DELETE", f"/v1/keys/{made['id']}")
    assert ended.status_code == again.status_code == 200
    assert ended.json()["revoked_at"] == again.json()["revoked_at"] is not None


async def test_a_revoked_keys_keys_are_in_the_answer_and_end_when_asked(office: Office) -> None:
    given = {"name": "CRM", "scopes": ["admin"]}
    made = (await office.admin.ask("POST", "/v1/keys", json=given)).json()
    assert (made["made_by_kind"], made["made_by_id"]) == ("key", office.ids["key_id"])
    boss = await join(office.front, "admin")
    path = f"/v1/keys/{office.ids['key_id']}"
    assert [key["id"] for key in (await boss.browser.ask("DELETE", path)).json()["keys"]] == [made["id"]]
    assert (await boss.browser.ask("DELETE", path + "?end_keys=true")).json()["keys"] == []
