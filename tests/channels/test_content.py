"""Twilio's Content API, and what a message with more than text is posted as."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from recado.channels.port import SendError
from recado.channels.twilio.client import TwilioSender
from recado.channels.twilio.content import ContentApi
from recado.delivery.content import Button, QuickReplies, definition
from tests.channels.fake_twilio import CONTACT, NUMBER, FakeTwilio, message

SID = "HX" + "a" * 32


@pytest.fixture
def api(twilio: FakeTwilio, sender: TwilioSender) -> ContentApi:
    return ContentApi(sender, content_url=twilio.url)


def listed(sid: str, **changes: Any) -> dict[str, Any]:
    """A content with its approval as Twilio lists it."""
    return {
        "sid": sid,
        "friendly_name": "late",
        "language": "pt_BR",
        "variables": {"1": "Ana"},
        "types": {"twilio/text": {"body": "Olá {{1}}"}},
        "approval_requests": {"name": "late", "category": "UTILITY", "status": "approved", "rejection_reason": ""},
        **changes,
    }


async def test_buttons_are_made_by_one_json_request_with_the_accounts_login(
    twilio: FakeTwilio, api: ContentApi
) -> None:
    bodies: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(json.loads(await request.read()))
        return web.json_response({"sid": SID}, status=201)

    twilio.answer = answer
    replies = QuickReplies(buttons=(Button(id="yes", title="Sim"),))
    assert await api.create(definition(replies, "Quer?")) == SID
    ((method, path, _, headers),) = twilio.calls
    assert (method, path, headers["Content-Type"]) == ("POST", "/v1/Content", "application/json")
    assert headers["Authorization"].startswith("Basic ")
    [body] = bodies
    assert body["types"] == {
        "twilio/quick-reply": {
            "body": "Quer?",
            "actions": [{"type": "QUICK_REPLY", "title": "Sim", "id": "yes"}],
        }
    }
    assert body["language"]


async def test_templates_are_read_over_all_pages_and_never_from_another_host(
    twilio: FakeTwilio, api: ContentApi
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        token = request.query.get("PageToken")
        page = {
            None: [listed("HX" + "1" * 32), {"sid": None}, "nonsense"],
            "two": [listed("HX" + "2" * 32, approval_requests=None, friendly_name=None)],
        }[token]
        following = "https://elsewhere.example/v1/ContentAndApprovals?PageSize=500&Page=1&PageToken=two"
        return web.json_response({"contents": page, "meta": {"next_page_url": following if token is None else None}})

    twilio.answer = answer
    first, second = await api.templates()
    assert (first.content_sid, first.name, first.status, first.body) == (
        "HX" + "1" * 32,
        "late",
        "approved",
        "Olá {{1}}",
    )
    assert (first.rejection_reason, first.category, first.content_type) == (None, "UTILITY", "twilio/text")
    assert (second.status, second.name) == ("unsubmitted", "HX" + "2" * 32)
    assert [call[1].partition("?")[0] for call in twilio.calls] == ["/v1/ContentAndApprovals"] * 2


async def test_pages_that_never_end_are_not_read_for_ever(twilio: FakeTwilio, api: ContentApi) -> None:
    twilio.gives({"contents": [], "meta": {"next_page_url": "https://x.example/?PageToken=again"}})
    with pytest.raises(SendError):
        await api.templates()
    assert len(twilio.calls) <= 40


@pytest.mark.parametrize("sid", [None, 7, "SM" + "a" * 32])
async def test_an_answer_without_a_content_sid_is_none(twilio: FakeTwilio, api: ContentApi, sid: Any) -> None:
    twilio.gives({"sid": sid}, 201)
    with pytest.raises(SendError):
        await api.create({"language": "en", "types": {}})


async def test_a_refusal_becomes_its_class_without_twilios_words(twilio: FakeTwilio, api: ContentApi) -> None:
    twilio.gives({"code": 20003, "message": "secret words"}, 401)
    with pytest.raises(SendError) as caught:
        await api.templates()
    assert caught.value.error_class == "configuration"
    assert "secret words" not in str(caught.value)


async def test_an_attachment_is_posted_by_its_address_with_the_caption_if_there_is_one(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    twilio.gives(message(num_media="1", body="Veja"), 201)
    url = "https://bot.example.com/media/x"
    sent = await sender.send(to=CONTACT, from_=NUMBER, body="Veja", media_url=url, status_callback=None)
    await sender.send(to=CONTACT, from_=NUMBER, body="", media_url=url, status_callback=None)
    assert sent.num_media == 1
    assert [sorted(form) for _, _, form, _ in twilio.calls] == [
        [("Body", "Veja"), ("From", NUMBER), ("MediaUrl", url), ("To", CONTACT)],
        [("From", NUMBER), ("MediaUrl", url), ("To", CONTACT)],
    ]


async def test_a_content_is_posted_by_its_sid_with_its_variables_and_without_a_body(
    twilio: FakeTwilio, sender: TwilioSender
) -> None:
    twilio.gives(message(num_media="0"), 201)
    for variables in ({"1": "Ana", "2": "às 9h"}, None):
        await sender.send(
            to=CONTACT,
            from_=NUMBER,
            body="Olá Ana",
            content_sid=SID,
            content_variables=variables,
            status_callback=None,
        )
    forms = [dict(form) for _, _, form, _ in twilio.calls]
    assert json.loads(forms[0].pop("ContentVariables")) == {"1": "Ana", "2": "às 9h"}
    assert forms == [{"ContentSid": SID, "From": NUMBER, "To": CONTACT}] * 2
