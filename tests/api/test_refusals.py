"""What is refused is not repeated to whoever sent it, and guessing keys has an end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import TOGETHER
from tests.api.programs import Office, Program
from tests.api.test_isolation import bodies, for_keys, routes
from tests.journey.front import open_front

MARK = "segredodopadeiro"
BODIES: dict[str, Any] = {
    "not JSON": f'{{"body": "{MARK}',
    "another form": json.dumps([MARK]),
    "a text": json.dumps(MARK),
    "an unknown field": json.dumps({MARK: 1, "body": "Oi"}),
    "a field of another kind": json.dumps({"body": [MARK]}),
    "a nested unknown field": json.dumps({"body": {MARK: {MARK: MARK}}}),
    "deep lists": "[" * 20_000,
    "deep objects": f'{{"{MARK}":' * 5_000 + "1" + "}" * 5_000,
    "NaN": f'{{"body": NaN, "{MARK}": Infinity}}',
    "half of a surrogate pair": f'{{"body": "{MARK}\\ud800"}}',
    "a name that is half of a surrogate pair": f'{{"{MARK}\\udfff": 1}}',
    "a number of 300 digits": f'{{"body": {"9" * 300}, "{MARK}": 1e999}}',
    "a number of 5000 digits": f'{{"body": {"9" * 5000}}}',
    "a NUL": json.dumps({"body": f"{MARK}\0"}),
    "not UTF-8": b'{"body": "' + MARK.encode() + b'\xff\xfe"}',
    "UTF-16": json.dumps({"body": 1, MARK: 1}).encode("utf-16"),
    "the same field twice": f'{{"body": 1, "body": "{MARK}\\u0000"}}',
}


@TOGETHER
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_refused_body_is_not_repeated(shared_office: Office, body: str | bytes) -> None:
    path = f"/v1/conversations/{shared_office.conversation_id}/messages"
    answer = await shared_office.admin.ask("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert MARK not in answer.text + str(answer.headers)
    assert "999" not in answer.text
    assert len(shared_office.front.stored()) == 1


async def test_a_refused_path_query_or_header_is_not_repeated(office: Office) -> None:
    conversation = f"/v1/conversations/{office.conversation_id}"
    for method, path, headers, status in (
        ("GET", f"/v1/conversations/{MARK}", {}, 422),
        ("GET", f"/v1/{MARK}", {}, 404),
        ("PUT", f"/v1/knowledge/sources/{MARK}.exe", {}, 422),
        ("DELETE", f"/v1/knowledge/sources/{MARK}.md", {}, 404),
        ("GET", f"/v1/contacts?cursor={MARK}", {}, 422),
        ("GET", f"/v1/contacts?limit={MARK}", {}, 422),
        ("GET", f"/v1/contacts?limit={'9' * 300}", {}, 422),
        ("GET", f"/v1/contacts?limit={'9' * 5000}", {}, 422),
        ("GET", f"/v1/conversations?status={MARK}", {}, 422),
        ("GET", f"/v1/usage?period={MARK}", {}, 422),
        ("GET", f"/v1/events?after={MARK}", {}, 422),
        ("GET", f"/v1/events?after={'9' * 300}", {}, 422),
        ("GET", "/v1/contacts?cursor=%ED%A0%80%00%FF", {}, 422),
        ("POST", f"{conversation}/take", {"Idempotency-Key": f"{MARK} {MARK}"}, 422),
        ("POST", f"{conversation}/take", {"If-Match": MARK}, 422),
        ("POST", f"{conversation}/take", {"If-Match": f'"{"9" * 300}"'}, 422),
        ("GET", conversation, {"Authorization": f"Basic {MARK}"}, 401),
        ("GET", conversation, {"Authorization": f"Bearer rk_{MARK}"}, 401),
    ):
        answer = await office.admin.ask(method, path, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        assert MARK not in answer.text + str(answer.headers)
        assert "999" not in answer.text


async def test_a_method_that_a_path_does_not_take_is_405_with_all_that_it_takes(office: Office) -> None:
    for path, allowed in (
        ("/v1/numbers", "GET, POST"),
        (f"/v1/numbers/{office.ids['number_id']}", "GET, PATCH"),
        ("/v1/knowledge/sources/faq.md", "DELETE, PUT"),
        ("/healthz", "GET"),
    ):
        answer = await office.admin.ask("OPTIONS", path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


async def test_the_name_of_an_unknown_field_is_not_repeated_wherever_it_stands(office: Office) -> None:
    given = {"account_sid": "AC" + "1" * 32, "auth_token": "x", MARK: 1, "api_key": {"sid": "x", MARK: MARK}}
    answer = await office.admin.ask("POST", "/v1/twilio-accounts", json=given)
    assert answer.status_code == 422
    assert {error["where"] for error in answer.json()["errors"]} == {"body.?", "body.api_key.sid", "body.api_key.?"}
    assert MARK not in answer.text


async def test_every_body_that_is_not_said_to_be_json_is_415(office: Office) -> None:
    known = {"source": "faq.md"} | office.ids
    seen = 0
    for route in routes():
        body = bodies(office.ids).get(route.operation_id or "")
        if route.body_field is None or not for_keys(route):
            continue
        seen += 1
        [method] = route.methods
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await office.admin.ask(
                method,
                route.path.format(**known),
                content=json.dumps(body or {"reason": MARK}).encode(),
                headers={"Content-Type": content_type, "If-Match": '"1"'},
            )
            assert answer.status_code == 415, f"{method} {route.path}: {answer.text}"
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert seen >= 10


async def test_whoever_guesses_keys_is_answered_429_while_a_right_key_goes_on(office: Office, tmp_path: Path) -> None:
    limits = "ip=5/day;account=6000/day;contact=30/day"
    async with open_front(office.front.database_url, tmp_path, found=False, limits=limits) as front:
        right = Program(front, office.admin.key)
        statuses = [(await Program(front, f"rk_{n:043}").ask("GET", "/v1/owners/me")).status_code for n in range(5)]
        assert statuses == [401] * 5
        refused = await Program(front, f"rk_{9:043}").ask("GET", "/v1/owners/me")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 24 * 3600
        assert (await right.ask("GET", "/v1/owners/me")).status_code == 200
        # What a known caller does wrong is no guess.
        for _ in range(12):
            assert (await right.ask("GET", "/v1/conversations/x")).status_code == 422
        assert (await right.ask("GET", "/v1/owners/me")).status_code == 200
