"""The official client finds a Twilio: fields, statuses, paging, errors, credentials."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp
import pytest
import simulator_specs
import uvicorn
from simulator_specs import assert_is
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, official_client
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from recado.simulator.client import SimulatorClient

T = TypeVar("T")
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
OTHER_CONTACT = "whatsapp:+351912345678"


async def call(work: Callable[..., T], *args: Any, **fields: Any) -> T:
    return await asyncio.to_thread(work, *args, **fields)


async def raw(sim: SimulatorClient, method: str, path: str, **form: str) -> tuple[int, Any]:
    return await simulator_specs.raw(sim.base_url, method, path, **form)


async def create(sim: SimulatorClient, **fields: str) -> tuple[int, Any]:
    return await raw(sim, "POST", MESSAGES, **{"To": CONTACT, "From": NUMBER, "Body": "olá"} | fields)


async def test_a_client_that_was_idle_longer_than_uvicorn_waits_finds_its_connection_open(sim: SimulatorClient) -> None:
    host, port = sim.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    ask = b"GET /sim/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(ask)
    await asyncio.wait_for(reader.readuntil(b'"ok":true'), 5)
    await asyncio.sleep(uvicorn.Config("x").timeout_keep_alive + 0.5)
    writer.write(ask)
    await asyncio.wait_for(reader.readuntil(b'"ok":true'), 5)
    writer.close()


async def test_the_official_client_sends_a_message_and_follows_it_to_delivered(
    sim: SimulatorClient, twilio: Client
) -> None:
    sent = await call(twilio.messages.create, to=CONTACT, from_=NUMBER, body="Olá 😀")
    assert (sent.status, sent.direction, sent.num_segments, sent.num_media) == ("queued", "outbound-api", "1", "0")
    assert abs(datetime.now(UTC) - sent.date_created) < timedelta(seconds=5)
    await sim.wait_for_replies(CONTACT, 1, status="delivered")
    fetched = await call(twilio.messages(sent.sid).fetch)
    assert (fetched.status, fetched.body, fetched.to, fetched.from_) == ("delivered", "Olá 😀", CONTACT, NUMBER)
    assert fetched.date_sent is not None


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning")
async def test_the_official_asynchronous_client_sends_too(sim: SimulatorClient) -> None:
    from twilio.http.async_http_client import AsyncTwilioHttpClient

    async with AsyncTwilioHttpClient(timeout=5) as http:
        client = Client(ACCOUNT, TOKEN, http_client=http)
        client.api.base_url = sim.base_url
        sent = await client.messages.create_async(to=CONTACT, from_=NUMBER, body="oi")
    assert [reply.sid for reply in await sim.replies(CONTACT)] == [sent.sid]


async def test_every_answer_is_as_twilios_specification_says(sim: SimulatorClient) -> None:
    status, created = await create(sim)
    assert status == 201
    assert_is("api.v2010.account.message", created)
    await sim.send("oi", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)
    await sim.wait_for_replies(CONTACT, 1, status="delivered")
    status, fetched = await raw(sim, "GET", created["uri"])
    assert status == 200
    assert_is("api.v2010.account.message", fetched)
    status, listed = await raw(sim, "GET", MESSAGES)
    assert status == 200
    assert_is("ListMessageResponse", listed)
    assert [message["direction"] for message in listed["messages"]] == ["inbound", "outbound-api"]
    for message in listed["messages"]:
        assert_is("api.v2010.account.message", message)
    sid = listed["messages"][0]["sid"]
    status, typing = await raw(sim, "POST", "/v2/Indicators/Typing.json", messageId=sid, channel="whatsapp")
    assert (status, typing) == (200, {"success": True})


async def test_dates_are_rfc_2822_in_gmt(sim: SimulatorClient) -> None:
    _, created = await create(sim)
    assert datetime.strptime(created["date_created"], "%a, %d %b %Y %H:%M:%S +0000")  # noqa: DTZ007


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"To": "whatsapp:12"}, 21211),
        ({"From": "whatsapp:+15550001111"}, 63007),
        ({"From": "+14155238886"}, 63007),
        ({"To": "+5511987654321", "From": "+15550001111"}, 21606),
        ({"To": NUMBER}, 21266),
        ({"From": "", "MessagingServiceSid": "MG" + "0" * 32}, 21703),
    ],
)
async def test_a_form_that_twilio_refuses_is_refused_with_its_code(
    sim: SimulatorClient, fields: dict[str, str], code: int
) -> None:
    status, error = await create(sim, **fields)
    assert (status, error["code"], error["status"]) == (400, code, 400)
    assert error["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert await sim.thread(CONTACT) == []


async def test_a_message_without_body_and_media_is_21619(sim: SimulatorClient) -> None:
    status, error = await raw(sim, "POST", MESSAGES, To=CONTACT, From=NUMBER)
    assert (status, error["code"]) == (400, 21619)


async def test_1600_characters_and_business_scoped_ids_are_taken(sim: SimulatorClient) -> None:
    assert (await create(sim, Body="é" * 1600))[0] == 201
    assert (await create(sim, To="whatsapp:US.13491234567890"))[0] == 201


async def test_the_client_raises_twilios_exception(twilio: Client) -> None:
    with pytest.raises(TwilioRestException) as caught:
        await call(twilio.messages.create, to=CONTACT, from_="whatsapp:+15550001111", body="x")
    assert (caught.value.status, caught.value.code) == (400, 63007)


@pytest.mark.parametrize(("user", "password"), [(ACCOUNT, "wrong"), ("AC" + "9" * 32, TOKEN), ("SK" + "1" * 32, TOKEN)])
async def test_wrong_credentials_are_401_with_20003(sim: SimulatorClient, user: str, password: str) -> None:
    with official_client(sim.base_url, user=user, password=password) as stranger:
        with pytest.raises(TwilioRestException) as caught:
            await call(stranger.messages.create, to=CONTACT, from_=NUMBER, body="x")
        assert (caught.value.status, caught.value.code) == (401, 20003)
    assert await sim.thread(CONTACT) == []


async def test_the_secondary_token_and_api_keys_let_in(sim: SimulatorClient) -> None:
    key = "SK" + "1" * 32
    await sim.add_account(ACCOUNT, [TOKEN, "second"], api_keys={key: "secret"})
    for user, password in ((ACCOUNT, "second"), (key, "secret")):
        with official_client(sim.base_url, user=user, password=password) as client:
            await call(client.messages.create, to=CONTACT, from_=NUMBER, body="x")
    assert len(await sim.replies(CONTACT)) == 2


@pytest.mark.parametrize(
    "path",
    [
        f"/2010-04-01/Accounts/{ACCOUNT}/Messages/SM{'0' * 32}.json",
        f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json",
        f"/2010-04-01/Accounts/AC{'9' * 32}/Messages.json",
        "/v2/Services.json",
    ],
)
async def test_what_is_not_there_is_404_with_20404(sim: SimulatorClient, path: str) -> None:
    status, error = await raw(sim, "GET", path)
    assert (status, error["code"]) == (404, 20404)


async def test_one_account_does_not_see_anothers_messages(sim: SimulatorClient) -> None:
    _, created = await create(sim)
    other = "AC" + "7" * 32
    await sim.add_account(other, "other-token")
    await sim.add_number(other, "whatsapp:+14155550000")
    credentials = base64.b64encode(f"{other}:other-token".encode()).decode()
    async with aiohttp.ClientSession(headers={"Authorization": f"Basic {credentials}"}) as session:
        for path in (created["uri"], created["uri"].replace(ACCOUNT, other)):
            async with session.get(sim.base_url + path) as response:
                assert response.status == 404
        async with session.get(f"{sim.base_url}/2010-04-01/Accounts/{other}/Messages.json") as response:
            assert (await response.json())["messages"] == []


async def test_the_list_is_newest_first_and_filters_by_both_sides(sim: SimulatorClient, twilio: Client) -> None:
    for body in ("1", "2", "3"):
        await create(sim, Body=body)
    await create(sim, To=OTHER_CONTACT, Body="other")
    await sim.send("in", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)

    async def bodies(**filters: str) -> list[str]:
        return [message.body for message in await call(twilio.messages.list, **filters)]

    assert await bodies() == ["in", "other", "3", "2", "1"]
    assert await bodies(to=CONTACT, from_=NUMBER) == ["3", "2", "1"]
    assert await bodies(to=NUMBER, from_=CONTACT) == ["in"]
    assert await bodies(to=CONTACT) == ["3", "2", "1"]
    assert await bodies(from_=NUMBER) == ["other", "3", "2", "1"]
    assert await bodies(to="whatsapp:+10000000000") == []


async def test_the_list_filters_by_date_both_ends_included(sim: SimulatorClient, twilio: Client) -> None:
    await create(sim)
    await sim.wait_for_replies(CONTACT, 1, status="delivered")
    sent = datetime.fromtimestamp(int((await sim.replies(CONTACT))[0].sent_at or 0), UTC)

    async def found(**filters: Any) -> int:
        return len(await call(twilio.messages.list, to=CONTACT, from_=NUMBER, **filters))

    second, hour = timedelta(seconds=1), timedelta(hours=1)
    assert await found(date_sent_after=sent) == 1
    assert await found(date_sent_after=sent + second) == 0
    assert await found(date_sent_before=sent) == 1
    assert await found(date_sent_before=sent - second) == 0
    assert await found(date_sent_after=sent - hour, date_sent_before=sent + hour) == 1
    assert await found(date_sent=sent) == 1
    assert await found(date_sent=sent - timedelta(days=1)) == 0
    status, error = await raw(sim, "GET", f"{MESSAGES}?DateSent=yesterday")
    assert (status, error["code"]) == (400, 20001)


async def test_a_message_that_is_still_queued_is_found_by_date(sim: SimulatorClient, twilio: Client) -> None:
    await sim.pace(sent_ms=60_000)
    before = datetime.now(UTC) - timedelta(seconds=1)
    await create(sim)
    found = await call(twilio.messages.list, to=CONTACT, from_=NUMBER, date_sent_after=before)
    assert [(message.status, message.date_sent) for message in found] == [("queued", None)]


async def test_pages_hold_every_message_once_also_while_more_come(sim: SimulatorClient, twilio: Client) -> None:
    for index in range(7):
        await create(sim, Body=str(index))
    page = await call(twilio.messages.page, page_size=3)
    bodies = [message.body for message in page]
    while True:
        await create(sim, Body="late")
        following = await call(page.next_page)
        if following is None:
            break
        page = following
        bodies += [message.body for message in page]
    assert bodies == ["6", "5", "4", "3", "2", "1", "0"]
    assert [m.body for m in await call(twilio.messages.list, limit=2, page_size=1)] == ["late", "late"]


async def test_a_page_without_its_token_is_refused_like_twilio_does(sim: SimulatorClient) -> None:
    status, error = await raw(sim, "GET", f"{MESSAGES}?Page=1")
    assert (status, error["code"]) == (400, 20001)


async def test_a_body_is_emptied_in_the_records_and_stays_on_the_phone(sim: SimulatorClient, twilio: Client) -> None:
    sent = await call(twilio.messages.create, to=CONTACT, from_=NUMBER, body="secret")
    assert (await call(twilio.messages(sent.sid).update, body="")).body == ""
    assert (await call(twilio.messages(sent.sid).fetch)).body == ""
    assert [reply.body for reply in await sim.replies(CONTACT)] == ["secret"]


async def test_a_message_is_deleted_only_when_it_is_final(sim: SimulatorClient, twilio: Client) -> None:
    await sim.pace(sent_ms=150, delivered_ms=200)
    sent = await call(twilio.messages.create, to=CONTACT, from_=NUMBER, body="x")
    with pytest.raises(TwilioRestException) as caught:
        await call(twilio.messages(sent.sid).delete)
    assert (caught.value.status, caught.value.code) == (409, 20009)
    await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert await call(twilio.messages(sent.sid).delete) is True
    with pytest.raises(TwilioRestException) as gone:
        await call(twilio.messages(sent.sid).fetch)
    assert gone.value.code == 20404
    assert await call(twilio.messages.list) == []
    assert len(await sim.replies(CONTACT)) == 1


async def test_only_a_scheduled_message_can_be_canceled(sim: SimulatorClient, twilio: Client) -> None:
    service = "MG" + "0" * 32
    await sim.add_number(ACCOUNT, NUMBER, messaging_service_sid=service)
    later = datetime.now(UTC) + timedelta(hours=1)
    scheduled = await call(
        twilio.messages.create,
        to=CONTACT, messaging_service_sid=service, body="x", schedule_type="fixed", send_at=later,
    )  # fmt: skip
    assert scheduled.status == "scheduled"
    assert (await call(twilio.messages(scheduled.sid).update, status="canceled")).status == "canceled"
    sent = await call(twilio.messages.create, to=CONTACT, messaging_service_sid=service, body="y")
    assert (sent.status, sent.messaging_service_sid) == ("accepted", service)
    with pytest.raises(TwilioRestException) as caught:
        await call(twilio.messages(sent.sid).update, status="canceled")
    assert caught.value.code == 30409


async def test_typing_marks_what_the_contact_wrote_as_read_and_shows_until_the_answer(sim: SimulatorClient) -> None:
    first = await sim.send("a", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)
    last = await sim.send("b", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER)
    form = {"messageId": last.sid, "channel": "whatsapp"}
    assert await raw(sim, "POST", "/v2/Indicators/Typing.json", **form) == (200, {"success": True})
    assert [bubble.sid for bubble in await sim.thread(CONTACT) if bubble.read_at] == [first.sid, last.sid]
    assert 20 < (await sim.threads())[0]["typing_s"] <= 25
    await create(sim)
    assert (await sim.threads())[0]["typing_s"] == 0
    status, error = await raw(sim, "POST", "/v2/Indicators/Typing.json", messageId="SM" + "0" * 32, channel="whatsapp")
    assert (status, error["code"]) == (404, 20404)


async def test_every_call_is_remembered_with_its_form_and_answer(sim: SimulatorClient) -> None:
    _, created = await create(sim)
    await create(sim, To="")
    calls = await sim.calls()
    assert [(call.method, call.operation, call.status, call.sid) for call in calls] == [
        ("POST", "create", 201, created["sid"]),
        ("POST", "create", 400, None),
    ]
    assert calls[0].form == {"To": CONTACT, "From": NUMBER, "Body": "olá"}
    assert [call.seq for call in await sim.calls(after=1)] == [2]


async def test_a_hundred_messages_at_once_are_each_seen_once_in_the_order_they_were_taken(
    sim: SimulatorClient,
) -> None:
    await asyncio.gather(*(create(sim, Body=str(index)) for index in range(100)))
    replies = await sim.wait_for_replies(CONTACT, 100, status="delivered")
    taken = [call.form["Body"] for call in await sim.calls()]
    assert sorted(reply.body for reply in replies) == sorted(taken)
    assert [reply.seq for reply in replies] == sorted(reply.seq for reply in replies)


async def test_reset_forgets_messages_and_faults_and_keeps_accounts(sim: SimulatorClient) -> None:
    await create(sim)
    await sim.add_fault("error-before")
    await sim.reset()
    assert (await sim.threads(), await sim.calls(), await sim.faults()) == ([], [], [])
    assert (await create(sim))[0] == 201
