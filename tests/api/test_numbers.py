"""Numbers over the API."""

from __future__ import annotations

import asyncio

from tests.api.programs import Office
from tests.api.test_twilio_accounts import change
from tests.channels.examples import inbound
from tests.journey.front import ACCOUNT_SID, NUMBER, message_sid

SERVICE = "MG" + "2" * 32


async def test_a_number_is_added_changed_and_shown(office: Office) -> None:
    given = {
        "account_id": office.ids["account_id"],
        "address": "whatsapp:+14155550001",
        "messaging_service_sid": SERVICE,
    }
    answer = await office.admin.ask("POST", "/v1/numbers", json=given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["status"], made["assistant_id"], made["messaging_service_sid"]) == ("active", None, SERVICE)
    path = answer.headers["Location"]
    assert await office.admin.get(path) == made
    assert (await office.admin.ask("POST", "/v1/numbers", json=given)).status_code == 409
    assert (await office.admin.ask("PATCH", path, json={"status": "unrouted"})).status_code == 428
    changed = (
        await change(
            office.admin, "PATCH", path, {"assistant_id": office.ids["assistant_id"], "messaging_service_sid": None}
        )
    ).json()
    assert (changed["assistant_id"], changed["messaging_service_sid"]) == (office.ids["assistant_id"], None)
    back = (await change(office.admin, "PATCH", path, {"assistant_id": None})).json()
    assert (back["assistant_id"], back["version"]) == (None, changed["version"] + 1)


async def test_what_came_while_a_number_was_unrouted_is_answered_once_it_is_active_again(office: Office) -> None:
    path = f"/v1/numbers/{office.ids['number_id']}"
    await change(office.admin, "PATCH", path, {"status": "unrouted"})
    fields = inbound("text", MessageSid=message_sid(), AccountSid=ACCOUNT_SID, To=NUMBER, Body="Alô")
    assert (await office.front.post(fields)).status_code == 200

    def status() -> str:
        [row] = office.front.rows("SELECT status FROM messages WHERE body = 'Alô'")
        return str(row["status"])

    assert status() == "unrouted"
    await change(office.admin, "PATCH", path, {"status": "active"})
    assert status() == "received"


async def test_a_number_that_got_messages_unrouted_is_added_as_if_it_were_new(office: Office) -> None:
    fields = inbound("text", MessageSid=message_sid(), AccountSid=ACCOUNT_SID, To="whatsapp:+14155550002", Body="Alô")
    assert (await office.front.post(fields)).status_code == 200
    given = {"account_id": office.ids["account_id"], "address": "whatsapp:+14155550002"}
    answers = await asyncio.gather(*(office.admin.ask("POST", "/v1/numbers", json=given) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    [row] = office.front.rows("SELECT status FROM messages WHERE body = 'Alô'")
    assert row["status"] == "received"
