"""Twilio's REST API as one ASGI application: who calls, what they ask for, and the answer or the fault they get.

Rules and codes: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors.
"""

from __future__ import annotations

import re
from hashlib import md5
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from recado.simulator import inbound
from recado.simulator.engine import Engine
from recado.simulator.rest import content, media, messages
from recado.simulator.rest.call import Answer, Request, befall, integer, log, not_allowed, not_found, refuse
from recado.simulator.rest.wire import (
    MAX_REQUEST_BYTES,
    Cut,
    Refused,
    authorization,
    credentials,
    cut_off,
    error_json,
    read,
    reply,
)
from recado.simulator.state import Account, Number

ROOTS = ("/2010-04-01", "/v1", "/v2")

_ACCOUNT = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)\.json")
_MESSAGES = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)/Messages(?:/(?P<sid>[^/]+))?\.json")
_MEDIA = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/]+)/Messages/(?P<message>[^/]+)/Media(?:/(?P<sid>[^/.]+))?(?P<json>\.json)?"
)
_TYPING = "/v2/Indicators/Typing.json"
_SENDERS = "/v2/Channels/Senders"
_SANDBOX = "whatsapp:+14155238886"


class RestApi:
    """The ASGI application; paths are Twilio's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault may cut its connection instead."""
        if scope["type"] != "http":
            return
        raw = await read(receive)
        # The Content API takes JSON; what is no form has no fields.
        pairs = [] if raw[:1] == b"{" else parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            raw=raw,
            form=dict(pairs),
            media_urls=tuple(value for name, value in pairs if name == "MediaUrl" and value),
        )
        retry_after_s = None
        try:
            answer = await _answer(self._engine, request, authorization(scope))
        except Refused as refused:
            answer = Answer(status=refused.status, body=error_json(refused))
            retry_after_s = refused.retry_after_s
        except Cut as cut:
            log(self._engine, request, 0)
            await cut_off(self._engine.feed.closing, cut, receive, send)
            return
        log(self._engine, request, answer.status)
        await reply(send, answer.status, answer.body, retry_after_s=retry_after_s, location=answer.location)


async def _answer(engine: Engine, request: Request, header: bytes) -> Answer:
    if len(request.raw) >= MAX_REQUEST_BYTES:
        raise Refused(413, 20413, "Request entity too large")
    account = _authenticate(engine, header)
    if request.path == _TYPING:
        return await _typing(engine, account, request)
    if request.path == _SENDERS:
        return _senders(engine, account, request)
    if request.path.startswith("/v1/"):
        return await content.answer(engine, account, request)
    if match := _MEDIA.fullmatch(request.path):
        if match["account"] != account.sid:
            raise not_found(request.path)
        return await media.answer(engine, request, account, match["message"], match["sid"], as_json=bool(match["json"]))
    if match := _ACCOUNT.fullmatch(request.path):
        if match["account"] != account.sid:
            raise not_found(request.path)
        return _account(account, request)
    match = _MESSAGES.fullmatch(request.path)
    if match is None or match["account"] != account.sid:
        raise not_found(request.path)
    return await messages.answer(engine, account, request, match["sid"])


def _account(account: Account, request: Request) -> Answer:
    """The account itself, by which recado proves that an AccountSid and a token belong together."""
    if request.method != "GET":
        raise not_allowed()
    request.operation = "account"
    body: dict[str, object] = {
        "sid": account.sid,
        "owner_account_sid": account.sid,
        "friendly_name": account.sid,
        "status": "active",
        "type": "Full",
        "date_created": "Thu, 01 Jan 2026 00:00:00 +0000",
        "date_updated": "Thu, 01 Jan 2026 00:00:00 +0000",
        "uri": request.path,
        "subresource_uris": {},
    }
    return Answer(status=200, body=body)


def _senders(engine: Engine, account: Account, request: Request) -> Answer:
    """The account's WhatsApp senders, by which recado proves that a number is the account's.

    https://www.twilio.com/docs/whatsapp/api/senders; the sandbox number is on no account's list.
    """
    if request.method != "GET":
        raise not_allowed()
    request.operation = "senders"
    query = dict(parse_qsl(request.query))
    if query.get("Channel", "whatsapp") != "whatsapp":
        raise Refused(400, 20001, "Invalid channel")
    size = min(max(integer(query.get("PageSize"), 50), 1), 1000)
    first = integer(query.get("Page"), 0) * size
    numbers = [
        number
        for (account_sid, address), number in sorted(engine.state.numbers.items())
        if account_sid == account.sid and address != _SANDBOX
    ]
    path = f"{_SENDERS}?Channel=whatsapp&PageSize={size}&Page="
    url = engine.url
    more = first + size < len(numbers)
    senders = [_sender(account, number) for number in numbers[first : first + size]]
    meta: dict[str, object] = {
        "key": "senders",
        "page": first // size,
        "page_size": size,
        "first_page_url": f"{url}{path}0",
        "previous_page_url": f"{url}{path}{first // size - 1}" if first else None,
        "url": f"{url}{path}{first // size}",
        "next_page_url": f"{url}{path}{first // size + 1}" if more else None,
    }
    return Answer(status=200, body={"meta": meta, "senders": senders})


def _sender(account: Account, number: Number) -> dict[str, object]:
    sid = "XE" + md5(f"{account.sid}{number.address}".encode(), usedforsecurity=False).hexdigest()
    return {
        "sid": sid,
        "status": number.status,
        "sender_id": number.address,
        "url": f"https://messaging.twilio.com{_SENDERS}/{sid}",
    }


async def _typing(engine: Engine, account: Account, request: Request) -> Answer:
    if request.method != "POST":
        raise not_allowed()
    request.sid = request.form.get("messageId")
    message = engine.state.by_sid.get(request.sid or "")
    await befall(engine, request, "typing", message)
    if request.form.get("channel") != "whatsapp":
        raise Refused(400, 20001, "Invalid channel")
    if message is None or message.account_sid != account.sid or message.direction != "inbound":
        raise not_found(request.path)
    inbound.type_indicator(engine, message)
    refuse(request.effect.refusal_when("after"))
    return Answer(status=200, body={"success": True})


def _authenticate(engine: Engine, header: bytes) -> Account:
    """The account that HTTP Basic names, by its auth token or by an API key."""
    user, secret = credentials(header)
    account = engine.state.accounts.get(user)
    if account is not None and secret in account.auth_tokens:
        return account
    if user.startswith("SK"):
        for holder in engine.state.accounts.values():
            if (user, secret) in holder.api_keys:
                return holder
    raise Refused(401, 20003, "Authenticate")
