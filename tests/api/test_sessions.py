from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recado.identity import passwords
from recado.identity.sign_in import OF_ADDRESS
from tests.api.browsers import COOKIE, OURS, Browser, join
from tests.api.programs import Office
from tests.identity.conftest import PASSWORD
from tests.journey.front import open_front
from tests.product import INBOUND, OUTBOUND

WRONG = "not the password"
NEW = "um outro segredo bom"


async def test_signing_in_sets_a_cookie_that_lets_in_and_is_shown_nowhere_else(office: Office) -> None:
    ana = await join(office.front, "operator")
    answer = await Browser(office.front).sign_in(ana.user.email.upper())
    assert answer.status_code == 201
    name, _, rest = answer.headers.get_list("set-cookie")[0].partition("=")
    token, *attributes = (part.strip() for part in rest.split(";"))
    assert name == COOKIE
    assert set(attributes) == {"HttpOnly", "Max-Age=86400", "Path=/", "SameSite=lax", "Secure"}
    assert token not in answer.text
    assert "no-store" in answer.headers["Cache-Control"]
    signed_in = await Browser(office.front, token).get("/v1/sessions/current")
    assert signed_in == answer.json()
    assert (signed_in["user"]["id"], signed_in["user"]["owner_id"]) == (str(ana.user.id), str(office.front.owner_id))


async def test_the_session_that_a_browser_came_with_ends_and_no_planted_token_is_taken_over(office: Office) -> None:
    ana = await join(office.front, "viewer")
    answer = await ana.browser.sign_in(ana.user.email)
    after = ana.browser.after(answer)
    assert after.token != ana.browser.token
    assert (await ana.browser.ask("GET", "/v1/users/me")).status_code == 401
    assert (await after.ask("GET", "/v1/users/me")).status_code == 200
    planted = Browser(office.front, "rs_" + "A" * 43)
    assert planted.after(await planted.sign_in(ana.user.email)).token != planted.token
    assert (await planted.ask("GET", "/v1/users/me")).status_code == 401


async def test_wrong_unknown_and_disabled_hear_the_same_and_later_all_hear_when_to_try_again(office: Office) -> None:
    ana, rui = await join(office.front, "viewer"), await join(office.front, "viewer")
    admin = await join(office.front, "admin")
    await admin.browser.change(f"/v1/users/{rui.user.id}", {"status": "disabled"})
    heard = []
    for number, (email, password) in enumerate(
        [
            (ana.user.email, WRONG),
            ("nobody@padaria.example", PASSWORD),
            (rui.user.email, PASSWORD),
            ("no address", PASSWORD),
        ]
    ):
        browser = Browser(office.front, client=f"198.51.100.{number}")
        answers = [await browser.sign_in(email, password) for _ in range(OF_ADDRESS.free + 2)]
        heard.append([(answer.status_code, answer.text, set(answer.headers)) for answer in answers])
        assert 28 <= int(answers[-1].headers["Retry-After"]) <= 30
    assert heard[0] == heard[1] == heard[2] == heard[3]
    assert [status for status, _, _ in heard[0]] == [401] * OF_ADDRESS.free + [429, 429]
    right = await Browser(office.front, client="198.51.100.99").sign_in(ana.user.email)
    assert right.status_code == 429
    assert "Set-Cookie" not in right.headers


async def test_whoever_tries_without_end_is_refused_at_the_edge_and_nobody_else(office: Office, tmp_path: Path) -> None:
    ana = await join(office.front, "viewer")
    async with open_front(office.front.database_url, tmp_path, found=False, limits="ip=4/day") as front:
        for path, body in (
            ("/v1/sessions", {"email": "x@x.example", "password": WRONG}),
            ("/v1/invitations/accept", {"token": "ri_" + "A" * 43, "password": NEW}),
        ):
            stranger = Browser(front, client="198.51.100.7" if path.endswith("ions") else "198.51.100.8")
            statuses = [(await stranger.ask("POST", path, json=body)).status_code for _ in range(6)]
            assert statuses[:3] == [404 if "accept" in path else 401] * 3
            assert statuses[4:] == [429, 429]
        assert (await Browser(front, client="198.51.100.9").sign_in(ana.user.email)).status_code == 201
        # Of an address that is shut out, too, whoever is right comes in.
        assert (await Browser(front, client="198.51.100.8").sign_in(ana.user.email)).status_code == 201


async def test_the_cookie_of_a_known_browser_lets_its_user_sign_in_while_the_address_is_locked(office: Office) -> None:
    ana = await join(office.front, "viewer")
    signed_in = await Browser(office.front).sign_in(ana.user.email)
    _, known = signed_in.headers.get_list("set-cookie")
    pair, *attributes = known.split("; ")
    assert pair.startswith("__Host-recado-browser=rb_")
    assert set(attributes) == {"HttpOnly", "Secure", "SameSite=strict", "Path=/", f"Max-Age={180 * 24 * 3600}"}
    assert pair.partition("=")[2] not in signed_in.text
    for guess in range(6):
        await Browser(office.front, client=f"198.51.100.{guess}").sign_in(ana.user.email, "not the password")
    locked = await Browser(office.front).sign_in(ana.user.email)
    again = await Browser(office.front).sign_in(ana.user.email, headers=OURS | {"Cookie": pair})
    assert (locked.status_code, again.status_code) == (429, 201)
    assert pair not in str(again.headers.get_list("set-cookie")), "a new token at every sign-in"
    opened = await Browser(office.front).ask("GET", "/v1/users/me", headers=OURS | {"Cookie": pair})
    assert opened.status_code == 401, "it opens nothing by itself"


async def test_a_flood_of_sign_ins_is_refused_at_once_and_counts_against_nobody(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = await join(office.front, "viewer")
    monkeypatch.setattr(passwords, "PLACES", 3)
    strangers = [Browser(office.front, client=f"198.51.100.{number}") for number in range(12)]
    answers = await asyncio.gather(
        *(stranger.sign_in(f"{number}@x.example", WRONG) for number, stranger in enumerate(strangers))
    )
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= 6
    assert all(answer.headers["Retry-After"] == "5" for answer in refused)
    [counted] = office.front.rows("SELECT count(*) AS subjects FROM sign_in_failures")
    assert counted["subjects"] == 2 * (12 - len(refused)), "an address and a source for each that was tried"
    assert (await Browser(office.front).sign_in(ana.user.email)).status_code == 201, "and there is room again"


async def test_whatever_takes_a_password_is_refused_while_there_is_no_room(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = await join(office.front, "viewer")
    monkeypatch.setattr(passwords, "PLACES", 0)
    change = {"password": PASSWORD, "new_password": NEW}
    for answer in (
        await Browser(office.front).sign_in(ana.user.email),
        await Browser(office.front).ask(
            "POST", "/v1/invitations/accept", json={"token": "ri_" + "A" * 43, "password": NEW}
        ),
        await ana.browser.ask("PUT", "/v1/users/me/password", json=change),
    ):
        assert (answer.status_code, answer.json()["title"]) == (503, "Unavailable")


async def test_signing_out_ends_the_session_and_takes_the_cookie_away(office: Office) -> None:
    ana = await join(office.front, "viewer")
    answer = await ana.browser.ask("DELETE", "/v1/sessions/current")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Set-Cookie"].startswith(f'{COOKIE}=""')
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert (await ana.browser.ask("GET", "/v1/sessions/current")).status_code == 401
    assert (await ana.browser.ask("DELETE", "/v1/sessions/current")).status_code == 401


async def test_people_see_and_end_their_own_sessions_and_no_others(office: Office) -> None:
    ana, rui = await join(office.front, "viewer"), await join(office.front, "admin")
    second = ana.browser.after(await Browser(office.front).sign_in(ana.user.email))
    third = ana.browser.after(await Browser(office.front).sign_in(ana.user.email))
    page = await ana.browser.get("/v1/sessions", params={"limit": 2})
    rest = await ana.browser.get("/v1/sessions", params={"limit": 2, "cursor": page["next"]})
    listed = page["items"] + rest["items"]
    assert [item["current"] for item in listed] == [True, False, False]
    assert rest["next"] is None
    assert (await rui.browser.ask("DELETE", f"/v1/sessions/{listed[1]['id']}")).status_code == 404
    assert (await ana.browser.ask("DELETE", f"/v1/sessions/{listed[1]['id']}")).status_code == 204
    statuses = [(await browser.ask("GET", "/v1/users/me")).status_code for browser in (ana.browser, second, third)]
    assert statuses == [200, 401, 200]
    assert (await ana.browser.ask("DELETE", "/v1/sessions")).json() == {"ended": 2}
    statuses = [(await person.ask("GET", "/v1/users/me")).status_code for person in (ana.browser, third, rui.browser)]
    assert statuses == [401, 401, 200]


async def test_another_password_ends_all_sessions_and_begins_one(office: Office) -> None:
    ana = await join(office.front, "viewer")
    other = ana.browser.after(await Browser(office.front).sign_in(ana.user.email))
    path = "/v1/users/me/password"
    wrong = await ana.browser.ask("PUT", path, json={"password": WRONG, "new_password": NEW})
    weak = await ana.browser.ask("PUT", path, json={"password": PASSWORD, "new_password": "password1234"})
    assert (wrong.status_code, weak.status_code) == (401, 422)
    changed = await ana.browser.ask("PUT", path, json={"password": PASSWORD, "new_password": NEW})
    assert changed.status_code == 200
    after = ana.browser.after(changed)
    statuses = [(await browser.ask("GET", "/v1/users/me")).status_code for browser in (ana.browser, other, after)]
    assert statuses == [401, 401, 200]
    assert (await Browser(office.front).sign_in(ana.user.email, NEW)).status_code == 201


async def test_a_session_ends_when_nobody_used_it_for_two_hours(office: Office) -> None:
    ana = await join(office.front, "viewer")
    statuses = []
    for pause in ("119 minutes", "119 minutes", "2 hours"):
        office.front.rows("UPDATE sessions SET last_seen_at = last_seen_at - %s::interval RETURNING id", pause)
        statuses.append((await ana.browser.ask("GET", "/v1/users/me")).status_code)
    assert statuses == [200, 200, 401]


async def test_a_session_ends_a_day_after_the_sign_in_however_much_it_is_used(office: Office) -> None:
    ana = await join(office.front, "viewer")
    statuses = []
    for later in ("1439 minutes", "1 minute"):
        office.front.rows("UPDATE sessions SET created_at = created_at - %s::interval RETURNING id", later)
        statuses.append((await ana.browser.ask("GET", "/v1/users/me")).status_code)
    assert statuses == [200, 401]


async def test_what_people_do_with_their_sessions_stands_in_the_audit_without_a_token(office: Office) -> None:
    ana = await join(office.front, "viewer")
    first = ana.browser.after(await Browser(office.front).sign_in(ana.user.email))
    second = first.after(
        await first.ask("PUT", "/v1/users/me/password", json={"password": PASSWORD, "new_password": NEW})
    )
    await second.ask("DELETE", "/v1/sessions/current")
    third = first.after(await Browser(office.front).sign_in(ana.user.email, NEW))
    await third.ask("DELETE", "/v1/sessions")
    rows = office.front.rows(
        "SELECT caller_kind, caller_id, owner_id, action, audit::text AS text FROM audit ORDER BY id"
    )
    assert [row["action"] for row in rows] == ["sign_in", "set_password", "sign_out", "sign_in", "end_sessions"]
    assert {(row["caller_kind"], row["caller_id"], row["owner_id"]) for row in rows} == {
        ("user", ana.user.id, office.front.owner_id)
    }
    for browser in (first, second, third):
        assert str(browser.token) not in str(rows)


async def test_a_cookie_is_no_way_to_post_webhooks(office: Office) -> None:
    admin = await join(office.front, "admin")
    for path in (INBOUND, OUTBOUND):
        answer = await admin.browser.ask("POST", path, data={"AccountSid": "AC" + "0" * 32, "Body": "Oi"})
        assert answer.status_code == 403
    assert len(office.front.stored()) == 1
