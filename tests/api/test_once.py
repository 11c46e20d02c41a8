from __future__ import annotations

import asyncio
import inspect

from recado.ops import retention
from tests.api.browsers import OURS, join
from tests.api.programs import Office
from tests.api.test_isolation import bodies, for_keys, routes, sending


async def test_the_same_key_with_the_same_request_acts_once_and_gets_the_same_answer(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    key = {"Idempotency-Key": "pedido-17"}
    answers = await asyncio.gather(
        *(office.admin.ask("POST", path, json={"body": "Pronto!"}, headers=key) for _ in range(6))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(office.front.stored()) == 2
    other = await office.admin.ask("POST", path, json={"body": "Outra coisa"}, headers=key)
    assert other.status_code == 422
    assert len(office.front.stored()) == 2


async def test_a_key_belongs_to_the_caller_who_used_it(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    for program in (office.admin, await office.program("write")):
        await program.ask("POST", path, json={"body": "Pronto!"}, headers={"Idempotency-Key": "1"})
    assert len(office.front.stored()) == 3


async def test_a_refusal_is_repeated_too_and_leaves_nothing_behind(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    key = {"Idempotency-Key": "volta"}
    first = await office.admin.ask("POST", f"{path}/give-back", headers=key)
    await office.admin.ask("POST", f"{path}/take")
    again = await office.admin.ask("POST", f"{path}/give-back", headers=key)
    assert (first.status_code, again.status_code) == (409, 409)
    assert first.text == again.text
    assert again.headers["Content-Type"] == "application/problem+json"


async def test_a_kept_answer_shows_no_secret_to_whoever_reads_the_database(office: Office) -> None:
    key = {"Idempotency-Key": "crm"}
    given = {"name": "CRM", "scopes": ["read"]}
    first = await office.admin.ask("POST", "/v1/keys", json=given, headers=key)
    again = await office.admin.ask("POST", "/v1/keys", json=given, headers=key)
    assert first.status_code == 201
    assert first.json() == again.json()
    text = first.json()["key"]
    [row] = office.front.rows("SELECT answer FROM idempotency_keys")
    assert text.encode() not in bytes(row["answer"])
    assert text not in (await office.admin.ask("GET", "/v1/keys")).text


async def test_a_kept_answer_of_another_row_or_another_key_ring_opens_nothing(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    for key in ("1", "2"):
        await office.admin.ask("POST", path, json={"body": "Oi"}, headers={"Idempotency-Key": key})
    office.front.rows(
        "UPDATE idempotency_keys a SET answer = b.answer FROM idempotency_keys b WHERE a.id <> b.id RETURNING a.id"
    )
    answer = await office.admin.ask("POST", path, json={"body": "Oi"}, headers={"Idempotency-Key": "1"})
    assert answer.status_code == 409
    assert len(office.front.stored()) == 3


async def test_a_kept_answer_is_forgotten_after_a_day(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    for _ in range(2):
        await office.admin.ask("POST", path, json={"body": "Oi"}, headers={"Idempotency-Key": "1"})
        with_old = office.front.rows(
            "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' RETURNING id"
        )
        assert len(with_old) == 1
    assert len(office.front.stored()) == 3


async def test_every_post_that_acts_does_so_once_for_a_key_of_two_requests_at_once(office: Office) -> None:
    known = bodies(office.ids)
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    posts = [route for route in routes() if route.methods == {"POST"}]
    acting = [route for route in posts if "idempotency_key" in inspect.signature(route.endpoint).parameters]
    # Of these a repetition does no harm: docs/reference/api.md says why.
    harmless = {"sign_in", "accept_invitation", "try_webhook"}
    assert {route.operation_id for route in posts if route not in acting} == harmless
    root = (await join(office.front, "admin", platform=True)).browser
    for route in acting:
        body = known[route.operation_id or ""]
        asker, ours = (office.admin, {}) if for_keys(route) else (root, OURS)
        headers = ours | {"Idempotency-Key": f"once-{route.operation_id}"}
        if "/twilio-accounts/{" in route.path:
            headers["If-Match"] = (await office.admin.ask("GET", path)).headers["ETag"]
        elif "/conversations/{" in route.path:
            headers["If-Match"] = (
                await office.admin.ask("GET", f"/v1/conversations/{office.conversation_id}")
            ).headers["ETag"]
        before = len(office.front.rows("SELECT FROM audit"))
        more = sending(body)
        answers = await asyncio.gather(
            *(asker.ask("POST", route.path.format(**office.ids), headers=headers, **more) for _ in range(2))
        )
        first, second = answers
        assert (first.status_code, first.content) == (second.status_code, second.content), route.path
        assert first.status_code < 500
        for name in ("ETag", "Location", "Content-Type"):
            assert first.headers.get(name) == second.headers.get(name), route.path
        assert len(office.front.rows("SELECT FROM audit")) <= before + 1, route.path
    done = {row["action"] for row in office.front.rows("SELECT DISTINCT action FROM audit")}
    assert {"add", "send", "rotate", "take", "give_back", "close"} <= done


async def test_kept_answers_of_callers_who_call_no_more_are_swept(office: Office) -> None:
    stranger = await office.stranger()
    for program in (office.admin, stranger):
        given = {"name": "x", "scopes": ["read"]}
        await program.ask("POST", "/v1/keys", json=given, headers={"Idempotency-Key": "1"})
    root = (await join(office.front, "admin", platform=True)).browser
    await root.ask("POST", "/v1/owners", json={"name": "Clínica Sul"}, headers=OURS | {"Idempotency-Key": "1"})
    office.front.rows(
        "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' "
        "WHERE owner_id IS DISTINCT FROM %s RETURNING id",
        office.front.owner_id,
    )
    now = office.front.wiring.clock.now()
    async with office.front.wiring.platform_pool() as platform:
        assert await retention.forget_kept_answers(platform, now=now) == 2
        assert await retention.forget_kept_answers(platform, now=now) == 0
    assert [row["owner_id"] for row in office.front.rows("SELECT owner_id FROM idempotency_keys")] == [
        office.front.owner_id
    ]
