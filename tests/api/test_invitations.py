"""Invitations by the API."""

from __future__ import annotations

import asyncio
from uuid import UUID

from recado.db.scope import scoped
from recado.identity import invitations
from recado.identity.callers import at_command_line
from tests.api.browsers import OURS, Browser, join
from tests.api.programs import Office
from tests.api.test_users import NEW
from tests.identity.conftest import PASSWORD
from tests.journey.front import PUBLIC_URL


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
