from __future__ import annotations

import asyncio
import inspect

import httpx2

from recado.db.scope import scoped
from recado.identity import users
from recado.ids import new_id
from recado.ops import retention
from tests.api.browsers import OURS, join
from tests.api.programs import Office
from tests.api.test_isolation import bodies, for_keys, routes, sending


async def test_a_message_is_stored_with_its_delivery(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    answer = await office.admin.ask("POST", path, json={"body": "Pronto!"})
    assert answer.status_code == 201
    sent = answer.json()
    assert (sent["author"], sent["direction"], sent["status"], sent["body"]) == ("api", "outbound", "queued", "Pronto!")
    assert [row["workflow_uuid"] for row in office.front.work() if row["queue_name"] == "deliveries"] == [sent["id"]]


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


async def test_a_conversation_is_taken_given_back_and_closed_for_good(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    statuses = []
    for action in ("take", "take", "give-back", "close", "take"):
        answer = await office.admin.ask("POST", f"{path}/{action}", json={"reason": "teste"})
        statuses.append((answer.status_code, answer.json()["status"]))
    assert statuses == [(200, "handoff"), (409, 409), (200, "open"), (200, "closed"), (409, 409)]
    closed = await office.admin.get(path)
    assert closed["close_reason"] == "teste"
    assert closed["closed_at"].endswith("Z")
    late = await office.admin.ask("POST", f"{path}/messages", json={"body": "Oi"})
    assert late.status_code == 409
    actions = [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")]
    assert actions == ["take", "give_back", "close"]
    await office.front.accept(await office.front.arrival("Voltei"))
    assert len(office.front.rows("SELECT FROM conversations")) == 2


async def test_of_two_who_take_a_conversation_at_once_one_does(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/take"
    answers = await asyncio.gather(*(office.admin.ask("POST", path) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_a_conversation_changes_only_in_the_version_that_was_read(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    taken = await office.admin.ask("POST", f"{path}/take", headers={"If-Match": read})
    stale = await office.admin.ask("POST", f"{path}/close", headers={"If-Match": read})
    assert (taken.status_code, stale.status_code) == (200, 412)


async def test_a_conversation_is_assigned_to_a_user_who_may_act_and_by_one_of_two_at_once(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        now = office.front.wiring.clock.now()
        operator, gone = [
            (await users.put(scope, email=f"{name}@padaria.example", role="operator", password_hash="x", now=now))[0]
            for name in ("eva", "max")
        ]
        await users.disable(scope, gone.id, now=now)

    async def assign(to: object, version: int | None) -> httpx2.Response:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return await office.admin.ask("POST", f"{path}/assign", json={"assignee_id": to}, headers=headers)

    assert (await assign(str(operator.id), None)).status_code == 428
    # A viewer, one who was disabled, one there is not.
    for nobody in (office.ids["user_id"], str(gone.id), str(new_id())):
        answer = await assign(nobody, 1)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["where"] == "body.assignee_id"
    answers = await asyncio.gather(*(assign(str(operator.id), 1), assign(None, 1), assign(str(operator.id), 1)))
    assert [answer.status_code for answer in answers].count(412) >= 1
    assert (await office.admin.get(path))["assignee_id"] == str(operator.id)
    found = await office.admin.get("/v1/conversations", params={"assignee_id": str(operator.id)})
    assert [item["id"] for item in found["items"]] == [str(office.conversation_id)]
    version = found["items"][0]["version"]
    same = await assign(str(operator.id), version)
    assert (same.status_code, same.headers["ETag"]) == (200, f'"{version}"')
    assert [row["action"] for row in office.front.rows("SELECT action FROM audit")] == ["assign"]
    events = office.front.rows("SELECT data FROM events WHERE what = 'assigned'")
    assert [event["data"] for event in events] == [{"assignee_id": str(operator.id)}]
    await office.admin.ask("POST", f"{path}/take")
    assert (await office.admin.get(path))["assignee_id"] == str(operator.id)
    back = (await office.admin.ask("POST", f"{path}/give-back")).json()
    assert back["assignee_id"] is None
    closed = (await office.admin.ask("POST", f"{path}/close")).json()
    assert (await assign(None, closed["version"])).status_code == 409


async def test_every_post_that_acts_does_so_once_for_a_key_of_two_requests_at_once(office: Office) -> None:
    known = bodies(office.ids)
    path = f"/v1/twilio-accounts/{office.ids['account_id']}"
    posts = [route for route in routes() if route.methods == {"POST"}]
    acting = [route for route in posts if "idempotency_key" in inspect.signature(route.endpoint).parameters]
    # Of these two a repetition does no harm: docs/reference/api.md says why.
    assert {route.operation_id for route in posts if route not in acting} == {"sign_in", "accept_invitation"}
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


async def test_an_assistant_is_changed_by_one_of_two_who_read_the_same(office: Office) -> None:
    path = f"/v1/assistants/{office.ids['assistant_id']}"
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    blind = await office.admin.ask("PATCH", path, json={"instructions": "A"})
    answers = await asyncio.gather(
        *(
            office.admin.ask("PATCH", path, json={"instructions": text}, headers={"If-Match": read})
            for text in ("B", "C")
        )
    )
    assert blind.status_code == 428
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    [changed] = [answer for answer in answers if answer.status_code == 200]
    now = await office.admin.get(path)
    assert now["instructions"] == changed.json()["instructions"]
    assert changed.headers["ETag"] == f'"{now["version"]}"' != read


async def test_whether_an_assistant_sees_can_be_set_and_left_to_what_is_known_again(office: Office) -> None:
    path = f"/v1/assistants/{office.ids['assistant_id']}"
    for given, then in (({"sees": True}, True), ({"language": "es"}, True), ({"sees": "auto"}, None)):
        read = (await office.admin.ask("GET", path)).headers["ETag"]
        changed = await office.admin.ask("PATCH", path, json=given, headers={"If-Match": read})
        assert changed.status_code == 200, changed.text
        assert changed.json()["sees"] is then


async def test_whether_an_assistant_may_send_templates_is_off_until_it_is_set(office: Office) -> None:
    made = await office.admin.ask("POST", "/v1/assistants", json={"name": "night"})
    assert made.json()["templates"] is False
    path = f"/v1/assistants/{made.json()['id']}"
    for given, then in (({"templates": True}, True), ({"language": "es"}, True), ({"templates": False}, False)):
        read = (await office.admin.ask("GET", path)).headers["ETag"]
        changed = await office.admin.ask("PATCH", path, json=given, headers={"If-Match": read})
        assert changed.json()["templates"] is then, changed.text
    read = (await office.admin.ask("GET", path)).headers["ETag"]
    wrong = await office.admin.ask("PATCH", path, json={"templates": "maybe"}, headers={"If-Match": read})
    assert wrong.status_code == 422


async def test_a_revoked_key_stays_in_the_list_with_its_end(office: Office) -> None:
    made = (await office.admin.ask("POST", "/v1/keys", json={"name": "CRM", "scopes": ["read"]})).json()
    ended = await office.admin.ask("DELETE", f"/v1/keys/{made['id']}")
    again = await office.admin.ask("DELETE", f"/v1/keys/{made['id']}")
    assert ended.status_code == again.status_code == 200
    assert ended.json()["revoked_at"] == again.json()["revoked_at"] is not None
