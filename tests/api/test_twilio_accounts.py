"""Twilio accounts over the API: what is kept, who may refer to the machine, and how a token is changed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from recado.channels.twilio import accounts
from recado.channels.twilio.directory import Directory
from recado.db.scope import scoped
from recado.db.secrets import keyring
from recado.errors import NotFound
from recado.simulator.app import running
from recado.simulator.client import SimulatorClient
from tests.api.browsers import OURS, Browser, join
from tests.api.programs import Office, Program
from tests.channels.examples import inbound
from tests.conftest import SECRET_KEYS
from tests.journey.front import ACCOUNT_SID, NUMBER, TOKEN, message_sid

SID = "AC" + "1" * 32
KEY = {"sid": "SK" + "3" * 32, "secret": "s3cret-of-the-key"}
#: What a removed or lost account has none of.
SECRETS = [f"{name}{kind}" for name in ("auth_token", "secondary_token", "api_key_secret") for kind in ("", "_ref")]


async def change(program: Program, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    """Change the version that there is now."""
    base = path if method == "PATCH" else path.rpartition("/")[0]
    version = (await program.ask("GET", base)).headers["ETag"]
    more = {} if body is None else {"json": body}
    return await program.ask(method, path, headers={"If-Match": version, **headers}, **more)


def opened(office: Office, account_sid: str = ACCOUNT_SID) -> dict[str, str]:
    """The account's secrets as they are stored, in clear."""
    [row] = office.front.rows("SELECT * FROM twilio_accounts WHERE account_sid = %s", account_sid)
    ring = keyring([SECRET_KEYS])
    columns = ("auth_token", "secondary_token", "api_key_secret")
    return {
        column: ring.open(row[column], owner_id=row["owner_id"], row=f"twilio_accounts/{row['id']}/{column}")
        for column in columns
        if row[column]
    }


async def test_an_account_is_added_with_all_that_it_has_and_shows_none_of_its_secrets(office: Office) -> None:
    given = {
        "account_sid": SID,
        "auth_token": "first-token",
        "secondary_token": "second-token",
        "api_key": KEY,
        "public_url": "https://hooks.example.com/own/",
    }
    answer = await office.admin.ask("POST", "/v1/twilio-accounts", json=given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["account_sid"], made["api_key_sid"], made["rotating"]) == (SID, KEY["sid"], True)
    assert made["public_url"] == "https://hooks.example.com/own"
    assert await office.admin.get(answer.headers["Location"]) == made
    assert answer.headers["ETag"] == f'"{made["version"]}"'
    assert opened(office, SID) == {
        "auth_token": "first-token",
        "secondary_token": "second-token",
        "api_key_secret": KEY["secret"],
    }
    for text in (answer.text, (await office.admin.ask("GET", "/v1/audit")).text):
        for secret in ("first-token", "second-token", KEY["secret"]):
            assert secret not in text


async def test_an_account_that_there_is_already_is_not_taken_over_by_adding_it(office: Office) -> None:
    given = {"account_sid": ACCOUNT_SID, "auth_token": "another"}
    answers = [
        await program.ask("POST", "/v1/twilio-accounts", json=given)
        for program in (office.admin, await office.stranger())
    ]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert opened(office) == {"auth_token": TOKEN}


async def test_of_many_who_add_one_account_at_once_one_does(office: Office) -> None:
    given = {"account_sid": SID, "auth_token": "token"}
    answers = await asyncio.gather(*(office.admin.ask("POST", "/v1/twilio-accounts", json=given) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize("reference", ["env:OPENAI_API_KEY", "file:/etc/passwd", "vault:kv/recado#token"])
async def test_no_owners_key_can_have_the_machines_secrets_read_by_a_reference(office: Office, reference: str) -> None:
    before = office.front.rows("SELECT * FROM twilio_accounts")
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    for answer in (
        await office.admin.ask("POST", "/v1/twilio-accounts", json={"account_sid": SID, "auth_token_ref": reference}),
        await office.admin.ask(
            *("POST", "/v1/twilio-accounts"),
            json={"account_sid": SID, "auth_token": "token", "secondary_token_ref": reference},
        ),
        await change(office.admin, "PATCH", path, {"auth_token_ref": reference}),
        await change(office.admin, "PATCH", path, {"api_key": {"sid": KEY["sid"], "secret_ref": reference}}),
        await change(office.admin, "POST", f"{path}/rotate", {"auth_token_ref": reference}),
    ):
        assert answer.status_code == 403, answer.text
        assert "platform's administrators" in answer.json()["detail"]
        assert reference not in answer.text
    # Nor by what looks like a value.
    valued = await change(office.admin, "PATCH", path, {"auth_token": reference})
    assert valued.status_code == 200
    assert opened(office) == {"auth_token": reference}
    [row] = office.front.rows("SELECT * FROM twilio_accounts")
    assert [row[f"{column}_ref"] for column in ("auth_token", "secondary_token", "api_key_secret")] == [None] * 3
    assert len(before) == 1


async def test_a_platform_administrator_may_say_where_an_owners_secrets_are_kept(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADARIA_TOKEN", "kept-elsewhere")
    root = (await join(office.front, "admin", platform=True)).browser
    for_ours = OURS | {"Recado-Owner": str(office.front.owner_id)}
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"

    async def ask(browser: Browser, method: str, path: str, body: dict[str, Any]) -> httpx2.Response:
        etag = (await browser.ask("GET", f"/v1/twilio-accounts/{office.ids['account_id']}", headers=for_ours)).headers
        return await browser.ask(method, path, headers=for_ours | {"If-Match": etag["ETag"]}, json=body)

    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/twilio-accounts", {"account_sid": SID, "auth_token_ref": "env:PADARIA_TOKEN"}),
        ("PATCH", path, {"auth_token_ref": "env:PADARIA_TOKEN"}),
        ("PATCH", path, {"api_key": {"sid": KEY["sid"], "secret_ref": "env:PADARIA_KEY"}}),
        ("POST", f"{path}/rotate", {"auth_token_ref": "vault:kv/padaria#next"}),
    ]
    ana = (await join(office.front, "admin")).browser
    before = office.front.rows("SELECT * FROM twilio_accounts")
    for method, where, body in requests:
        refused = await ask(ana, method, where, body)
        assert refused.status_code == 403, refused.text
        assert "platform's administrators" in refused.json()["detail"]
    assert office.front.rows("SELECT * FROM twilio_accounts") == before
    for method, where, body in requests:
        taken = await ask(root, method, where, body)
        assert taken.status_code in (200, 201), taken.text
        assert "kept-elsewhere" not in taken.text
    [kept] = office.front.rows("SELECT * FROM twilio_accounts WHERE account_sid = %s", ACCOUNT_SID)
    assert (kept["auth_token_ref"], kept["auth_token"]) == ("env:PADARIA_TOKEN", None)
    assert (kept["api_key_secret_ref"], kept["api_key_secret"]) == ("env:PADARIA_KEY", None)
    assert (kept["secondary_token_ref"], kept["secondary_token"]) == ("vault:kv/padaria#next", None)
    [added] = office.front.rows("SELECT * FROM twilio_accounts WHERE account_sid = %s", SID)
    assert (added["owner_id"], added["auth_token_ref"]) == (office.front.owner_id, "env:PADARIA_TOKEN")
    known = await Directory(office.front.wiring.pool, office.front.wiring.keyring).account(SID)
    assert known is not None
    assert known.tokens == ("kept-elsewhere",)
    kinds = office.front.rows("SELECT DISTINCT caller_kind FROM audit WHERE thing = 'twilio_account'")
    assert [entry["caller_kind"] for entry in kinds] == ["platform"]
    nonsense = await ask(root, "PATCH", path, {"auth_token_ref": "what:ever"})
    assert nonsense.status_code == 422


async def test_a_token_is_changed_without_a_gap(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"

    async def taken(token: str) -> bool:
        fields = inbound("text", MessageSid=message_sid(), AccountSid=ACCOUNT_SID, To=NUMBER)
        return (await office.front.post(fields, token=token)).status_code == 200

    begun = await change(office.admin, "POST", f"{path}/rotate", {"auth_token": "new-token"})
    assert (begun.status_code, begun.json()["rotating"]) == (200, True)
    assert [await taken(TOKEN), await taken("new-token")] == [True, True]
    done = await change(office.admin, "POST", f"{path}/finish-rotation")
    assert (done.status_code, done.json()["rotating"]) == (200, False)
    assert opened(office) == {"auth_token": "new-token"}
    assert (await change(office.admin, "POST", f"{path}/finish-rotation")).status_code == 409
    actions = [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")]
    assert actions == ["rotate", "finish_rotation"]


async def test_a_rotation_can_be_given_up(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    await change(office.admin, "POST", f"{path}/rotate", {"auth_token": "new-token"})
    given_up = await change(office.admin, "POST", f"{path}/cancel-rotation")
    assert (given_up.status_code, given_up.json()["rotating"]) == (200, False)
    assert opened(office) == {"auth_token": TOKEN}
    assert (await change(office.admin, "POST", f"{path}/cancel-rotation")).status_code == 409


async def test_an_account_is_changed_by_one_of_two_who_read_the_same(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    version = (await office.admin.ask("GET", path)).headers["ETag"]
    assert (await office.admin.ask("PATCH", path, json={"auth_token": "blind"})).status_code == 428
    assert (await office.admin.ask("POST", f"{path}/rotate", json={"auth_token": "blind"})).status_code == 428
    answers = await asyncio.gather(
        *(
            office.admin.ask("PATCH", path, json={"auth_token": token}, headers={"If-Match": version})
            for token in ("one", "other")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]


async def test_what_an_account_had_is_taken_back_with_null_and_what_is_not_given_stays(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    await change(office.admin, "PATCH", path, {"api_key": KEY, "public_url": "https://hooks.example.com"})
    kept = (await change(office.admin, "PATCH", path, {"public_url": None})).json()
    assert (kept["api_key_sid"], kept["public_url"]) == (KEY["sid"], None)
    back = (await change(office.admin, "PATCH", path, {"api_key": None})).json()
    assert back["api_key_sid"] is None
    assert opened(office) == {"auth_token": TOKEN}


async def test_a_change_to_what_there_is_leaves_no_version_and_no_word_in_the_audit(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    number = f"/v1/numbers/{office.ids['number_id']}"
    first = (await office.admin.ask("GET", path)).headers["ETag"]
    same = await change(office.admin, "PATCH", path, {"auth_token": TOKEN, "api_key": None, "public_url": None})
    assert same.headers["ETag"] == first
    await change(office.admin, "PATCH", number, {"status": "active", "messaging_service_sid": None})
    assert office.front.rows("SELECT * FROM audit") == []


@pytest.mark.parametrize(
    "given",
    [
        {"account_sid": SID},
        {"account_sid": "AC1", "auth_token": "x"},
        {"account_sid": SID, "auth_token": "tab\tbed"},
        {"account_sid": SID, "auth_token": "x", "api_key": {"sid": KEY["sid"]}},
        {"account_sid": SID, "auth_token": "x", "public_url": "https://user:password@example.com"},
        {"account_sid": SID, "auth_token": "x", "public_url": "https://[::1"},
        {"account_sid": SID, "auth_token": "x", "public_url": "https://example.com:99999"},
        {"account_sid": SID, "auth_token": "x", "public_url": "https://example.com/?a=1"},
    ],
)
async def test_what_can_be_no_account_is_refused_and_nothing_stays(office: Office, given: dict[str, Any]) -> None:
    answer = await office.admin.ask("POST", "/v1/twilio-accounts", json=given)
    assert answer.status_code == 422, answer.text
    assert len(office.front.rows("SELECT FROM twilio_accounts")) == 1


async def test_an_account_is_tried_at_twilio_before_it_is_anybodys(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as twilio, SimulatorClient(twilio) as client:
        await client.add_account(SID, "right-token")
        settings = office.front.wiring.settings
        monkeypatch.setitem(settings.__dict__, "twilio_api_url", twilio)
        given = {"account_sid": SID, "auth_token": "invented"}
        stranger = await office.stranger()
        refused = await stranger.ask("POST", "/v1/twilio-accounts", json=given)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["where"] == "body.auth_token"
        assert "invented" not in refused.text
        monkeypatch.setitem(settings.__dict__, "twilio_api_url", "http://127.0.0.1:1")
        more = {"secondary_token": "second", "api_key": {"sid": "SK" + "1" * 32, "secret": "s" * 32}}
        claimed = await stranger.ask("POST", "/v1/twilio-accounts", json=given | more)
        assert (claimed.status_code, claimed.json()["proven"]) == (201, False)
        monkeypatch.setitem(settings.__dict__, "twilio_api_url", twilio)
        proven = await office.admin.ask("POST", "/v1/twilio-accounts", json=given | {"auth_token": "right-token"})
        assert (proven.status_code, proven.json()["proven"]) == (201, True)
        lost = await stranger.get(f"/v1/twilio-accounts/{claimed.json()['id']}")
        assert (lost["removed_why"], lost["proven"]) == ("lost", False)
        [row] = office.front.rows("SELECT * FROM twilio_accounts WHERE id = %s", lost["id"])
        assert {row[name] for name in SECRETS} == {None}
        found = office.front.rows("SELECT id FROM account_by_sid(%s)", SID)
        assert [str(row["id"]) for row in found] == [proven.json()["id"]], "webhooks are the one's who proved it"
        back = await stranger.ask("POST", "/v1/twilio-accounts", json=given | {"auth_token": "right-token"})
        assert back.status_code == 409, "what was proven stays"
        await client.add_number(SID, "whatsapp:+551133330000")
        for address, has in (("whatsapp:+551133330000", True), ("whatsapp:+5511987654321", False)):
            number = {"account_id": proven.json()["id"], "address": address}
            made = await office.admin.ask("POST", "/v1/numbers", json=number)
            assert (made.status_code, made.json()["proven"], made.json()["status"]) == (201, has, "active")
        wrong = await change(office.admin, "PATCH", proven.headers["Location"], {"auth_token": "mistyped"})
        assert wrong.status_code == 422


async def test_a_removed_account_keeps_what_it_has_and_opens_nothing(office: Office) -> None:
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    contacts = await office.admin.get("/v1/contacts")
    for method, to, given in (
        ("POST", f"{path}/rotate", {"auth_token": "second"}),
        ("PATCH", path, {"api_key": {"sid": "SK" + "1" * 32, "secret": "s" * 32}}),
    ):
        assert (await change(office.admin, method, to, given)).status_code == 200
    for _ in range(2):
        gone = await office.admin.ask("DELETE", path)
        assert (gone.status_code, gone.json()["removed_why"]) == (200, "removed")
    [row] = office.front.rows("SELECT * FROM twilio_accounts WHERE id = %s", office.ids["account_id"])
    assert {row[name] for name in SECRETS} == {None}
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        with pytest.raises(NotFound):
            await accounts.row_for_sending(scope, row["id"])
    webhook = await office.front.post(inbound("text", MessageSid=message_sid()), token=TOKEN)
    assert webhook.status_code == 403
    assert (await office.admin.get("/v1/contacts")) == contacts
    number = await office.admin.get(f"/v1/numbers/{office.ids['number_id']}")
    assert number["status"] == "unrouted"
    first = {"number_id": office.ids["number_id"], "to": "whatsapp:+5511987654321", "body": "Oi"}
    assert (await office.admin.ask("POST", "/v1/messages", json=first)).status_code == 422
    assert (await change(office.admin, "PATCH", path, {"public_url": None})).status_code == 409
    given = {"account_id": office.ids["account_id"], "address": "whatsapp:+14155550199"}
    assert (await office.admin.ask("POST", "/v1/numbers", json=given)).status_code == 422
    again = await office.admin.ask(
        "POST", "/v1/twilio-accounts", json={"account_sid": ACCOUNT_SID, "auth_token": TOKEN}
    )
    assert (again.status_code, again.json()["id"]) == (201, office.ids["account_id"])
    routed = await office.admin.ask("POST", "/v1/numbers", json=given | {"address": NUMBER})
    assert (routed.status_code, routed.json()["id"]) == (201, office.ids["number_id"])
    webhook = await office.front.post(inbound("text", MessageSid=message_sid()), token=TOKEN)
    assert webhook.status_code == 200
    actions = office.front.rows("SELECT action FROM audit WHERE thing = 'twilio_account' ORDER BY id")
    assert [row["action"] for row in actions] == ["rotate", "change", "remove", "add"]
