from __future__ import annotations

import asyncio
import base64
import logging
import socket
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from recado.channels.port import ErrorClass, Sender, SendError, Sent
from recado.channels.twilio.client import TwilioHttp, TwilioSender
from recado.errors import NotFound
from tests.channels.fake_twilio import ACCOUNT, CONTACT, NUMBER, FakeTwilio, message

CALLBACK = "https://bot.example.com/channels/twilio/v1/webhooks/outbound?message=1"
SINCE = datetime(2023, 8, 24, 5, 1, 45, 900_000, UTC)


async def send(sender: Sender, body: str = "Olá! 😀") -> Sent:
    return await sender.send(to=CONTACT, from_=NUMBER, body=body, status_callback=CALLBACK)


async def failure(awaitable: Any) -> SendError:
    with pytest.raises(SendError) as caught:
        await awaitable
    return caught.value


async def test_a_message_is_posted_once_with_what_twilio_needs(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives(message(), 201)
    sent = await send(sender)
    assert (sent.sid, sent.status, sent.to, sent.from_, sent.body) == (
        "SM" + "a" * 32,
        "queued",
        CONTACT,
        NUMBER,
        "Olá!",
    )
    assert sent.date_created == datetime(2023, 8, 24, 5, 1, 45, tzinfo=UTC)
    ((method, path, form, headers),) = twilio.calls
    assert (method, path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert sorted(form) == [("Body", "Olá! 😀"), ("From", NUMBER), ("StatusCallback", CALLBACK), ("To", CONTACT)]
    assert headers["Authorization"] == "Basic " + base64.b64encode(f"{ACCOUNT}:tópsecret".encode()).decode()
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["User-Agent"].startswith("twilio-python/")


async def test_nothing_leaves_after_its_time_though_it_had_not_come_when_the_connection_was_asked_for(
    twilio: FakeTwilio, sender: TwilioSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a process that was stopped while it connected.
    twilio.gives(message(), 201)
    now, make = 0.0, aiohttp.TCPConnector._create_connection

    async def connect(*given: Any) -> Any:
        nonlocal now
        made = await make(*given)
        now = 120.0
        return made

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", connect)
    monkeypatch.setattr("recado.channels.twilio.client.uptime", lambda: now)
    to_send = partial(sender.send, to=CONTACT, from_=NUMBER, body="x", status_callback=None)
    assert (await failure(to_send(not_after=15.0))).error_class is ErrorClass.RETRY
    assert twilio.calls == []
    assert (await to_send(not_after=135.0)).sid
    assert len(twilio.calls) == 1


async def test_a_messaging_service_may_choose_the_number(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives(message(**{"from": None}), 201)
    sent = await sender.send(to=CONTACT, messaging_service_sid="MG" + "1" * 32, body="x", status_callback=None)
    assert sent.from_ is None
    assert sorted(twilio.calls[0][2]) == [("Body", "x"), ("MessagingServiceSid", "MG" + "1" * 32), ("To", CONTACT)]


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [
        (429, 20429, "retry"),
        (400, 63016, "window"),
        (401, 20003, "configuration"),
        (400, 21211, "recipient"),
        (400, 21617, "content"),
        (400, 63038, "quota"),
        (400, 12345, "look"),
        (403, None, "configuration"),
        (500, 20500, "unknown"),
        (503, None, "unknown"),
    ],
)
async def test_twilios_error_becomes_its_class_without_twilios_words(
    twilio: FakeTwilio, sender: TwilioSender, status: int, code: int | None, error_class: str
) -> None:
    twilio.gives({"code": code, "message": f"'{CONTACT}' is wrong", "status": status}, status)
    error = await failure(send(sender))
    assert (error.error_class, error.code) == (error_class, code)
    assert CONTACT not in "".join(traceback.format_exception(error))
    assert error.__context__ is None or isinstance(error.__context__, SendError)
    assert len(twilio.calls) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("99999999999999", 999_999_999.0), ("soon", None), ("-1", None), ("inf", None)],
)
async def test_retry_after_is_passed_on(
    twilio: FakeTwilio, sender: TwilioSender, header: str, seconds: float | None
) -> None:
    twilio.gives({"code": 20429}, 429, Retry_After=header)
    assert (await failure(send(sender))).retry_after_s == seconds


async def test_retry_after_may_be_a_date(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives(
        {"code": 20429}, 429, Retry_After=format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    )
    wait = (await failure(send(sender))).retry_after_s
    assert wait is not None
    assert 290 < wait <= 300


@pytest.mark.parametrize("text", ["", "<html>", "[]", '"x"', "{}", '{"sid": null, "status": "queued"}', "[" * 100_000])
async def test_a_yes_that_can_not_be_read_is_an_unknown_outcome(
    twilio: FakeTwilio, sender: TwilioSender, text: str
) -> None:
    twilio.gives_text(text, 201)
    assert (await failure(send(sender))).error_class is ErrorClass.UNKNOWN


async def test_a_time_out_is_an_unknown_outcome_and_comes_in_time(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.hangs()
    async with asyncio.timeout(5):
        assert (await failure(send(sender))).error_class is ErrorClass.UNKNOWN
    assert len(twilio.calls) == 1


@pytest.mark.parametrize("in_the_middle", [False, True])
async def test_a_connection_that_breaks_after_sending_is_an_unknown_outcome_and_not_repeated(
    twilio: FakeTwilio, sender: TwilioSender, in_the_middle: bool
) -> None:
    twilio.gives(message(), 201)
    await send(sender)
    # The second goes over the connection of the first, which is where clients like to try again by themselves.
    twilio.drops(in_the_middle=in_the_middle)
    error = await failure(send(sender))
    assert error.error_class is ErrorClass.UNKNOWN
    assert error.__context__ is None
    assert len(twilio.calls) == 2


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        sender = TwilioSender(account_sid=ACCOUNT, username=ACCOUNT, password="x", api_url=url)
        error = await failure(send(sender))
        await sender.aclose()
    assert error.error_class is ErrorClass.RETRY


async def test_a_connection_that_is_never_made_was_certainly_not_sent(twilio: FakeTwilio) -> None:
    http = TwilioHttp(timeout_s=5, connect_s=0.2, connections=1)
    sender = TwilioSender(account_sid=ACCOUNT, username=ACCOUNT, password="x", api_url=twilio.url, http=http)
    twilio.hangs()
    first = asyncio.create_task(send(sender))
    await twilio.called.wait()
    assert (await failure(send(sender))).error_class is ErrorClass.RETRY
    assert len(twilio.calls) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await http.aclose()


async def test_a_redirect_is_not_followed(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives({}, 307, Location=twilio.url + "/elsewhere")
    assert (await failure(send(sender))).error_class is ErrorClass.CONFIGURATION
    assert len(twilio.calls) == 1


async def test_half_a_character_is_refused_before_anything_is_sent(twilio: FakeTwilio, sender: TwilioSender) -> None:
    error = await failure(send(sender, "segredo \ud83d"))
    assert error.error_class is ErrorClass.CONTENT
    assert error.__context__ is None
    assert twilio.calls == []


async def test_nothing_private_is_logged_or_shown(
    twilio: FakeTwilio, sender: TwilioSender, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        twilio.gives(message(), 201)
        sent = await send(sender, "segredo")
        twilio.gives({"code": 21211, "message": CONTACT}, 400)
        error = await failure(send(sender, "segredo"))
        twilio.gives({"messages": []})
        await sender.find(to=CONTACT, from_=NUMBER, since=SINCE)
    shown = caplog.text + repr(sender) + repr(sent) + repr(error) + str(error)
    for private in ("segredo", "5511987654321", "14155238886", "tópsecret", "Authorization"):
        assert private not in shown


async def test_find_gives_the_outbound_messages_since_then_newest_first(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    def at(second: int) -> str:
        return f"Thu, 24 Aug 2023 05:01:{second:02} +0000"

    twilio.gives(
        {
            "messages": [
                message("SM" + "1" * 32, date_created=at(45), status="undelivered", error_code=63016),
                message("SM" + "2" * 32, date_created=at(59), direction="outbound-reply"),
                message("SM" + "3" * 32, date_created=at(58), direction="inbound"),
                message("SM" + "4" * 32, date_created=at(44)),
            ],
            "next_page_uri": None,
        }
    )
    found = await sender.find(to=CONTACT, from_=NUMBER, since=SINCE)
    assert [(sent.sid[-1], sent.error_code) for sent in found] == [("2", None), ("1", 63016)]
    method, path, *_ = twilio.calls[0]
    assert (method, urlsplit(path).path) == ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert parse_qs(urlsplit(path).query) == {"To": [CONTACT], "From": [NUMBER], "PageSize": ["100"]}


@pytest.mark.parametrize("ahead", [timedelta(hours=-3), timedelta(minutes=5), timedelta(days=2)])
async def test_find_knows_how_far_twilios_clock_is_from_ours(
    twilio: FakeTwilio, sender: TwilioSender, ahead: timedelta
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    made = [now, now - timedelta(minutes=4)]
    listed = [message(f"SM{at:%H%M%S}" + "0" * 26, date_created=format_datetime(at + ahead)) for at in made]
    twilio.gives({"messages": listed, "next_page_uri": None}, Date=format_datetime(now + ahead, usegmt=True))
    (found,) = await sender.find(to=CONTACT, from_=NUMBER, since=now - timedelta(minutes=2))
    assert found.date_created is not None
    assert abs(found.date_created - now) < timedelta(seconds=30)


async def test_find_reads_on_until_a_page_is_older_as_a_whole(twilio: FakeTwilio, sender: TwilioSender) -> None:
    def page(number: int) -> dict[str, Any]:
        made = SINCE + timedelta(minutes=2 - number)
        return {
            "messages": [message(f"SM{number:032}", date_created=format_datetime(made))],
            "next_page_uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?Page={number + 1}",
        }

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(page(int(request.query.get("Page", "0"))))

    twilio.answer = answer
    found = await sender.find(to=CONTACT, from_=None, since=SINCE)
    assert [int(sent.sid[2:]) for sent in found] == [0, 1, 2]
    assert len(twilio.calls) == 4


async def test_find_never_gives_half_an_answer(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives({"messages": [message(date_created=None)], "next_page_uri": "/2010-04-01/x.json"})
    assert (await failure(sender.find(to=CONTACT, from_=NUMBER, since=SINCE))).error_class is ErrorClass.UNKNOWN
    for content in ({}, {"messages": None}, {"messages": [1]}, {"a": [], "b": []}):
        twilio.gives(content)
        assert (await failure(sender.find(to=CONTACT, from_=NUMBER, since=SINCE))).error_class is ErrorClass.UNKNOWN
    twilio.gives({"code": 20429}, 429, Retry_After="3")
    error = await failure(sender.find(to=CONTACT, from_=NUMBER, since=SINCE))
    assert (error.error_class, error.retry_after_s) == (ErrorClass.RETRY, 3.0)


async def test_fetch_gives_the_present_status(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives(message(status="undelivered", error_code=63016, error_message="x"))
    receipt = await sender.fetch("SM" + "a" * 32)
    assert (receipt.account_sid, receipt.message_sid) == (ACCOUNT, "SM" + "a" * 32)
    assert (receipt.status, receipt.error_code, receipt.error_text) == ("undelivered", 63016, "x")
    assert twilio.calls[0][1] == f"/2010-04-01/Accounts/{ACCOUNT}/Messages/SM{'a' * 32}.json"


async def test_fetch_of_a_message_that_twilio_does_not_know_says_so(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives({"code": 20404}, 404)
    with pytest.raises(NotFound):
        await sender.fetch("SM" + "a" * 32)
    twilio.gives({"code": 20003}, 401)
    assert (await failure(sender.fetch("SM" + "a" * 32))).code == 20003


async def test_typing_goes_to_the_messaging_host(twilio: FakeTwilio, sender: TwilioSender) -> None:
    twilio.gives({"success": True})
    await sender.typing("SM" + "a" * 32)
    ((method, path, form, headers),) = twilio.calls
    assert (method, path) == ("POST", "/v2/Indicators/Typing.json")
    assert sorted(form) == [("channel", "whatsapp"), ("messageId", "SM" + "a" * 32)]
    assert headers["Authorization"].startswith("Basic ")
    twilio.gives({}, 500)
    assert (await failure(sender.typing("SM" + "a" * 32))).error_class is ErrorClass.UNKNOWN


async def test_twilios_own_environment_variables_change_nothing(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    monkeypatch.setenv("TWILIO_REGION", "au1")
    twilio.gives(message(), 201)
    sender = TwilioSender(account_sid=ACCOUNT, username="SK" + "1" * 32, password="x", api_url=twilio.url)
    await send(sender)
    await sender.aclose()
    await sender.aclose()
    assert twilio.calls[0][1].startswith(f"/2010-04-01/Accounts/{ACCOUNT}/")


async def test_closing_a_sender_leaves_shared_connections_open(twilio: FakeTwilio) -> None:
    http = TwilioHttp()
    one, other = (
        TwilioSender(account_sid=ACCOUNT, username=ACCOUNT, password="x", api_url=twilio.url, http=http) for _ in "ab"
    )
    twilio.hangs()
    under_way = asyncio.create_task(send(other))
    await twilio.called.wait()
    await one.aclose()
    twilio.held.set()
    assert (await under_way).status == "queued"
    await http.aclose()


async def test_twilios_own_hosts_are_the_default() -> None:
    sender = TwilioSender(account_sid=ACCOUNT, username=ACCOUNT, password="x")
    assert sender._client.api.base_url == "https://api.twilio.com"
    assert sender._typing_url == "https://messaging.twilio.com/v2/Indicators/Typing.json"
    await sender.aclose()


async def test_find_asks_for_the_other_form_of_a_number_where_nothing_is_listed_under_the_one(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        listed = [message(date_created=format_datetime(SINCE))] if request.query["To"] == CONTACT else []
        return web.json_response({"messages": listed, "next_page_uri": None})

    twilio.answer = answer
    without_nine = "whatsapp:+551187654321"
    assert len(await sender.find(to=without_nine, from_=None, since=SINCE)) == 1
    assert len(twilio.calls) == 2
    assert len(await sender.find(to=CONTACT, from_=None, since=SINCE)) == 1
    assert len(twilio.calls) == 3


@pytest.mark.parametrize(
    ("content", "error_class", "code"),
    [
        ({"code": 20429, "message": "Too Many Requests", "status": 429}, ErrorClass.RETRY, 20429),
        ({"code": "20429", "message": "Too Many Requests", "status": "429"}, ErrorClass.RETRY, 20429),
        ({"code": 20429, "message": "Too Many Requests"}, ErrorClass.RETRY, 20429),
        ({"code": 63018, "message": "x", "status": 400}, ErrorClass.RETRY, 63018),
        ({"code": 20003, "message": "x", "status": 401}, ErrorClass.CONFIGURATION, 20003),
        ({"code": 20500, "message": "x", "status": 500}, ErrorClass.UNKNOWN, 20500),
        ({"message": "x", "status": 503}, ErrorClass.UNKNOWN, None),
    ],
)
async def test_an_error_that_is_hidden_in_an_answer_of_200_is_what_it_says(
    twilio: FakeTwilio, sender: TwilioSender, content: dict[str, Any], error_class: ErrorClass, code: int | None
) -> None:
    twilio.gives(content)
    calls = (
        sender.send(to=CONTACT, from_=NUMBER, body="Oi", status_callback=None),
        sender.find(to=CONTACT, from_=NUMBER, since=SINCE),
        sender.fetch("SM" + "1" * 32),
        sender.typing("SM" + "1" * 32),
        sender.ask("GET", f"{twilio.url}/v1/Content"),
    )
    for call in calls:
        failed = await failure(call)
        assert (failed.error_class, failed.code) == (error_class, code)
