"""Channels: what comes by another than WhatsApp is kept and shown, and touches nothing of WhatsApp's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from recado.ops import doctor
from tests.channels.examples import inbound
from tests.journey.front import Front, message_sid, open_front
from tests.journey.post_office import PostOffice, post_office
from tests.product import OUTBOUND, Product

SMS: dict[str, str | None] = {
    "From": "+5511987654321",
    "To": "+14155238886",
    "WaId": None,
    "ProfileName": None,
    "MessageType": None,
}
CALL: dict[str, str | None] = {
    **SMS,
    "MessageSid": None,
    "SmsMessageSid": None,
    "SmsSid": None,
    "SmsStatus": None,
    "CallSid": "CA" + "a" * 32,
    "CallStatus": "ringing",
}


def text(**changes: str | None) -> list[tuple[str, str]]:
    return inbound("text", **{"MessageSid": message_sid(), **changes})


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path, limits="contact=1/day") as opened:
        yield opened


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


@pytest.mark.parametrize(
    ("changes", "address", "number"),
    [
        (SMS, "sms:+5511987654321", "sms:+14155238886"),
        ({**SMS, "NumMedia": "1", "MediaUrl0": "https://api.twilio.com/x", "MediaContentType0": "image/png"},
         "sms:+5511987654321", "sms:+14155238886"),
        ({**SMS, "From": "rcs:+5511987654321", "To": "rcs:padaria_agent"}, "rcs:+5511987654321", "rcs:padaria_agent"),
        ({**SMS, "From": "messenger:777", "To": "messenger:99"}, "messenger:777", "messenger:99"),
        (CALL, "voice:+5511987654321", "voice:+14155238886"),
        ({**CALL, "From": "whatsapp:+5511987654321"}, "voice:+5511987654321", "voice:+14155238886"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", ["STOP", "Oi"])
async def test_it_is_kept_for_people_and_leaves_the_same_persons_whatsapp_alone(
    front: Front, changes: dict[str, str | None], address: str, number: str, body: str
) -> None:
    assert (await front.post(text())).status_code == 200
    before = front.rows("SELECT * FROM contacts"), front.rows("SELECT * FROM conversations"), front.work()
    for _ in range(2):  # over the contact's limit on WhatsApp, were it counted there
        answer = await front.post(text(**changes, **({} if changes.get("CallSid") else {"Body": body})))
        assert (answer.status_code, answer.text.endswith("<Response/>")) == (200, True)
    known, *others = front.rows("SELECT c.* FROM contacts c ORDER BY id")
    assert ([known], front.rows("SELECT * FROM conversations ORDER BY id")[:1], front.work()) == before
    assert [other["address"] for other in others] == [address]
    assert front.rows("SELECT FROM suppressions") == []
    kept = front.rows(
        "SELECT m.status, m.held_for, n.address, n.status AS routed FROM messages m "
        "JOIN conversations v ON v.id = m.conversation_id JOIN numbers n ON n.id = v.number_id ORDER BY m.id"
    )[1:]
    assert kept == [{"status": "held", "held_for": "channel", "address": number, "routed": "unrouted"}] * (
        1 if changes.get("CallSid") else 2
    )
    noted = front.rows("SELECT what, data->>'held_for' AS held_for FROM events ORDER BY id")[1:]
    assert {(row["what"], row["held_for"]) for row in noted} == {("held", "channel")}


async def test_stop_by_whatsapp_still_counts_after_start_by_sms(front: Front) -> None:
    await front.post(text(Body="STOP"))
    await front.post(text(**SMS, Body="START", OptOutType="START"))
    assert len(front.rows("SELECT FROM suppressions")) == 1


async def test_the_doctor_names_the_number_and_how_many_messages_it_got_and_offers_nobody_to_route_it(
    front: Front,
) -> None:
    async with (
        front.wiring.platform_pool() as platform,
        platform.connection() as conn,
        front.wiring.pool.connection() as app,
    ):
        before = {one.name: one for one in await doctor.examine(conn, app, None)}
        assert before["channels"].state == "ok"
        for _ in range(2):
            await front.post(text(**SMS))
        after = {one.name: one for one in await doctor.examine(conn, app, None)}
    assert after["channels"].state == "warn"
    assert "sms:+14155238886" in after["channels"].text
    assert "2 messages" in after["channels"].text
    assert "numbers add" not in str(after["numbers"].fix)


async def test_callbacks_about_other_channels_are_answered_and_change_nothing(front: Front) -> None:
    await front.post(text())
    before = front.stored()
    status = {"MessageStatus": "delivered", "SmsStatus": "delivered"}
    for fields in (inbound("text", **CALL), text(**SMS, **status)):
        assert (await front.post(fields, path=OUTBOUND)).status_code == 200
    assert front.stored() == before


@pytest.mark.parametrize("stored", ["whatsapp:{}", "WhatsApp: +{}", "+{}", "whatsapp:+{}"])
def test_a_contact_stored_under_another_form_is_answered_at_the_canonical_one(post: PostOffice, stored: str) -> None:
    digits = post.contact.address.removeprefix("whatsapp:+")
    post.product.execute(
        "UPDATE contacts SET address = %s WHERE owner_id = %s", stored.format(digits), post.company.owner_id
    )
    post.deliver(post.write("Pronto!"))
    assert post.bodies() == ["Pronto!"]
    [call] = [call for call in post.contact.calls() if call.operation == "create"]
    assert call.form["To"] == f"whatsapp:+{digits}"


@pytest.mark.parametrize("form", ["whatsapp:{}", "whatsapp: {}", "WhatsApp:+{}"])
def test_who_wrote_from_another_form_of_the_address_is_the_same_contact_at_the_canonical_one(
    post: PostOffice, form: str
) -> None:
    digits = post.contact.address.removeprefix("whatsapp:+")
    post.contact.says("Oi", params={"From": form.format(digits)})
    rows = post.product.rows("SELECT address FROM contacts WHERE owner_id = %s", post.company.owner_id)
    assert rows == [{"address": post.contact.address}]


def test_nothing_goes_to_an_address_that_is_not_whatsapps(post: PostOffice) -> None:
    post.product.execute(
        "UPDATE contacts SET address = 'sms:+5511987654321' WHERE owner_id = %s", post.company.owner_id
    )
    message = post.write("Pronto!")
    post.deliver(message)
    assert post.operations() == []
    [row] = post.product.rows("SELECT status, reason FROM messages WHERE id = %s", message)
    assert row == {"status": "failed", "reason": "other_channel"}
