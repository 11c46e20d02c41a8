"""Owners by the API: what platform administrators do with all of them, and owners' own people can't."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg

from recado.identity import plans
from tests.api.browsers import OURS, join
from tests.api.programs import Office
from tests.journey.front import open_front


async def test_no_owner_takes_the_name_by_which_the_platform_will_look_for_another(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    own = (await office.admin.get("/v1/owners/me"))["name"]
    admin = (await join(office.front, "admin")).browser
    for path in ("/v1/owners/me", f"/v1/owners/{office.front.owner_id}"):
        for caller, status in ((office.admin, 401), (admin, 403)):
            assert (await caller.ask("PATCH", path, json={"name": "Clínica Sul"})).status_code == status
    made = await root.browser.ask("POST", "/v1/owners", json={"name": "Clínica Sul"})
    assert made.status_code == 201
    assert made.json()["id"] != str(office.front.owner_id)
    assert (await office.admin.get("/v1/owners/me"))["name"] == own


async def test_a_platform_administrator_makes_suspends_and_names_owners(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    made = await root.browser.ask("POST", "/v1/owners", json={"name": "Clínica Sul"})
    found = await root.browser.ask("POST", "/v1/owners", json={"name": " Clínica  Sul"})
    assert (made.status_code, found.status_code) == (201, 200)
    assert made.json() == found.json()
    path = f"/v1/owners/{made.json()['id']}"
    async with await office.front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", messages=100)
    listed = await root.browser.get("/v1/plans")
    assert [(plan["name"], plan["messages"]) for plan in listed["items"]] == [("small", 100)]
    for given in ({"status": "suspended"}, {"status": "active", "plan": "small"}, {"plan": "small"}, {"plan": None}):
        changed = await root.browser.change(path, given)
        assert changed.status_code == 200
        assert (await root.browser.get(path)) == changed.json()
        assert changed.json() == made.json() | given | {"version": changed.json()["version"]}
    wrong = await root.browser.change(path, {"name": "Outro", "plan": "huge"})
    assert wrong.status_code == 422
    assert (await root.browser.get(path))["name"] == "Clínica Sul", "all of a change, or nothing"
    taken = (await office.admin.get("/v1/owners/me"))["name"]
    assert (await root.browser.change(path, {"name": taken})).status_code == 409
    assert (await root.browser.change(path, {"name": "Clínica Norte"})).json()["name"] == "Clínica Norte"
    rows = office.front.rows("SELECT action, caller_kind, caller_id, owner_id::text FROM audit ORDER BY id")
    assert [row["action"] for row in rows] == ["add", "suspend", "activate", "set_plan", "set_plan", "rename"]
    assert {(row["caller_kind"], row["caller_id"], row["owner_id"]) for row in rows} == {
        ("platform", root.user.id, made.json()["id"])
    }
    first = await root.browser.get("/v1/owners", params={"limit": 1})
    second = await root.browser.get("/v1/owners", params={"limit": 1, "cursor": first["next"]})
    assert [item["id"] for item in first["items"] + second["items"]] == [str(office.front.owner_id), made.json()["id"]]
    assert second["next"] is None
    assert (await root.browser.ask("GET", f"/v1/owners/{office.ids['key_id']}")).status_code == 404


async def test_an_owner_is_added_once_for_a_key_and_the_answer_is_the_administrators_alone(office: Office) -> None:
    root, other = [(await join(office.front, "admin", platform=True)).browser for _ in range(2)]
    key, given = OURS | {"Idempotency-Key": "padaria-17"}, {"name": "Clínica Sul"}
    answers = await asyncio.gather(*(root.ask("POST", "/v1/owners", json=given, headers=key) for _ in range(6)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    made = answers[0].json()
    for answer in answers:
        assert (answer.headers["ETag"], answer.headers["Location"]) == ('"1"', f"/v1/owners/{made['id']}")
    assert (await root.ask("POST", "/v1/owners", json={"name": "Outra"}, headers=key)).status_code == 422
    found = await other.ask("POST", "/v1/owners", json=given, headers=key)
    assert (found.status_code, found.json(), found.headers["ETag"]) == (200, made, '"1"')
    assert "Location" not in found.headers
    # What has changed since is not in the answer: it is that of the request, not the owner as it is.
    await other.change(f"/v1/owners/{made['id']}", {"status": "suspended"})
    again = await root.ask("POST", "/v1/owners", json=given, headers=key)
    assert (again.status_code, again.text) == (201, answers[0].text)
    kept = office.front.rows("SELECT owner_id, answer FROM idempotency_keys")
    assert [row["owner_id"] for row in kept] == [None, None]
    assert made["id"].encode() not in b"".join(bytes(row["answer"]) for row in kept)
    assert len(office.front.rows("SELECT FROM audit WHERE action = 'add'")) == 1
    assert len(office.front.rows("SELECT FROM owners")) == 2


async def test_a_key_means_one_request_for_each_owner_and_another_for_none(office: Office) -> None:
    root = (await join(office.front, "admin", platform=True)).browser
    headers = OURS | {"Idempotency-Key": "1", "Recado-Owner": str(office.front.owner_id)}
    taken = await root.ask("POST", f"/v1/conversations/{office.conversation_id}/take", headers=headers)
    made = await root.ask("POST", "/v1/owners", json={"name": "Clínica Sul"}, headers=headers)
    assert (taken.status_code, made.status_code) == (200, 201)
    again = await root.ask("POST", "/v1/owners", json={"name": "Clínica Sul"}, headers=headers)
    assert (again.status_code, again.text) == (201, made.text)
    rows = office.front.rows("SELECT owner_id FROM idempotency_keys ORDER BY owner_id NULLS LAST")
    assert [row["owner_id"] for row in rows] == [office.front.owner_id, None]
    # A day later the key is as good as new, and the owner is found.
    office.front.rows("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' RETURNING id")
    late = await root.ask("POST", "/v1/owners", json={"name": "Clínica Sul"}, headers=headers)
    assert (late.status_code, late.json()) == (200, made.json())


async def test_a_suspended_owner_is_suspended_for_its_programs_at_once(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    await root.browser.change(f"/v1/owners/{office.front.owner_id}", {"status": "suspended"})
    sent = await office.admin.ask("POST", f"/v1/conversations/{office.conversation_id}/messages", json={"body": "Oi"})
    assert sent.status_code == 409


async def test_an_owners_people_open_no_route_of_the_platform(office: Office) -> None:
    admin = (await join(office.front, "admin")).browser
    for method, path in (
        ("GET", "/v1/owners"),
        ("POST", "/v1/owners"),
        ("GET", f"/v1/owners/{office.front.owner_id}"),
        ("PATCH", f"/v1/owners/{office.front.owner_id}"),
        ("GET", "/v1/plans"),
    ):
        assert (await admin.ask(method, path, json={"name": "Nosso"})).status_code == 403
    assert len(office.front.rows("SELECT FROM owners")) == 1


async def test_a_platform_administrator_acts_for_the_owner_that_they_name(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    other = await (await office.stranger()).get("/v1/owners/me")
    for_ours = OURS | {"Recado-Owner": str(office.front.owner_id)}
    path = f"/v1/conversations/{office.conversation_id}"
    taken = await root.browser.ask("POST", f"{path}/take", headers=for_ours | {"Idempotency-Key": "1"})
    again = await root.browser.ask("POST", f"{path}/take", headers=for_ours | {"Idempotency-Key": "1"})
    assert (taken.status_code, again.text) == (200, taken.text)
    elsewhere = await root.browser.ask("GET", path, headers={"Recado-Owner": other["id"]})
    assert elsewhere.status_code == 404
    [entry] = office.front.rows("SELECT caller_kind, caller_id, owner_id FROM audit WHERE action = 'take'")
    assert (entry["caller_kind"], entry["caller_id"]) == ("platform", root.user.id)
    assert entry["owner_id"] == office.front.owner_id
    named = await root.browser.ask("GET", "/v1/owners/me", headers=for_ours)
    assert named.json()["id"] == str(office.front.owner_id)


async def test_a_platform_administrator_who_names_no_owner_is_asked_for_one(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    for named in ({}, {"Recado-Owner": "x"}, {"Recado-Owner": office.ids["key_id"]}):
        for method, path in (("GET", "/v1/contacts"), ("POST", "/v1/keys")):
            answer = await root.browser.ask(method, path, headers=OURS | named, json={"name": "x", "scopes": ["read"]})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["where"] == "header.Recado-Owner"


async def test_a_platform_administrator_has_sessions_like_anybody(office: Office) -> None:
    root = await join(office.front, "admin", platform=True)
    assert (await root.browser.get("/v1/users/me"))["owner_id"] is None
    assert [item["current"] for item in (await root.browser.get("/v1/sessions"))["items"]] == [True]
    assert (await root.browser.ask("DELETE", "/v1/sessions/current")).status_code == 204
    assert (await root.browser.ask("GET", "/v1/owners")).status_code == 401
    [entry] = office.front.rows("SELECT action, owner_id FROM audit")
    assert (entry["action"], entry["owner_id"]) == ("sign_out", None)


async def test_a_process_that_nobody_signs_in_to_connects_with_no_rights_over_all_owners(
    office: Office, tmp_path: Path
) -> None:
    def connected() -> int:
        with psycopg.connect(office.front.database_url) as conn:
            found = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s",
                ["recado"],
            ).fetchone()
        assert found is not None
        return int(found[0])

    ana = await join(office.front, "viewer")
    async with open_front(office.front.database_url, tmp_path, found=False) as front:
        assert isinstance(front.app.state.platform.get_stats()["pool_size"], int)
        reader = await office.program("read")
        await type(reader)(front, reader.key).get("/v1/contacts")
        await type(ana.browser)(front, ana.browser.token).get("/v1/contacts")
        assert front.app.state.platform.get_stats()["pool_size"] == 0
        before = connected()
        assert (await type(ana.browser)(front).sign_in(ana.user.email)).status_code == 201
        assert 0 < front.app.state.platform.get_stats()["pool_size"] <= 4
        assert connected() > before
