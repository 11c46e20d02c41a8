from __future__ import annotations

import pytest

from tests.api.programs import Office, Program


@pytest.mark.parametrize("key", [None, "rk_wrong", "rk_" + "a" * 43])
async def test_without_a_valid_key_nothing_is_said_but_401(office: Office, key: str | None) -> None:
    answer = await Program(office.front, key).ask("PATCH", "/v1/assistants/not-an-id", content=b"{")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_key_reads_and_writes_as_far_as_its_scopes_reach(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    statuses = {}
    for held in ("webhooks", "read", "write", "admin"):
        program = await office.program(held)
        statuses[held] = [
            (await program.ask("GET", path)).status_code,
            (await program.ask("POST", f"{path}/messages", json={"body": "Oi"})).status_code,
            (await program.ask("GET", "/v1/keys")).status_code,
        ]
    assert statuses == {
        "webhooks": [403, 403, 403],
        "read": [200, 403, 403],
        "write": [200, 201, 403],
        "admin": [200, 201, 200],
    }


async def test_a_body_that_is_too_large_is_not_read(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"

    async def pieces() -> object:
        for _ in range(100):
            yield b" " * 10_000

    whole = await office.admin.ask("POST", path, content=b" " * 300_000)
    streamed = await office.admin.ask("POST", path, content=pieces(), headers={"Content-Type": "application/json"})
    assert (whole.status_code, streamed.status_code) == (413, 413)


async def test_what_is_wrong_is_said_field_by_field_without_what_was_sent(office: Office) -> None:
    answer = await office.admin.ask("POST", "/v1/keys", json={"name": "segredo\x00", "scopes": ["mestre"], "?y!": 1})
    assert answer.status_code == 422
    problem = answer.json()
    assert {error["where"] for error in problem["errors"]} == {"body.name", "body.scopes.0", "body.?"}
    for sent in ("segredo", "mestre", "?y!"):
        assert sent not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/conversations/x", 422),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/keys", 405),
        ("GET", "/v1/contacts?cursor=zzzzzzzzzzzzzzzzzzzzzz", 422),
        ("GET", "/v1/contacts?limit=0", 422),
    ],
)
async def test_every_refusal_is_a_problem_document(office: Office, method: str, path: str, status: int) -> None:
    answer = await office.admin.ask(method, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
