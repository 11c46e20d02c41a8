"""Templates and rich messages: made, approved, listed, rendered, shown, tapped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_contents import LIST_PICKER, QUICK_REPLY, call, create, send, template
from simulator_specs import assert_is, raw
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, Receiver, official_client
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client
from twilio.rest.content.v1.content import ContentList

from recado.channels.port import SendError
from recado.channels.twilio.client import TwilioSender
from recado.channels.twilio.content import ContentApi
from recado.simulator.app import SimulatorSettings, running
from recado.simulator.client import SimulatorClient, SimulatorError
from recado.simulator.contents import Content, MissingVariable, render
from recado.simulator.engine import Pace
from recado.simulator.handset import Phone


@pytest.fixture
async def sim(receiver: Receiver) -> AsyncIterator[SimulatorClient]:
    """A simulator that keeps the 24-hour window, as it does unless told otherwise."""
    pace = Pace(sent_ms=10, delivered_ms=30, read_ms=20, approved_ms=50)
    async with running(SimulatorSettings(port=0, pace=pace)) as url, SimulatorClient(url) as client:
        await client.add_account(ACCOUNT, TOKEN)
        await client.add_number(ACCOUNT, NUMBER, f"{receiver.url}/inbound")
        yield client


@pytest.fixture
def twilio(sim: SimulatorClient) -> Iterator[Client]:
    with official_client(sim.base_url) as client:
        client.content.base_url = sim.base_url
        yield client


@pytest.fixture
def phone(sim: SimulatorClient) -> Phone:
    return Phone(client=sim, account_sid=ACCOUNT, number=NUMBER, address=CONTACT, name="Maria")


async def test_every_answer_is_as_twilios_specification_says(sim: SimulatorClient) -> None:
    status, made = await raw(
        sim.base_url, "POST", "/v1/Content", json_body={"language": "es", "types": QUICK_REPLY, "friendly_name": "cita"}
    )
    assert status == 201
    assert_is("content.v1.content", made, "content")
    path = f"/v1/Content/{made['sid']}"
    assert await raw(sim.base_url, "GET", path) == (200, made)
    await sim.pace(approved_ms=600_000)
    approval = {"name": "cita_1", "category": "UTILITY"}
    status, asked = await raw(sim.base_url, "POST", f"{path}/ApprovalRequests/whatsapp", json_body=approval)
    assert (status, asked["status"]) == (201, "received")
    assert_is("content.v1.content.approval_create", asked, "content")
    status, fetched = await raw(sim.base_url, "GET", f"{path}/ApprovalRequests")
    assert (status, fetched["whatsapp"]["status"]) == (200, "pending")
    assert_is("content.v1.content.approval_fetch", fetched, "content")
    for path, name in (
        ("/v1/Content", "ListContentResponse"),
        ("/v1/ContentAndApprovals", "ListContentAndApprovalsResponse"),
    ):
        status, listed = await raw(sim.base_url, "GET", path)
        assert status == 200
        assert_is(name, listed, "content")
    for content in listed["contents"]:
        assert_is("content.v1.content_and_approvals", content, "content")
    assert (await raw(sim.base_url, "DELETE", f"/v1/Content/{made['sid']}"))[0] == 204
    assert (await raw(sim.base_url, "GET", f"/v1/Content/{made['sid']}"))[0] == 404


async def test_the_official_client_makes_lists_asks_and_deletes(twilio: Client) -> None:
    contents = twilio.content.v1
    made = await call(
        contents.contents.create,
        ContentList.ContentCreateRequest({"language": "en", "friendly_name": "menu", "types": LIST_PICKER}),
    )
    assert (made.friendly_name, list(made.types)) == ("menu", ["twilio/list-picker"])
    text = await call(
        contents.contents.create,
        ContentList.ContentCreateRequest({"language": "en", "types": {"twilio/text": {"body": "Hi"}}}),
    )
    request = {"name": "hello", "category": "MARKETING"}
    from twilio.rest.content.v1.content.approval_create import ApprovalCreateList

    asked = await call(
        contents.contents(text.sid).approval_create.create, ApprovalCreateList.ContentApprovalRequest(request)
    )
    assert asked.status == "received"
    async with asyncio.timeout(60):
        while (await call(contents.contents(text.sid).approval_fetch().fetch)).whatsapp["status"] != "approved":
            await asyncio.sleep(0.02)
    listed = await call(contents.content_and_approvals.list, page_size=3)
    assert {made.sid, text.sid} < {each.sid for each in listed}
    assert len(listed) == len({each.sid for each in listed}) == 10
    assert await call(contents.contents(made.sid).delete)
    assert made.sid not in {each.sid for each in await call(contents.contents.list)}


async def test_an_account_starts_with_templates_in_three_languages(sim: SimulatorClient) -> None:
    there = await sim.templates(account_sid=ACCOUNT)
    approved = {(each.name, each.language) for each in there if each.status == "approved"}
    assert approved == {
        (name, language) for name in ("order_ready", "continue_conversation") for language in ("pt_BR", "es", "en")
    }
    assert {each.status for each in there} == {"approved", "pending", "rejected"}
    other = "AC" + "7" * 32
    await sim.add_account(other, "t")
    assert {each.sid for each in await sim.templates(account_sid=other)}.isdisjoint(each.sid for each in there)


async def test_one_account_does_not_see_anothers_contents(sim: SimulatorClient, twilio: Client) -> None:
    other = "AC" + "7" * 32
    await sim.add_account(other, "t")
    foreign = (await sim.templates(account_sid=other))[0].sid
    assert (await raw(sim.base_url, "GET", f"/v1/Content/{foreign}"))[0] == 404
    with pytest.raises(TwilioRestException) as caught:
        await send(twilio, foreign)
    assert caught.value.code == 21655


def lists(**change: Any) -> dict[str, Any]:
    return {"twilio/list-picker": {**LIST_PICKER["twilio/list-picker"], **change}}


def replies(*titles: str) -> dict[str, Any]:
    return {"twilio/quick-reply": {"body": "x", "actions": [{"title": title, "id": title} for title in titles]}}


@pytest.mark.parametrize(
    "types",
    [
        {},
        {"twilio/nothing": {"body": "x"}},
        {"twilio/text": {}},
        {"twilio/text": "x"},
        lists(items=[{"id": str(n), "item": "x"} for n in range(11)]),
        lists(items=[{"id": "1", "item": "x" * 25}]),
        lists(items=[{"id": "1", "item": "x", "description": "x" * 73}]),
        lists(items=[{"id": "1", "item": "x"}, {"id": "1", "item": "y"}]),
        lists(button="x" * 21),
        lists(items="x"),
        replies("x" * 21),
        replies(*map(str, range(11))),
    ],
)
async def test_a_content_that_whatsapp_can_not_show_is_refused(sim: SimulatorClient, types: dict[str, Any]) -> None:
    status, error = await raw(sim.base_url, "POST", "/v1/Content", json_body={"language": "pt_BR", "types": types})
    assert (status, error["code"]) == (400, 20001)


async def test_a_list_picker_is_never_approved(sim: SimulatorClient) -> None:
    sid = await create(sim, LIST_PICKER)
    approval = {"name": "menu", "category": "UTILITY"}
    path = f"/v1/Content/{sid}/ApprovalRequests/whatsapp"
    assert (await raw(sim.base_url, "POST", path, json_body=approval))[0] == 400


async def test_a_quick_reply_is_rendered_shown_and_tapped(
    sim: SimulatorClient, twilio: Client, phone: Phone, receiver: Receiver
) -> None:
    await phone.says("oi")
    sent = await send(twilio, await create(sim, QUICK_REPLY), {"1": "terça às 9h", "2": "42"})
    assert (await call(twilio.messages(sent).fetch)).body == "Confirma terça às 9h?"
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert [(choice.id, choice.title) for choice in reply.choices] == [("yes_42", "Confirmar"), ("no", "Remarcar")]
    await phone.taps(reply, "Confirmar")
    params = receiver.hits[-1].params
    assert (params["MessageType"], params["Body"]) == ("button", "Confirmar")
    assert (params["ButtonText"], params["ButtonPayload"]) == ("Confirmar", "yes_42")
    assert (params["OriginalRepliedMessageSid"], params["OriginalRepliedMessageSender"]) == (sent, NUMBER)


async def test_an_item_of_a_list_is_chosen(
    sim: SimulatorClient, twilio: Client, phone: Phone, receiver: Receiver
) -> None:
    await phone.says("oi")
    await send(twilio, await create(sim, LIST_PICKER))
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert reply.face is not None
    assert reply.face.opener == "Ver opções"
    await phone.taps(reply, "invoice_copy")
    params = receiver.hits[-1].params
    assert {name: params[name] for name in ("MessageType", "Body", "ListId", "ListTitle", "ListDescription")} == {
        "MessageType": "interactive",
        "Body": "Segunda via",
        "ListId": "invoice_copy",
        "ListTitle": "Segunda via",
        "ListDescription": "Receber o boleto",
    }
    with pytest.raises(SimulatorError, match="404"):
        await phone.taps(reply, "nothing of the kind")


async def test_a_cards_quick_reply_tells_its_title_only_and_a_link_is_not_tapped(
    sim: SimulatorClient, twilio: Client, phone: Phone, receiver: Receiver
) -> None:
    await phone.says("oi")
    actions = [
        {"type": "QUICK_REPLY", "title": "Quero", "id": "want"},
        {"type": "URL", "title": "Abrir", "url": "https://a.example"},
    ]
    await send(twilio, await create(sim, {"twilio/card": {"title": "Bolo", "subtitle": "R$ 40", "actions": actions}}))
    (reply,) = await sim.wait_for_replies(CONTACT, 1)
    assert reply.body == "Bolo\nR$ 40"
    await phone.taps(reply, "Quero")
    assert receiver.hits[-1].params["Body"] == "Quero"
    assert "ButtonPayload" not in receiver.hits[-1].params
    with pytest.raises(SimulatorError, match="404"):
        await phone.taps(reply, "Abrir")


async def test_more_than_three_buttons_fail_in_a_session(sim: SimulatorClient, twilio: Client, phone: Phone) -> None:
    await phone.says("oi")
    await send(twilio, await create(sim, replies("1", "2", "3", "4")))
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="failed")
    assert reply.error_code == 63021


@pytest.mark.parametrize("variables", ["[1]", "{", '{"1": 2}', '"x"'])
async def test_variables_that_are_no_object_of_strings_are_21656(
    sim: SimulatorClient, twilio: Client, variables: str
) -> None:
    sid = (await template(sim, "order_ready")).sid
    with pytest.raises(TwilioRestException) as caught:
        await call(twilio.messages.create, to=CONTACT, from_=NUMBER, content_sid=sid, content_variables=variables)
    assert (caught.value.status, caught.value.code) == (400, 21656)


async def test_a_variable_without_value_and_sample_fails_later(
    sim: SimulatorClient, twilio: Client, phone: Phone
) -> None:
    await phone.says("oi")
    await send(twilio, await create(sim, {"twilio/text": {"body": "Olá {{nome}}"}}))
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="failed")
    assert reply.error_code == 63028


@given(st.dictionaries(st.sampled_from(["1", "2", "a"]), st.text(max_size=20)))
def test_variables_fill_every_place_once_and_samples_stand_in(variables: dict[str, str]) -> None:
    content = Content(
        sid="HX",
        account_sid=ACCOUNT,
        friendly_name="",
        language="pt_BR",
        variables={"1": "um", "2": "dois"},
        types={"twilio/text": {"body": "{{1}}|{{ 2 }}|{{a}}"}},
        created_at=0,
        updated_at=0,
    )
    values = {"1": "um", "2": "dois", **variables}
    if all(values.get(name) for name in ("1", "2", "a")):
        assert render(content, variables).body == f"{values['1']}|{values['2']}|{values['a']}"
    else:
        with pytest.raises(MissingVariable):
            render(content, variables)


async def test_the_products_own_client_lists_and_makes_contents_and_reads_their_failure(sim: SimulatorClient) -> None:
    sender = TwilioSender(account_sid=ACCOUNT, username=ACCOUNT, password=TOKEN, api_url=sim.base_url)
    api = ContentApi(sender, content_url=sim.base_url)
    listed = await api.templates()
    assert {(each.content_sid, each.status) for each in listed} == {
        (each.sid, each.status) for each in await sim.templates()
    }
    made = await api.create({"language": "pt_BR", "friendly_name": "menu", "types": LIST_PICKER})
    assert made in {each.content_sid for each in await api.templates()}
    with pytest.raises(SendError):
        await api.create({"language": "pt_BR", "types": {"twilio/text": {}}})
    await sender.aclose()


async def test_the_content_api_fails_on_demand(sim: SimulatorClient) -> None:
    await sim.add_fault(operation="content", http_status=503, count=1)
    assert (await raw(sim.base_url, "GET", "/v1/Content"))[0] == 503
    assert (await raw(sim.base_url, "GET", "/v1/Content"))[0] == 200
    assert (await raw(sim.base_url, "GET", "/v1/Content", token="wrong"))[0] == 401
