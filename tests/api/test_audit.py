"""The audit over the API."""

from __future__ import annotations

from recado.db.scope import scoped
from recado.identity import audit
from recado.identity.callers import at_command_line
from tests.api.browsers import join
from tests.api.programs import Office


async def test_the_audit_is_read_newest_first_and_page_by_page_by_admins_only(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    for action in ("take", "give-back", "take", "close"):
        await office.admin.ask("POST", f"{path}/{action}", json={"reason": "teste"})
    seen, cursor = [], None
    for _ in range(3):
        page = await office.admin.get("/v1/audit", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [item["action"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["close", "take", "give_back", "take"]
    [newest] = (await office.admin.get("/v1/audit", params={"limit": 1}))["items"]
    assert (newest["caller_kind"], newest["caller_name"], newest["thing_id"], newest["data"]) == (
        *("key", "admin", str(office.conversation_id), {"reason": "teste"}),
    )
    assert (await (await office.program("write")).ask("GET", "/v1/audit")).status_code == 403
    assert (await (await office.stranger()).get("/v1/audit"))["items"] == []


async def test_a_cursor_of_another_list_is_no_cursor_of_the_audit(office: Office) -> None:
    answer = await office.admin.ask("GET", "/v1/audit", params={"cursor": "AZOMXm86fBGfCy9KjR5bdw"})
    assert answer.status_code == 422


async def test_a_platform_administrator_reads_what_was_done_everywhere(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    async with await office.front.wiring.connect("recado_platform") as conn, conn.transaction():
        await audit.record(conn, at_command_line("maria"), "rotate", "secrets", None)
    await office.admin.ask("POST", f"/v1/conversations/{office.conversation_id}/take")
    other = await office.stranger()
    await other.ask("POST", "/v1/keys", json={"name": "x", "scopes": ["read"]})
    path, ours = "/v1/platform/audit", str(office.front.owner_id)
    first = await root.browser.get(path, params={"limit": 2})
    rest = await root.browser.get(path, params={"limit": 2, "cursor": first["next"]})
    seen = [(item["action"], item["thing"]) for item in first["items"] + rest["items"]]
    assert (seen[0], seen[-2:]) == (("add", "api_key"), [("take", "conversation"), ("rotate", "secrets")])
    [rotated] = (await root.browser.get(path, params={"platform_only": True}))["items"]
    assert (rotated["thing"], rotated["caller_name"], rotated["owner_id"]) == ("secrets", "maria", None)
    [taken] = (await root.browser.get(path, params={"owner_id": ours}))["items"]
    assert (taken["action"], taken["owner_id"]) == ("take", ours)
    admin = (await join(office.front, "admin")).browser
    assert (await admin.ask("GET", path)).status_code == 403
    assert (await office.admin.ask("GET", path)).status_code == 401


async def test_who_runs_the_installation_has_no_name_in_an_owners_audit(office: Office) -> None:
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await audit.record(scope, at_command_line("root-of-the-operator"), "change", "plan", "small")
    answer = await office.admin.ask("GET", "/v1/audit")
    [entry] = answer.json()["items"]
    assert (entry["caller_kind"], entry["caller_name"]) == ("cli", None)
    assert "root-of-the-operator" not in answer.text
