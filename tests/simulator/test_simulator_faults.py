"""Each fault does what it says, as often as it says, and leaves the rest alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import requests
from pydantic import ValidationError
from simulator_stage import ACCOUNT, CONTACT, NUMBER, Receiver, official_client
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from recado.simulator.client import SimulatorClient, SimulatorError
from recado.simulator.faults import NO_EFFECT, Fault, Faults, arm, strike
from recado.simulator.presets import PRESETS


async def create(twilio: Client, **fields: str) -> Any:
    given = {"to": CONTACT, "from_": NUMBER, "body": "olá"} | fields
    return await asyncio.to_thread(twilio.messages.create, **given)


async def error_of(twilio: Client, **fields: str) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        await create(twilio, **fields)
    return caught.value


async def taken(sim: SimulatorClient) -> int:
    return len(await sim.replies(CONTACT))


async def test_429_is_answered_with_20429_and_retry_after_and_takes_nothing(
    sim: SimulatorClient, twilio: Client
) -> None:
    await sim.add_fault("too-many-requests", count=2, retry_after_s=7)
    for _ in range(2):
        error = await error_of(twilio)
        assert (error.status, error.code) == (429, 20429)
    headers = twilio.http_client._test_only_last_response.headers
    assert headers["Retry-After"] == "7"
    assert await taken(sim) == 0
    await create(twilio)
    assert await taken(sim) == 1
    assert [(call.status, call.faulted) for call in await sim.calls()] == [
        (429, ["too-many-requests"]),
        (429, ["too-many-requests"]),
        (201, []),
    ]


async def test_an_error_before_taking_leaves_nothing_and_after_taking_leaves_the_message(
    sim: SimulatorClient, twilio: Client
) -> None:
    await sim.add_fault("error-before", count=1)
    assert (await error_of(twilio)).status == 503
    assert await taken(sim) == 0
    await sim.add_fault("error-after", count=1)
    assert (await error_of(twilio)).status == 500
    assert await taken(sim) == 1
    (listed,) = await asyncio.to_thread(twilio.messages.list, to=CONTACT, from_=NUMBER)
    assert listed.body == "olá"


async def test_any_error_of_twilios_can_be_answered(sim: SimulatorClient, twilio: Client) -> None:
    await sim.add_fault(operation="create", http_status=400, code=21610, error_message="Unsubscribed recipient")
    error = await error_of(twilio)
    assert (error.status, error.code) == (400, 21610)
    assert "Unsubscribed recipient" in error.msg


async def test_a_timeout_after_taking_leaves_the_message_and_no_answer(sim: SimulatorClient) -> None:
    await sim.add_fault("timeout-after", count=1)
    with official_client(sim.base_url, timeout=0.3) as hasty:
        started = time.monotonic()
        with pytest.raises(requests.exceptions.ReadTimeout):
            await create(hasty)
        assert time.monotonic() - started >= 0.3
        assert await taken(sim) == 1
        await create(hasty)
    statuses = [call.status for call in await sim.calls()]
    assert statuses == [0, 201]


async def test_a_held_connection_is_cut_when_its_time_is_over(sim: SimulatorClient, twilio: Client) -> None:
    await sim.add_fault(operation="create", hold_s=0.2, when="after", count=1)
    started = time.monotonic()
    with pytest.raises(requests.exceptions.ConnectionError):
        await create(twilio)
    assert 0.2 <= time.monotonic() - started < 5
    assert await taken(sim) == 1


@pytest.mark.parametrize(("preset", "messages"), [("drop-before", 0), ("drop-after", 1)])
async def test_a_cut_connection_has_no_answer_at_all(
    sim: SimulatorClient, twilio: Client, preset: str, messages: int
) -> None:
    await sim.add_fault(preset, count=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        await create(twilio)
    assert await taken(sim) == messages
    await create(twilio)
    assert await taken(sim) == messages + 1


async def test_latency_waits_and_then_answers_well(sim: SimulatorClient, twilio: Client) -> None:
    await sim.add_fault("slow", latency_ms=200)
    started = time.monotonic()
    assert (await create(twilio)).status == "queued"
    assert time.monotonic() - started >= 0.2


async def test_the_first_callback_can_overtake_the_answer(
    sim: SimulatorClient, twilio: Client, receiver: Receiver
) -> None:
    await sim.add_fault("callback-first")
    receiver.delay_s = 0.1
    sent = await create(twilio, status_callback=f"{receiver.url}/status")
    assert receiver.statuses()[:1] == ["sent"]
    assert sent.status == "queued"
    await receiver.until(lambda: receiver.statuses() == ["sent", "delivered"])


async def test_a_delivery_fails_with_its_code(sim: SimulatorClient, twilio: Client, receiver: Receiver) -> None:
    await sim.add_fault("fails")
    sent = await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: receiver.statuses() == ["failed"])
    assert receiver.hits[0].params["ErrorCode"] == "63024"
    fetched = await asyncio.to_thread(twilio.messages(sent.sid).fetch)
    assert (fetched.status, fetched.error_code) == ("failed", 63024)


async def test_callbacks_get_lost(sim: SimulatorClient, twilio: Client, receiver: Receiver) -> None:
    await sim.add_fault("lost-callbacks", status="sent")
    await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: receiver.statuses() == ["delivered"])
    assert [post.attempts == () for post in await sim.webhooks(kind="callback")][:1] == [True]


async def test_callbacks_come_more_than_once(sim: SimulatorClient, twilio: Client, receiver: Receiver) -> None:
    await sim.add_fault("duplicate-callbacks", copies=3)
    await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: len(receiver.hits) == 6)
    assert sorted(receiver.statuses()) == ["delivered"] * 3 + ["sent"] * 3


async def test_callbacks_come_in_disorder(sim: SimulatorClient, twilio: Client, receiver: Receiver) -> None:
    await sim.add_fault("disordered-callbacks")
    await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: len(receiver.hits) == 2)
    assert receiver.statuses() == ["delivered", "sent"]


async def test_a_callback_that_nothing_follows_is_late_and_not_lost(
    sim: SimulatorClient, twilio: Client, receiver: Receiver
) -> None:
    await sim.add_fault("disordered-callbacks", status="delivered")
    await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: receiver.statuses() == ["sent", "delivered"])


async def test_callbacks_come_late(sim: SimulatorClient, twilio: Client, receiver: Receiver) -> None:
    await sim.add_fault("late-callbacks", delay_ms=300)
    await create(twilio, status_callback=f"{receiver.url}/status")
    await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert receiver.hits == []
    await receiver.until(lambda: len(receiver.hits) == 2)


async def test_inbound_webhooks_are_doubled_or_lost(sim: SimulatorClient, receiver: Receiver) -> None:
    async def write() -> list[int | None]:
        return (await sim.send("oi", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)).statuses

    await sim.add_fault("duplicate-inbound", count=1)
    assert await write() == [200, 200]
    assert len({hit.params["MessageSid"] for hit in receiver.hits}) == 1
    await sim.add_fault(operation="inbound", lose=True, count=1)
    assert await write() == []
    assert await write() == [200]


@pytest.mark.parametrize(
    ("fault", "operation"),
    [({"operation": "list"}, "list"), ({"operation": "fetch"}, "fetch"), ({"operation": "typing"}, "typing")],
)
async def test_other_operations_fail_too(
    sim: SimulatorClient, twilio: Client, fault: dict[str, str], operation: str
) -> None:
    sent = await create(twilio)
    inbound = await sim.send("oi", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)
    await sim.add_fault(http_status=503, **fault)
    typing = {"messageId": inbound.sid, "channel": "whatsapp"}
    statuses = {
        "list": lambda: twilio.messages.list(),
        "fetch": lambda: twilio.messages(sent.sid).fetch(),
        "typing": lambda: twilio.request("POST", f"{sim.base_url}/v2/Indicators/Typing.json", data=typing),
    }
    for name, work in statuses.items():
        try:
            answer = await asyncio.to_thread(work)
            status = getattr(answer, "status_code", 200)
        except TwilioException:
            status = 503
        assert (status == 503) == (name == operation), name


async def test_a_fault_strikes_only_what_it_is_about(sim: SimulatorClient, twilio: Client) -> None:
    await sim.add_fault(operation="create", body="^segunda", http_status=500)
    await create(twilio, body="primeira")
    await error_of(twilio, body="segunda parte")
    await sim.clear_faults()
    await sim.add_fault(operation="create", to="5511", http_status=500)
    await create(twilio, to="whatsapp:+351912345678")
    await error_of(twilio)


async def test_a_fault_is_removed_by_its_id(sim: SimulatorClient, twilio: Client) -> None:
    kept = await sim.add_fault(operation="fetch", http_status=500)
    gone = await sim.add_fault("error-before")
    await sim.remove_fault(gone)
    await create(twilio)
    assert [fault["id"] for fault in await sim.faults()] == [kept]
    with pytest.raises(SimulatorError, match="404"):
        await sim.remove_fault(gone)


@pytest.mark.parametrize(
    "fields",
    [{}, {"operation": "create"}, {"drop": True, "to": "("}, {"drop": True, "unknown": 1}, {"http_status": 200}],
)
def test_a_fault_that_means_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(fields)


async def test_the_control_api_says_what_is_wrong_with_a_fault(sim: SimulatorClient) -> None:
    with pytest.raises(SimulatorError, match="422"):
        await sim.add_fault(operation="create")
    with pytest.raises(SimulatorError, match="there are slow"):
        await sim.add_fault("nonsense")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_fault(name: str) -> None:
    assert Fault.model_validate(PRESETS[name].fields)


def test_probability_is_kept_and_hits_are_counted() -> None:
    faults = Faults()
    faults.chance.seed(7)
    armed = arm(faults, Fault(operation="create", drop=True, probability=0.25))
    struck = sum(strike(faults, "create") is not NO_EFFECT for _ in range(2000))
    assert 400 < struck < 600
    assert armed.hits == struck


def test_faults_that_strike_together_add_up_and_the_older_refusal_wins() -> None:
    faults = Faults()
    arm(faults, Fault(operation="create", latency_ms=10, http_status=429))
    arm(faults, Fault(operation="any", latency_ms=5, drop=True, when="after"))
    effect = strike(faults, "create")
    assert effect.latency_ms == 15
    assert effect.refusal_when("before") is faults.armed[0].fault
    assert effect.refusal_when("after") is None
