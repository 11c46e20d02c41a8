"""WhatsApp's 24-hour window and what a contact refuses, as the simulator holds a business to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from simulator_contents import call, send, template
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, Receiver, official_client
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from recado.simulator.app import SimulatorSettings, running
from recado.simulator.client import SimulatorClient
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


async def test_outside_the_window_words_are_undelivered_with_63016_and_a_message_of_the_contact_opens_it(
    sim: SimulatorClient, twilio: Client, phone: Phone, receiver: Receiver
) -> None:
    async def write(body: str) -> None:
        fields = {"body": body, "status_callback": f"{receiver.url}/status"}
        await call(twilio.messages.create, to=CONTACT, from_=NUMBER, **fields)

    await write("quem nunca escreveu")
    await receiver.until(lambda: receiver.statuses() == ["sent", "undelivered"])
    assert receiver.hits[-1].params["ErrorCode"] == "63016"
    await phone.says("oi")
    assert 86_390 < (await sim.threads())[0]["window_s"] <= 86_400
    await write("dentro")
    await receiver.until(lambda: receiver.statuses()[-1:] == ["delivered"])
    await phone.closes_window()
    await write("fora")
    await receiver.until(lambda: receiver.statuses()[-1:] == ["undelivered"])
    await sim.window(CONTACT, 0.3, account_sid=ACCOUNT, number=NUMBER)
    await write("ainda")
    await receiver.until(lambda: receiver.statuses()[-1:] == ["delivered"])
    await asyncio.sleep(0.3)
    await write("tarde")
    await receiver.until(lambda: receiver.statuses()[-1:] == ["undelivered"])


async def test_outside_the_window_an_approved_template_goes_and_its_button_opens_the_window(
    sim: SimulatorClient, twilio: Client, phone: Phone
) -> None:
    await send(twilio, (await template(sim, "continue_conversation")).sid, {"1": "Ana"})
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert reply.body == "Oi, Ana! Vimos a sua mensagem. Podemos continuar a conversa?"
    await phone.taps(reply, "continue")
    assert (await sim.threads())[0]["window_s"] > 86_000


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("pending", "undelivered", 63016),
        ("unsubmitted", "undelivered", 63016),
        ("rejected", "failed", 63040),
        ("paused", "failed", 63041),
    ],
)
async def test_outside_the_window_a_template_that_is_not_approved_does_not_go(
    sim: SimulatorClient, twilio: Client, status: str, outcome: str, code: int
) -> None:
    sid = (await template(sim, "order_ready", "es")).sid
    await sim.decide(sid, status)
    await sim.pace(approved_ms=60_000)
    await send(twilio, sid, {"1": "Ana", "2": "7"})
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status=outcome)
    assert reply.error_code == code


async def test_a_window_is_whatsapps_and_binds_no_other_channel(sim: SimulatorClient, twilio: Client) -> None:
    await sim.add_number(ACCOUNT, "+14155550100")
    await call(twilio.messages.create, to="+5511987654321", from_="+14155550100", body="sms")
    await sim.wait_for_replies("+5511987654321", 1, status="delivered")


async def test_a_contact_who_opted_out_or_blocked_the_business_is_a_fault(
    sim: SimulatorClient, twilio: Client, phone: Phone
) -> None:
    await phone.says("oi")
    await sim.add_fault("opted-out", count=1)
    with pytest.raises(TwilioRestException) as caught:
        await call(twilio.messages.create, to=CONTACT, from_=NUMBER, body="x")
    assert (caught.value.status, caught.value.code) == (400, 21610)
    await sim.add_fault("blocked", count=1)
    await call(twilio.messages.create, to=CONTACT, from_=NUMBER, body="y")
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="undelivered")
    assert reply.error_code == 63033
