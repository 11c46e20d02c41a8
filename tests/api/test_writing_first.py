"""Writing first by the API: to whom, from which number, with what, and one contact and conversation whatever races."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recado.identity import owners
from recado.journey.accept import accept
from tests.api.conftest import TOGETHER
from tests.api.programs import Office
from tests.api.test_messages import SID, attachment, close_window, template
from tests.channels.examples import inbound
from tests.journey.front import message_sid

NEW = "whatsapp:+5521912345678"
USE = {"content_sid": SID, "variables": {"1": "Ana", "2": "pronto"}}


async def write(office: Office, to: str = NEW, **given: Any) -> Any:
    given = {"number_id": office.ids["number_id"], "to": to, **(given or {"template": USE})}
    return await office.admin.ask("POST", "/v1/messages", json=given)


def known(office: Office, address: str = NEW) -> list[dict[str, Any]]:
    """The conversations of whoever has that address."""
    return office.front.rows(
        "SELECT v.* FROM conversations v JOIN contacts c ON c.id = v.contact_id WHERE c.address = %s ORDER BY v.id",
        address,
    )


def counts(office: Office) -> list[int]:
    tables = ("contacts", "conversations", "messages", "audit")
    return [len(office.front.rows(f"SELECT FROM {table}")) for table in tables]


async def test_a_template_to_someone_who_never_wrote_opens_a_conversation_and_is_sent(office: Office) -> None:
    await template(office)
    answer = await write(office)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/messages/{made['id']}"
    assert (made["kind"], made["author"], made["says"]) == ("template", "api", "Olá Ana, seu pedido: pronto")
    assert made["id"] in [row["workflow_uuid"] for row in office.front.work()]
    shown = await office.admin.get(f"/v1/conversations/{made['conversation_id']}")
    assert (shown["status"], shown["last_inbound_at"]) == ("open", None)
    assert shown["window"] == {"open": False, "closes_at": None, "seconds_left": 0}
    contact = await office.admin.get(f"/v1/contacts/{shown['contact_id']}")
    assert (contact["address"], contact["profile_name"]) == (NEW, None)


async def test_to_someone_who_never_wrote_only_a_template_is_taken_and_nothing_is_left_of_the_rest(
    office: Office,
) -> None:
    media_id = attachment(office)
    before = counts(office)
    for given in ({"body": "Oi"}, {"media_id": media_id}):
        answer = await write(office, **given)
        assert answer.status_code == 409
        assert "`template`" in answer.json()["detail"]
    assert counts(office) == before


async def test_who_is_known_in_any_form_of_their_number_keeps_the_address_they_wrote_from(office: Office) -> None:
    await office.front.accept(await office.front.arrival(From="whatsapp:+551187651234", WaId="551187651234"))
    answer = await write(office, "whatsapp:+5511987651234", body="Oi!")
    assert answer.status_code == 201, answer.text
    [conversation] = known(office, "whatsapp:+551187651234")
    assert answer.json()["conversation_id"] == str(conversation["id"])
    assert known(office, "whatsapp:+5511987651234") == []


@pytest.mark.parametrize(
    ("first", "then"),
    [("+5511987651234", "+551187651234"), ("+5215512345678", "+525512345678"), ("+5491123456789", "+541123456789")],
)
async def test_both_forms_of_a_number_are_one_contact_with_one_conversation(
    office: Office, first: str, then: str
) -> None:
    await template(office)
    made = [(await write(office, f"whatsapp:{form}")).json()["conversation_id"] for form in (first, then, first)]
    assert len(set(made)) == 1
    [contact] = office.front.rows("SELECT address FROM contacts WHERE address LIKE %s", f"%{first[-6:]}")
    assert contact["address"] == f"whatsapp:{first}"


async def test_someone_with_a_business_scoped_id_is_found_by_it_whose_number_is_known(office: Office) -> None:
    told = {"From": "whatsapp:+5511987651234", "WaId": "5511987651234", "ExternalUserId": "BR.123"}
    await office.front.accept(await office.front.arrival(**told))
    answer = await write(office, "whatsapp:BR.123", body="Oi!")
    assert answer.status_code == 201, answer.text
    assert len(known(office, "whatsapp:+5511987651234")) == 1
    await template(office)
    assert (await write(office, "whatsapp:BR.456")).status_code == 201
    [new] = office.front.rows("SELECT identity_key, external_id FROM contacts WHERE address = 'whatsapp:BR.456'")
    assert new == {"identity_key": "whatsapp:BR.456", "external_id": "whatsapp:BR.456"}


async def test_a_closed_conversation_stays_closed_and_the_new_one_has_the_window_that_is_open(office: Office) -> None:
    [contact] = office.front.rows("SELECT address FROM contacts")
    await office.admin.ask("POST", f"/v1/conversations/{office.conversation_id}/close")
    answer = await write(office, contact["address"], body="Esqueci de dizer")
    assert answer.status_code == 201, answer.text
    assert answer.json()["conversation_id"] != str(office.conversation_id)
    close_window(office)
    assert (await write(office, contact["address"], body="E mais")).status_code == 409


async def test_a_conversation_with_people_is_written_in_and_stays_with_them(office: Office) -> None:
    [contact] = office.front.rows("SELECT address FROM contacts")
    await office.admin.ask("POST", f"/v1/conversations/{office.conversation_id}/take")
    answer = await write(office, contact["address"], body="Oi")
    assert answer.json()["conversation_id"] == str(office.conversation_id)
    assert (await office.admin.get(f"/v1/conversations/{office.conversation_id}"))["status"] == "handoff"


async def test_who_wants_no_messages_gets_none_and_no_conversation_is_opened(office: Office) -> None:
    await template(office)
    told = {"From": "whatsapp:+551187651234", "WaId": "551187651234"}
    await office.front.accept(await office.front.arrival("SAIR", **told))
    await asyncio.to_thread(office.front.rows, "UPDATE conversations SET status = 'closed' RETURNING id")
    before = counts(office)
    answer = await write(office, "whatsapp:+5511987651234")
    assert answer.status_code == 409
    assert "wants no messages" in answer.json()["detail"]
    assert counts(office) == before


async def test_a_suspended_owner_sends_nothing(office: Office) -> None:
    await template(office)
    async with await office.front.wiring.connect("recado_platform") as conn:
        await owners.set_status(conn, office.front.owner_id, "suspended")
    assert (await write(office)).status_code == 409
    assert known(office) == []


async def test_a_number_that_is_not_routed_or_another_owners_is_named_as_what_is_wrong(office: Office) -> None:
    stranger = await office.stranger()
    [theirs] = (await stranger.get("/v1/numbers"))["items"]
    office.front.rows("UPDATE numbers SET status = 'unrouted' WHERE owner_id = %s RETURNING id", office.front.owner_id)
    for number_id in (theirs["id"], office.ids["number_id"], office.ids["contact_id"]):
        answer = await write(office, number_id=number_id, template=USE)
        assert answer.status_code == 422
        assert [error["where"] for error in answer.json()["errors"]] == ["body.number_id"]
    assert known(office) == []


@TOGETHER
@pytest.mark.parametrize(
    "address",
    [
        *("", "+5521912345678", "whatsapp:+0521912345678", "whatsapp:+552", "whatsapp:Ana"),
        *("whatsapp:+55219\n12345678", "sms:+5521912345678", "whatsapp:+55 21 91234-5678 x", "whatsapp:+" + "5" * 16),
        *("whatsapp:BR.", "whatsapp:BR.1\t2", "messenger:123"),
    ],
)
async def test_what_is_no_address_is_refused_by_its_fields_name_and_not_repeated(
    shared_office: Office, address: str
) -> None:
    await template(shared_office)
    answer = await write(shared_office, address)
    assert answer.status_code == 422
    assert [error["where"] for error in answer.json()["errors"]] == ["body.to"]
    assert len(address) < 3 or address not in answer.text


async def test_a_program_that_may_only_read_writes_to_nobody(office: Office) -> None:
    given = {"number_id": office.ids["number_id"], "to": NEW, "template": USE}
    assert (await (await office.program("read")).ask("POST", "/v1/messages", json=given)).status_code == 403
    assert known(office) == []


async def test_programs_that_write_to_the_same_new_contact_at_once_make_one_contact_and_one_conversation(
    office: Office,
) -> None:
    await template(office)
    for number in range(5):
        forms = (f"whatsapp:+551198765{number:04}", f"whatsapp:+55118765{number:04}")
        answers = await asyncio.gather(*(write(office, form) for form in forms * 3))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["conversation_id"] for answer in answers}) == 1
        assert len(known(office, forms[0]) + known(office, forms[1])) == 1
    assert len(office.front.rows("SELECT FROM contacts")) == 1 + 5


async def test_a_program_and_the_contact_who_write_first_at_once_are_in_one_conversation(office: Office) -> None:
    await template(office)
    async with await office.front.lane() as lane:
        for number in range(20):
            address = f"whatsapp:+5521987{number:06}"
            arrival = await office.front.arrival(From=address, WaId=address.removeprefix("whatsapp:+"))
            answer, [stored] = await asyncio.gather(write(office, address), accept.write(lane, [arrival]))
            assert answer.status_code == 201, answer.text
            assert stored.new
            [conversation] = known(office, address)
            assert conversation["last_inbound_at"] == arrival.received_at
            said = office.front.rows("SELECT direction FROM messages WHERE conversation_id = %s", conversation["id"])
            assert sorted(row["direction"] for row in said) == ["inbound", "outbound"]


async def test_the_contacts_first_reply_comes_into_the_conversation_and_opens_its_window(office: Office) -> None:
    await template(office)
    made = (await write(office)).json()
    await office.front.accept(await office.front.arrival(From=NEW, WaId="5521912345678", ProfileName="Ana"))
    [conversation] = known(office)
    assert str(conversation["id"]) == made["conversation_id"]
    answer = await write(office, body="Oi, Ana!")
    assert answer.status_code == 201
    assert (await office.admin.get(f"/v1/conversations/{conversation['id']}"))["window"]["open"] is True


@pytest.mark.parametrize(
    "form", ["whatsapp:5521912345678", "WhatsApp: +55 (21) 91234-5678", "whatsapp:+5521912345678\n"]
)
async def test_an_address_in_another_form_is_the_same_persons_and_kept_in_the_canonical_one(
    office: Office, form: str
) -> None:
    await template(office)
    answers = [await write(office, to=to) for to in (form, NEW)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["conversation_id"] for answer in answers}) == 1
    assert office.front.rows("SELECT FROM contacts WHERE address = %s", NEW) != []


async def test_to_a_contact_of_another_channel_nothing_is_written_and_their_number_is_not_routed(
    office: Office,
) -> None:
    changes = {"From": "+5511987650000", "To": "+14155238886", "WaId": None, "MessageSid": message_sid()}
    assert (await office.front.post(inbound("text", **changes))).status_code == 200
    [kept] = office.front.rows(
        "SELECT m.conversation_id, v.number_id FROM messages m JOIN conversations v ON v.id = m.conversation_id "
        "WHERE m.held_for = 'channel'"
    )
    shown = await office.admin.get(f"/v1/conversations/{kept['conversation_id']}/messages")
    assert [(one["status"], one["held_for"]) for one in shown["items"]] == [("held", "channel")]
    sent = await office.admin.ask("POST", f"/v1/conversations/{kept['conversation_id']}/messages", json={"body": "Oi"})
    routed = await office.admin.change(f"/v1/numbers/{kept['number_id']}", {"status": "active"})
    assert (sent.status_code, routed.status_code) == (409, 409)
    assert "WhatsApp only" in sent.json()["detail"]
