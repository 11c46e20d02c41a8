"""Webhooks and callbacks are signed, shaped, and retried like Twilio's."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, Hit, Receiver
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from recado.simulator.app import SimulatorSettings, running
from recado.simulator.client import SimulatorClient, SimulatorError
from recado.simulator.state import Attempt
from recado.simulator.views import Sent
from recado.simulator.webhooks import retried, signature, target

EXAMPLES = json.loads((Path(__file__).parents[1] / "data" / "twilio-examples.json").read_text())


async def write(sim: SimulatorClient, body: str = "oi", **fields: object) -> Sent:
    return await sim.send(body, account_sid=ACCOUNT, from_=CONTACT, to=NUMBER, **fields)  # type: ignore[arg-type]


async def create(twilio: Client, **fields: str) -> str:
    given = {"to": CONTACT, "from_": NUMBER, "body": "olá"} | fields
    return str((await asyncio.to_thread(twilio.messages.create, **given)).sid)


def signed(hit: Hit, url: str, token: str = TOKEN) -> bool:
    return bool(RequestValidator(token).validate(url, hit.params, hit.headers["X-Twilio-Signature"]))


@asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    """A port on which nothing listens; bound, so that nothing will."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_an_inbound_webhook_has_the_parameters_and_headers_of_twilios(
    sim: SimulatorClient, receiver: Receiver
) -> None:
    sent = await write(sim, "Olá, tudo bem? ", profile_name="José 😀")
    assert sent.statuses == [200]
    (hit,) = receiver.hits
    example = EXAMPLES["inbound"]["text"]["params"]
    sids = {"SmsMessageSid": sent.sid, "SmsSid": sent.sid, "MessageSid": sent.sid}
    assert hit.params == {**example, **sids, "AccountSid": ACCOUNT}
    assert hit.headers["User-Agent"] == "TwilioProxy/1.1"
    assert hit.headers["X-Home-Region"] == "us1"
    assert hit.headers["I-Twilio-Idempotency-Token"]
    assert hit.headers["Content-Type"].startswith("application/x-www-form-urlencoded")


async def test_the_signature_covers_the_url_with_its_query(sim: SimulatorClient, receiver: Receiver) -> None:
    await write(sim)
    (hit,) = receiver.hits
    assert (hit.path, hit.query) == ("/inbound", "tenant=acme")
    assert signed(hit, f"{receiver.url}/inbound?tenant=acme")
    assert not signed(hit, f"{receiver.url}/inbound")
    assert not signed(hit, f"{receiver.url}/inbound?tenant=acme", token="another")


async def test_an_encoded_url_is_called_as_it_was_given(sim: SimulatorClient, receiver: Receiver) -> None:
    url = f"{receiver.url}/in%2Fbound?a=%7Eb%20c&d=%C3%A9+f"
    await sim.add_number(ACCOUNT, NUMBER, url)
    await write(sim)
    (hit,) = receiver.hits
    assert hit.target == "/in%2Fbound?a=%7Eb%20c&d=%C3%A9+f"
    assert signed(hit, url)


@pytest.mark.parametrize("kind", sorted(EXAMPLES["inbound"]))
async def test_every_example_can_be_written_by_a_contact(sim: SimulatorClient, receiver: Receiver, kind: str) -> None:
    params = EXAMPLES["inbound"][kind]["params"]
    await write(
        sim,
        params["Body"],
        profile_name=params["ProfileName"],
        message_sid=params["MessageSid"],
        params={name: value for name, value in params.items() if name not in ("AccountSid", "From", "To")},
    )
    (hit,) = receiver.hits
    assert hit.params == {**params, "AccountSid": ACCOUNT}
    assert signed(hit, f"{receiver.url}/inbound?tenant=acme")


@pytest.mark.parametrize("kind", sorted(EXAMPLES["inbound"]))
def test_signatures_are_those_of_the_examples(kind: str) -> None:
    example = EXAMPLES["inbound"][kind]
    assert signature(EXAMPLES["token"], EXAMPLES["inbound_url"], example["params"]) == example["signature"]


async def test_a_parameter_can_be_taken_away_and_a_sid_is_taken_once(sim: SimulatorClient, receiver: Receiver) -> None:
    sid = "SM" + "a" * 32
    await write(sim, message_sid=sid, params={"Body": None, "NewOfTwilios": "x"})
    assert "Body" not in receiver.hits[0].params
    assert receiver.hits[0].params["NewOfTwilios"] == "x"
    with pytest.raises(SimulatorError, match="409"):
        await write(sim, message_sid=sid)


async def test_the_primary_token_signs_after_a_rotation(sim: SimulatorClient, receiver: Receiver) -> None:
    await sim.add_account(ACCOUNT, ["new", TOKEN])
    await write(sim)
    assert signed(receiver.hits[0], f"{receiver.url}/inbound?tenant=acme", token="new")


async def test_the_same_webhook_is_sent_again_byte_for_byte(sim: SimulatorClient, receiver: Receiver) -> None:
    sent = await write(sim)
    again = await sim.resend(sent.sid, times=20)
    assert again.statuses == [200] * 20
    assert len(receiver.hits) == 21
    first = receiver.hits[0]
    same = ("X-Twilio-Signature", "I-Twilio-Idempotency-Token")
    for hit in receiver.hits:
        assert hit.params == first.params
        assert [hit.headers[name] for name in same] == [first.headers[name] for name in same]
    assert len(await sim.thread(CONTACT)) == 1


async def test_without_waiting_the_webhook_is_posted_all_the_same(sim: SimulatorClient, receiver: Receiver) -> None:
    receiver.delay_s = 0.2
    sent = await write(sim, wait=False)
    assert sent.attempts == ()
    await receiver.until(lambda: len(receiver.hits) == 1)


async def test_an_error_answer_is_not_tried_again(sim: SimulatorClient, receiver: Receiver) -> None:
    receiver.answers = [503]
    assert (await write(sim)).statuses == [503]
    assert len(receiver.hits) == 1


async def test_a_failed_connection_is_tried_again_once(sim: SimulatorClient) -> None:
    async with closed_port() as port:
        await sim.add_number(ACCOUNT, NUMBER, f"http://127.0.0.1:{port}/")
        sent = await write(sim)
    assert [attempt.error for attempt in sent.attempts] == ["ct", "ct"]


async def test_the_fragment_says_what_is_tried_again_and_is_neither_sent_nor_signed(
    sim: SimulatorClient, receiver: Receiver
) -> None:
    await sim.add_number(ACCOUNT, NUMBER, f"{receiver.url}/inbound#rc=3&rp=ct,rt,5xx")
    receiver.answers = [500, 503]
    assert (await write(sim)).statuses == [500, 503, 200]
    assert all(signed(hit, f"{receiver.url}/inbound") for hit in receiver.hits)
    assert len({hit.headers["I-Twilio-Idempotency-Token"] for hit in receiver.hits}) == 1
    receiver.answers = [404]
    assert (await write(sim)).statuses == [404]
    async with closed_port() as port:
        await sim.add_number(ACCOUNT, NUMBER, f"http://127.0.0.1:{port}/#rc=2&rp=5xx")
        assert len((await write(sim)).attempts) == 1


@given(
    st.integers(0, 9),
    st.sets(st.sampled_from(["ct", "rt", "4xx", "5xx", "all"]), min_size=1),
    st.sampled_from([(None, "ct"), (None, "rt"), (200, None), (302, None), (404, None), (429, None), (503, None)]),
)
def test_overrides_are_read_as_twilio_documents_them(
    count: int, policy: set[str], ended: tuple[int | None, str | None]
) -> None:
    goal = target(f"http://a.example/x?y=1#rc={count}&rp={','.join(sorted(policy))}")
    assert (goal.url, goal.retries) == ("http://a.example/x?y=1", min(count, 5))
    status, error = ended
    name = error or {4: "4xx", 5: "5xx"}.get((status or 0) // 100)
    again = retried(Attempt(status=status, error=error, ms=1), goal.policy)
    assert again == (name is not None and (name in policy or "all" in policy))


async def test_status_callbacks_follow_the_message_and_are_shaped_like_twilios(
    sim: SimulatorClient, receiver: Receiver, twilio: Client
) -> None:
    url = f"{receiver.url}/status?message=42"
    sid = await create(twilio, status_callback=f"{url}#rc=2")
    await receiver.until(lambda: len(receiver.hits) == 2)
    assert await sim.read(CONTACT, account_sid=ACCOUNT, number=NUMBER) == 1
    await receiver.until(lambda: len(receiver.hits) == 3)
    assert receiver.statuses() == ["sent", "delivered", "read"]
    for hit in receiver.hits:
        assert hit.query == "message=42"
        assert signed(hit, url)
    for hit in receiver.hits[:2]:
        example = EXAMPLES["status"][hit.params["MessageStatus"]]["params"]
        assert hit.params == {**example, "AccountSid": ACCOUNT, "MessageSid": sid, "SmsSid": sid}
    assert receiver.hits[2].params["EventType"] == "READ"


async def test_an_undelivered_message_is_told_with_its_code(
    sim: SimulatorClient, receiver: Receiver, twilio: Client
) -> None:
    await sim.add_fault("outside-window")
    sid = await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: len(receiver.hits) == 2)
    example = EXAMPLES["status"]["undelivered_63016"]["params"]
    assert receiver.hits[-1].params == {**example, "AccountSid": ACCOUNT, "MessageSid": sid, "SmsSid": sid}
    (reply,) = await sim.replies(CONTACT)
    assert (reply.status, reply.error_code, reply.delivered_at) == ("undelivered", 63016, None)


async def test_messages_are_read_by_themselves_where_that_is_asked_for(sim: SimulatorClient, twilio: Client) -> None:
    assert (await sim.pace(auto_read=True))["auto_read"] is True
    await create(twilio)
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="read")
    assert reply.sent_at is not None
    assert reply.delivered_at is not None
    assert reply.read_at is not None
    assert reply.created_at <= reply.sent_at <= reply.delivered_at <= reply.read_at


async def test_a_number_may_have_a_status_callback_of_its_own(
    sim: SimulatorClient, receiver: Receiver, twilio: Client
) -> None:
    await sim.add_number(ACCOUNT, NUMBER, status_callback_url=f"{receiver.url}/own")
    await create(twilio)
    await receiver.until(lambda: receiver.statuses() == ["sent", "delivered"])


async def test_what_was_posted_is_remembered(sim: SimulatorClient, receiver: Receiver, twilio: Client) -> None:
    sent = await write(sim)
    sid = await create(twilio, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: len(receiver.hits) == 3)
    (inbound,) = await sim.webhooks(kind="inbound")
    assert (inbound.sid, [attempt.status for attempt in inbound.attempts]) == (sent.sid, [200])

    async def both() -> bool:
        return len(await sim.webhooks(kind="callback", sid=sid)) == 2

    await sim.wait_for(both)


async def test_after_a_reset_nothing_is_told_about_messages_from_before(
    sim: SimulatorClient, receiver: Receiver, twilio: Client
) -> None:
    await sim.pace(sent_ms=100, delivered_ms=150)
    await create(twilio, status_callback=f"{receiver.url}/status")
    await sim.reset()
    await asyncio.sleep(0.3)
    assert receiver.hits == []


async def test_a_simulator_stops_quickly_while_a_webhook_and_a_stream_are_open(receiver: Receiver) -> None:
    receiver.delay_s = 30
    loop = asyncio.get_running_loop()
    async with SimulatorClient("http://unused") as sim:
        async with running(SimulatorSettings(port=0)) as url:
            sim.base_url = url
            await sim.add_account(ACCOUNT, TOKEN)
            await sim.add_number(ACCOUNT, NUMBER, receiver.url)
            await write(sim, wait=False)
            await receiver.until(lambda: len(receiver.hits) == 1)
            stream = asyncio.create_task(sim_stream(url))
            await asyncio.sleep(0.1)
            started = loop.time()
        assert loop.time() - started < 2
        await stream


async def sim_stream(url: str) -> None:
    """Read the events until the simulator ends them."""
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{url}/sim/events") as response:
        async for _ in response.content:
            pass
