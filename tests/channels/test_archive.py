"""Twilio's list of an account, both ways: all of it, in order, however Twilio gives it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from recado.channels.port import Listed, Media, SendError
from recado.channels.twilio import archive
from recado.channels.twilio.archive import TwilioArchive, as_posted
from recado.channels.twilio.client import TwilioSender
from recado.channels.twilio.parse import parse_inbound, unread
from tests.channels.fake_twilio import ACCOUNT, CONTACT, NUMBER, FakeTwilio, message

AT = datetime(2023, 8, 24, 5, 1, 45, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_PAUSE_S", 0.01)


def listed(number: int, *, ago_s: int = 0, **changes: Any) -> dict[str, Any]:
    made = AT - timedelta(seconds=ago_s)
    return message(f"SM{number:032x}", date_created=made.strftime("%a, %d %b %Y %H:%M:%S +0000"), **changes)


def pages(twilio: FakeTwilio, *bodies: list[dict[str, Any]], stumbles: int = 0) -> None:
    """These pages, newest first; Twilio can't give one of them for so many times."""
    left = [stumbles]

    async def answer(request: web.Request) -> web.StreamResponse:
        if left[0] > 0:
            left[0] -= 1
            return web.json_response({"code": 20429, "status": 429}, status=429)
        number = int(parse_qs(urlsplit(request.raw_path).query).get("Page", ["0"])[0])
        following = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageSize=1000&Page={number + 1}&PageToken=PA1"
        more = number + 1 < len(bodies)
        return web.json_response({"messages": bodies[number], "next_page_uri": following if more else None})

    twilio.answer = answer


async def test_every_message_since_is_listed_once_in_twilios_order_whichever_way_it_went(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    pages(
        twilio,
        [listed(5), listed(4, direction="inbound", **{"from": CONTACT, "to": NUMBER}), listed(3, ago_s=10)],
        # What came while it was read has moved the others on.
        [listed(3, ago_s=10), listed(2, ago_s=20, status="failed", error_code=63016)],
        [listed(1, ago_s=500), listed(0, ago_s=600)],
        [listed(9, ago_s=1)],  # never asked for: the page before is older as a whole
    )
    found = await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT - timedelta(seconds=60))
    assert [int(one.sid[2:], 16) for one in found] == [2, 3, 4, 5]
    assert [one.inbound for one in found] == [False, False, True, False]
    assert (found[0].status, found[0].error_code, found[0].created_at) == ("failed", 63016, AT - timedelta(seconds=20))
    assert len(twilio.calls) == 3


async def test_a_page_that_twilio_does_not_give_for_the_moment_is_asked_for_again_and_then_it_is_an_error(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    pages(twilio, [listed(1)], stumbles=3)
    assert len(await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT)) == 1
    pages(twilio, [listed(1)], stumbles=50)
    with pytest.raises(SendError):
        await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT)
    twilio.gives({"code": 20003, "status": 401}, status=401)
    twilio.calls.clear()
    with pytest.raises(SendError):
        await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT)
    assert len(twilio.calls) == 1, "a refused token is not asked with again"


async def test_where_the_next_page_is_never_takes_the_login_elsewhere(twilio: FakeTwilio, sender: TwilioSender) -> None:
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        more = "https://attacker.example/2010-04-01/Accounts/x/Messages.json?Page=1&PageToken=PA1"
        return web.json_response({"messages": [listed(1)], "next_page_uri": more if len(asked) == 1 else None})

    twilio.answer = answer
    await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT)
    assert len(asked) == 2
    assert all(path.startswith(f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?") for path in asked)


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": "none"}])
async def test_an_answer_that_is_no_list_is_an_error_and_not_an_empty_one(
    twilio: FakeTwilio, sender: TwilioSender, body: Any
) -> None:
    twilio.gives(body)
    with pytest.raises(SendError):
        await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).since(AT)


async def test_the_attachments_of_a_message_are_where_its_webhook_had_them(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    sid, media = "MM" + "a" * 32, "ME" + "b" * 32
    twilio.gives({"media_list": [{"sid": media, "content_type": "image/png"}, {"sid": "../..", "content_type": "x/y"}]})
    found = await TwilioArchive(sender, ACCOUNT, api_url=twilio.url).media(sid)
    base = f"{twilio.url}/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media"
    assert found == [Media(url=f"{base}/{media}", content_type="image/png")]


def test_what_is_taken_from_the_list_reads_like_the_webhook_and_says_where_it_is_from() -> None:
    one = Listed(
        sid="MM" + "a" * 32,
        inbound=True,
        status="received",
        created_at=AT,
        body="Olá",
        to=NUMBER,
        from_=CONTACT,
        num_media=1,
    )
    posted = as_posted(one, [Media(url="https://api/x", content_type="image/png")], account_sid=ACCOUNT)
    inbound = parse_inbound(posted)
    assert (inbound.message_sid, inbound.kind, inbound.body) == (one.sid, "image", "Olá")
    assert inbound.identity_key == CONTACT
    assert inbound.parameters[archive.MARK] == ["list"]
    assert unread(inbound) == {}
