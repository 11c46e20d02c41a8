"""Users by the API."""

from __future__ import annotations

import asyncio

from tests.api.browsers import OURS, Browser, join
from tests.api.programs import Office, Program

NEW = "um outro segredo bom"


async def test_a_user_is_changed_field_by_field_and_each_change_stands_in_the_audit(office: Office) -> None:
    admin, ana = await join(office.front, "admin"), await join(office.front, "viewer")
    path = f"/v1/users/{ana.user.id}"
    for given in (
        {"name": " Ana  Lima"},
        {"role": "operator"},
        {"status": "disabled"},
        {"status": "active", "role": "viewer"},
        {},
        {"name": "Ana Lima", "role": "viewer", "status": "active"},
    ):
        answer = await admin.browser.change(path, given)
        assert answer.status_code == 200
        shown = await admin.browser.get(path)
        assert shown == answer.json()
        expected = {name: " ".join(value.split()) for name, value in given.items()}
        assert {name: shown[name] for name in given} == expected
    rows = office.front.rows("SELECT action, caller_id, data::text FROM audit WHERE thing = 'user' ORDER BY id")
    assert [row["action"] for row in rows] == ["rename", "set_role", "disable", "set_role", "enable"]
    assert {row["caller_id"] for row in rows} == {admin.user.id}
    assert "Lima" not in str(rows)


async def test_disabling_ends_a_users_sessions_at_once_and_enabling_begins_none(office: Office) -> None:
    admin, ana = await join(office.front, "admin"), await join(office.front, "viewer")
    path = f"/v1/users/{ana.user.id}"
    statuses = []
    for status in ("disabled", "active"):
        await admin.browser.change(path, {"status": status})
        statuses.append((await ana.browser.ask("GET", "/v1/users/me")).status_code)
        statuses.append((await Browser(office.front).sign_in(ana.user.email)).status_code)
    assert statuses == [401, 401, 401, 201]


async def test_the_last_active_admin_stays_also_when_two_dismiss_each_other_at_once(office: Office) -> None:
    ana, eva = await join(office.front, "admin"), await join(office.front, "admin")
    first = OURS | {"If-Match": '"1"'}
    answers = await asyncio.gather(
        ana.browser.ask("PATCH", f"/v1/users/{eva.user.id}", json={"role": "viewer"}, headers=first),
        eva.browser.ask("PATCH", f"/v1/users/{ana.user.id}", json={"status": "disabled"}, headers=first),
    )
    # Whoever comes second is refused: as the last one, or as one who is no admin any more.
    assert sorted(answer.status_code for answer in answers)[0] == 200
    assert sorted(answer.status_code for answer in answers)[1] in (401, 403, 409)
    [left] = office.front.rows("SELECT id FROM users WHERE role = 'admin' AND status = 'active'")
    for given in ({"role": "operator"}, {"status": "disabled"}):
        answer = await office.admin.change(f"/v1/users/{left['id']}", given)
        assert answer.status_code == 409
        assert "last active admin" in answer.json()["detail"]


async def test_what_can_not_be_is_said_by_field(office: Office) -> None:
    path = f"/v1/users/{office.ids['user_id']}"
    for given in ({"role": "root"}, {"status": "gone"}, {"name": "a" * 201}):
        answer = await office.admin.change(path, given)
        assert answer.status_code == 422
        assert [error["where"] for error in answer.json()["errors"]] == [f"body.{next(iter(given))}"]
    for unknown in ({"email": "x@x.example"}, {"name": "Ana\u202e"}):
        assert (await office.admin.change(path, unknown)).status_code == 422


async def test_an_operator_manages_nobody(office: Office) -> None:
    rui = (await join(office.front, "operator")).browser
    for method, path in (
        ("GET", "/v1/users"),
        ("PATCH", f"/v1/users/{office.ids['user_id']}"),
        ("POST", "/v1/invitations"),
        ("DELETE", f"/v1/invitations/{office.ids['invitation_id']}"),
    ):
        assert (await rui.ask(method, path, json={"name": "x"})).status_code == 403


async def test_a_dismissed_admins_keys_are_in_the_answer_and_end_when_asked(office: Office) -> None:
    boss, ana = await join(office.front, "admin"), await join(office.front, "admin")
    given = {"name": "CRM", "scopes": ["admin"]}
    made = (await ana.browser.ask("POST", "/v1/keys", json=given)).json()
    assert (made["made_by_kind"], made["made_by_id"], made["made_by_name"]) == (
        "user",
        str(ana.user.id),
        ana.user.email,
    )
    program = Program(office.front, made["key"])
    second = (await program.ask("POST", "/v1/keys", json=given)).json()
    invited = (await program.ask("POST", "/v1/invitations", json={"email": "eva@x.example", "role": "admin"})).json()
    path = f"/v1/users/{ana.user.id}"
    too_soon = await boss.browser.change(path, {"end_keys": True})
    assert too_soon.status_code == 422
    dismissed = (await boss.browser.change(path, {"role": "operator"})).json()
    assert [key["id"] for key in dismissed["keys"]] == [made["id"], second["id"]]
    accepted = {"token": invited["token"], "password": NEW}
    assert (await Browser(office.front).ask("POST", "/v1/invitations/accept", json=accepted)).status_code == 404
    assert (await program.ask("POST", "/v1/keys", json=given)).status_code == 403
    assert (await program.ask("GET", "/v1/keys")).status_code == 200, "a shop's integration goes on"
    ended = (await boss.browser.change(path, {"end_keys": True})).json()
    assert ended["keys"] == []
    listed = {key["id"]: key["revoked_at"] for key in (await boss.browser.get("/v1/keys"))["items"]}
    assert None not in (listed[made["id"]], listed[second["id"]])


async def test_nobody_dismissed_comes_back_by_a_key_that_they_or_a_key_of_theirs_made(office: Office) -> None:
    boss, ana, eva, _ = [await join(office.front, role) for role in ("admin", "admin", "operator", "admin")]
    given = {"name": "CRM", "scopes": ["admin"]}
    key = Program(office.front, (await ana.browser.ask("POST", "/v1/keys", json=given)).json()["key"])
    second = Program(office.front, (await key.ask("POST", "/v1/keys", json=given)).json()["key"])
    path = f"/v1/users/{ana.user.id}"
    for dismissed in ({"status": "disabled"}, {"status": "active", "role": "viewer"}):
        assert (await boss.browser.change(path, dismissed)).status_code == 200
        for program in (key, second):
            for whose, change in (
                (path, {"status": "active"}),
                (path, {"role": "admin"}),
                (f"/v1/users/{eva.user.id}", {"role": "admin"}),
                (f"/v1/users/{boss.user.id}", {"status": "disabled"}),
                (f"/v1/users/{boss.user.id}", {"role": "viewer"}),
            ):
                answer = await program.change(whose, change)
                assert answer.status_code == 403, f"{change}: {answer.text}"
            renamed = await program.change(f"/v1/users/{eva.user.id}", {"name": "Eva"})
            assert renamed.status_code == 200, "a shop's integration goes on"
    listed = {user["id"]: (user["role"], user["status"]) for user in (await boss.browser.get("/v1/users"))["items"]}
    assert listed[str(ana.user.id)] == ("viewer", "active")
    assert (listed[str(boss.user.id)], listed[str(eva.user.id)]) == (("admin", "active"), ("operator", "active"))
    answer = await office.admin.change(path, {"role": "operator"})
    assert answer.status_code == 200, "a key whose maker stands"
