"""Users and invitations by the API."""

from __future__ import annotations

import asyncio
from uuid import UUID

from recado.db.scope import scoped
from recado.identity import invitations
from recado.identity.callers import at_command_line
from tests.api.browsers import OURS, Browser, join
from tests.api.programs import Office, Program
from tests.identity.conftest import PASSWORD
from tests.journey.front import PUBLIC_URL

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


async def test_an_invited_person_chooses_name_and_password_and_signs_in(office: Office) -> None:
    admin = await join(office.front, "admin")
    answer = await admin.browser.ask("POST", "/v1/invitations", json={"email": "Eva@x.example", "role": "operator"})
    assert answer.status_code == 201
    invited = answer.json()
    # What an answer says that this installation serves, it serves.
    for ours in (text for text in invited.values() if isinstance(text, str) and text.startswith(PUBLIC_URL)):
        assert (await admin.browser.ask("GET", ours.removeprefix(PUBLIC_URL))).status_code == 200
    listed = (await admin.browser.ask("GET", "/v1/invitations")).text
    assert invited["id"] in listed
    assert invited["token"] not in listed
    browser = Browser(office.front)
    given = {"token": invited["token"], "name": "Eva Lima", "password": NEW}
    weak = await browser.ask("POST", "/v1/invitations/accept", json={**given, "password": "password1234"})
    accepted = await browser.ask("POST", "/v1/invitations/accept", json=given)
    again = await browser.ask("POST", "/v1/invitations/accept", json=given)
    assert (weak.status_code, accepted.status_code, again.status_code) == (422, 200, 404)
    shown = accepted.json()
    assert (shown["email"], shown["name"], shown["role"]) == ("eva@x.example", "Eva Lima", "operator")
    signed_in = await browser.sign_in("eva@x.example", NEW)
    assert signed_in.json()["user"]["owner_id"] == str(office.front.owner_id)
    rows = office.front.rows("SELECT action, audit::text FROM audit WHERE thing = 'invitation' ORDER BY id")
    assert [row["action"] for row in rows] == ["add", "accept"]
    assert invited["token"] not in str(rows)


async def test_a_revoked_invitation_is_none_and_says_no_more_than_an_invented_one(office: Office) -> None:
    invited = (
        await office.admin.ask("POST", "/v1/invitations", json={"email": "eva@x.example", "role": "viewer"})
    ).json()
    ended = await office.admin.ask("DELETE", f"/v1/invitations/{invited['id']}")
    again = await office.admin.ask("DELETE", f"/v1/invitations/{invited['id']}")
    assert ended.status_code == again.status_code == 200
    assert ended.json()["revoked_at"] == again.json()["revoked_at"] is not None
    actions = [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")]
    assert actions == ["add", "revoke"], "what changes nothing stands there only once"
    answers = [
        await Browser(office.front).ask("POST", "/v1/invitations/accept", json={"token": token, "password": NEW})
        for token in (invited["token"], "ri_" + "A" * 43, "x")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}


async def test_an_api_key_gives_no_user_who_exists_another_password(office: Office) -> None:
    admin, ana = await join(office.front, "admin"), await join(office.front, "viewer")
    given = {"email": ana.user.email.upper(), "role": "viewer"}
    refused = await office.admin.ask("POST", "/v1/invitations", json=given)
    assert (refused.status_code, "API key" in refused.json()["detail"]) == (403, True)
    of_new = (await office.admin.ask("POST", "/v1/invitations", json=given | {"email": "eva@x.example"})).json()
    assert (of_new["resets_password"], of_new["invited_by_kind"]) == (False, "key")
    assert of_new["invited_by_id"] == office.ids["key_id"]
    by_admin = (await admin.browser.ask("POST", "/v1/invitations", json=given)).json()
    assert (by_admin["resets_password"], by_admin["invited_by_kind"]) == (True, "user")
    assert by_admin["invited_by_id"] == str(admin.user.id)
    rows = office.front.rows(
        "SELECT caller_id, data FROM audit WHERE thing = 'invitation' AND action = 'add' ORDER BY id"
    )
    assert rows == [
        {"caller_id": UUID(office.ids["key_id"]), "data": {"role": "viewer", "resets_password": False}},
        {"caller_id": admin.user.id, "data": {"role": "viewer", "resets_password": True}},
    ]
    listed = (await office.admin.get("/v1/invitations"))["items"]
    assert [item["invited_by_id"] for item in listed] == [None, of_new["invited_by_id"], by_admin["invited_by_id"]]
    assert listed[0]["invited_by_kind"] == "cli"


async def test_an_address_that_is_invited_twice_at_once_is_refused_once(office: Office) -> None:
    given = {"email": "eva@x.example", "role": "viewer"}
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await invitations.make(
            scope, email=given["email"], role="viewer", by=at_command_line("x"), now=office.front.wiring.clock.now()
        )
        second = asyncio.create_task(office.admin.ask("POST", "/v1/invitations", json=given))
        while not office.front.rows(waiting):
            await asyncio.sleep(0.02)
    assert (await second).status_code == 409
    answers = await asyncio.gather(*(office.admin.ask("POST", "/v1/invitations", json=given) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    rows = office.front.rows("SELECT FROM invitations WHERE email = 'eva@x.example' AND revoked_at IS NULL")
    assert len(rows) == 1


async def test_an_invitation_repeated_with_its_key_is_one_invitation(office: Office) -> None:
    headers = {"Idempotency-Key": "eva"}
    answers = [
        await office.admin.ask(
            "POST", "/v1/invitations", json={"email": "eva@x.example", "role": "viewer"}, headers=headers
        )
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(office.front.rows("SELECT FROM invitations WHERE email = 'eva@x.example'")) == 1


async def test_an_operator_manages_nobody(office: Office) -> None:
    rui = (await join(office.front, "operator")).browser
    for method, path in (
        ("GET", "/v1/users"),
        ("PATCH", f"/v1/users/{office.ids['user_id']}"),
        ("POST", "/v1/invitations"),
        ("DELETE", f"/v1/invitations/{office.ids['invitation_id']}"),
    ):
        assert (await rui.ask(method, path, json={"name": "x"})).status_code == 403


async def test_an_address_that_another_owner_has_is_neither_told_nor_taken(office: Office) -> None:
    other = await (await office.stranger()).get("/v1/owners/me")
    rui = await join(office.front, "viewer", owner_id=other["id"])
    root = await join(office.front, "admin", platform=True)
    told = []
    for email in (rui.user.email, root.user.email, "free@x.example"):
        invited = await office.admin.ask("POST", "/v1/invitations", json={"email": email, "role": "admin"})
        given = {"token": invited.json()["token"], "password": NEW}
        answer = await Browser(office.front).ask("POST", "/v1/invitations/accept", json=given, headers=OURS)
        shown = {name: value for name, value in invited.json().items() if name in ("role", "resets_password")}
        told.append((invited.status_code, shown, answer.status_code, answer.json()["role"], answer.json()["version"]))
        signed_in = await Browser(office.front).sign_in(email, NEW)
        assert signed_in.json()["user"]["owner_id"] == str(office.front.owner_id)
    assert told[0] == told[1] == told[2] == (201, {"role": "admin", "resets_password": False}, 200, "admin", 1)
    for whose, owner_id in ((rui, other["id"]), (root, None)):
        assert await whose.browser.get("/v1/users/me") is not None, "their session goes on"
        signed_in = await Browser(office.front).sign_in(whose.user.email, PASSWORD)
        assert (signed_in.status_code, signed_in.json()["user"]["owner_id"]) == (201, owner_id)


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


async def test_a_revoked_keys_keys_are_in_the_answer_and_end_when_asked(office: Office) -> None:
    given = {"name": "CRM", "scopes": ["admin"]}
    made = (await office.admin.ask("POST", "/v1/keys", json=given)).json()
    assert (made["made_by_kind"], made["made_by_id"]) == ("key", office.ids["key_id"])
    boss = await join(office.front, "admin")
    path = f"/v1/keys/{office.ids['key_id']}"
    assert [key["id"] for key in (await boss.browser.ask("DELETE", path)).json()["keys"]] == [made["id"]]
    assert (await boss.browser.ask("DELETE", path + "?end_keys=true")).json()["keys"] == []
