"""Webhooks by the API: shown once, changed by version, disabled, tried, replayed, and nobody else's business."""

from __future__ import annotations

import pytest
from standardwebhooks import Webhook

from recado.webhooks.endpoints import MOST
from tests.api.programs import Office
from tests.webhooks.receiver import receiving

URL = "https://crm.padaria.example/recado?key=abc"


async def test_a_webhook_is_added_read_changed_and_removed_and_its_secret_shown_once(office: Office) -> None:
    given = {"url": URL, "types": ["accept.received", "confirm.*"], "description": "CRM"}
    answer = await office.admin.ask("POST", "/v1/webhooks", json=given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    secret = made.pop("secret")
    Webhook(secret)
    path = f"/v1/webhooks/{made['id']}"
    assert answer.headers["location"] == path
    assert await office.admin.get(path) == made
    assert (await office.admin.get("/v1/webhooks"))["items"][1:] == [made]
    assert (made["url"], made["status"], made["waiting"]) == (URL, "enabled", 0)
    changed = (await office.admin.change(path, {"status": "disabled"})).json()
    assert (changed["status"], changed["disabled_why"], changed["version"]) == ("disabled", "people", 2)
    again = (await office.admin.change(path, {"status": "enabled", "types": []})).json()
    assert (again["status"], again["disabled_why"], again["types"]) == ("enabled", None, [])
    stale = await office.admin.ask("PATCH", path, json={"description": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert (await office.admin.ask("DELETE", path)).status_code == 200
    assert (await office.admin.ask("GET", path)).status_code == 404
    done = [row["action"] for row in office.front.rows("SELECT action FROM audit WHERE thing = 'webhook' ORDER BY id")]
    assert done == ["add", "change", "change", "remove"]
    assert secret not in str(office.front.rows("SELECT data FROM audit"))
    assert "key=abc" not in str(office.front.rows("SELECT data FROM audit"))


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://crm.padaria.example/"},
        {"url": "https://169.254.169.254/latest"},
        {"url": "https://localhost/"},
        {"url": "https://x.example/#a"},
        {"url": URL, "types": ["delivered"]},
        {"url": URL, "secret": "whsec_x"},
    ],
)
async def test_what_can_not_be_is_422_and_the_address_is_not_repeated(office: Office, given: dict[str, object]) -> None:
    answer = await office.admin.ask("POST", "/v1/webhooks", json=given)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "169.254" not in answer.text


async def test_the_eleventh_is_409_and_a_repeated_request_adds_one(office: Office) -> None:
    once = {"Idempotency-Key": "a"}
    first, second = [
        (await office.admin.ask("POST", "/v1/webhooks", json={"url": URL}, headers=once)).json() for _ in range(2)
    ]
    assert first == second
    for _ in range(MOST - 2):
        assert (await office.admin.ask("POST", "/v1/webhooks", json={"url": URL})).status_code == 201
    assert (await office.admin.ask("POST", "/v1/webhooks", json={"url": URL})).status_code == 409


async def test_a_key_that_is_no_admins_neither_sees_nor_makes_any(office: Office) -> None:
    writer = await office.program("write")
    for method in ("GET", "POST"):
        assert (await writer.ask(method, "/v1/webhooks", json={"url": URL})).status_code == 403


async def test_a_test_goes_nowhere_inside_unless_the_operator_says_so(office: Office) -> None:
    made = (await office.admin.ask("POST", "/v1/webhooks", json={"url": "https://x.example/"})).json()
    async with receiving() as receiver:
        # As a name that leads here would: the row says where, whatever was checked when it was given.
        office.front.rows("UPDATE webhooks SET url = %s WHERE id = %s", receiver.url, made["id"])
        tried = (await office.admin.ask("POST", f"/v1/webhooks/{made['id']}/test")).json()
        assert (tried["outcome"], tried["http_status"]) == ("address", None)
        assert receiver.calls == []
    [attempt] = (await office.admin.get(f"/v1/webhooks/{made['id']}/attempts"))["items"]
    assert (attempt["outcome"], attempt["type"], attempt["event_id"]) == ("address", "webhooks.test", None)


async def test_a_secret_is_rotated_and_a_replay_is_not_of_the_future(office: Office) -> None:
    made = (await office.admin.ask("POST", "/v1/webhooks", json={"url": URL})).json()
    path = f"/v1/webhooks/{made['id']}"
    rotated = (await office.admin.ask("POST", f"{path}/rotate-secret", json={"keep_hours": 1})).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    assert (await office.admin.ask("POST", f"{path}/rotate-secret", json={"keep_hours": 169})).status_code == 422
    replayed = await office.admin.ask("POST", f"{path}/replay", json={"since": "2020-01-01T00:00:00Z"})
    assert (replayed.status_code, replayed.json()["reached"]) == (200, "0")
    once = {"Idempotency-Key": "back"}
    for _ in range(2):
        given = {"since": "2021-01-01T00:00:00Z"}
        assert (await office.admin.ask("POST", f"{path}/replay", json=given, headers=once)).status_code == 200
    assert len(office.front.rows("SELECT FROM audit WHERE action = 'replay'")) == 2, "a repeated request acts once"
    for since in ("2999-01-01T00:00:00Z", "2020-01-01T00:00:00", "yesterday"):
        assert (await office.admin.ask("POST", f"{path}/replay", json={"since": since})).status_code == 422, since
