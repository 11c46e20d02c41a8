"""Twilio's REST API: Messages and the typing indicator, with Twilio's fields, codes, dates and paging.

A plain ASGI application, since every message of a benchmark passes here. Rules and codes:
https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import Receive, Scope, Send

from recado.simulator import engine as twilio
from recado.simulator import faults as faulty
from recado.simulator import state as records
from recado.simulator.engine import Engine
from recado.simulator.faults import Effect, Fault, Operation
from recado.simulator.state import Account, Message, Number
from recado.simulator.wire import (
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

MAX_BODY_CHARACTERS = 1600

_MESSAGES = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)/Messages(?:/(?P<sid>[^/]+))?\.json")
_TYPING = "/v2/Indicators/Typing.json"
_ADDRESS = re.compile(r"(?:whatsapp:)?\+[1-9]\d{6,14}|whatsapp:[A-Z]{2}\.\w+")


@dataclass(slots=True, kw_only=True)
class Request:
    """One call on its way through: what was asked, what befell it, and the message it was about."""

    method: str
    path: str
    query: str
    form: dict[str, str]
    media_urls: tuple[str, ...]
    operation: str = ""
    effect: Effect = faulty.NO_EFFECT
    sid: str | None = None


class RestApi:
    """The ASGI application; paths are Twilio's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault may cut its connection instead."""
        if scope["type"] != "http":
            return
        raw = await read(receive)
        pairs = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            form=dict(pairs),
            media_urls=tuple(value for name, value in pairs if name == "MediaUrl" and value),
        )
        retry_after_s = None
        try:
            status, answer = await _answer(self._engine, request, authorization(scope), len(raw))
        except Refused as refused:
            status, answer, retry_after_s = refused.status, error_json(refused), refused.retry_after_s
        except Cut as cut:
            _log(self._engine, request, 0)
            await cut_off(self._engine.feed.closing, cut, receive, send)
            return
        _log(self._engine, request, status)
        await reply(send, status, answer, retry_after_s)


async def _answer(engine: Engine, request: Request, header: bytes, size: int) -> tuple[int, dict[str, Any] | None]:
    if size >= MAX_REQUEST_BYTES:
        raise Refused(413, 20413, "Request entity too large")
    account = _authenticate(engine, header)
    if request.path == _TYPING:
        return await _typing(engine, account, request)
    match = _MESSAGES.fullmatch(request.path)
    if match is None or match["account"] != account.sid:
        raise _not_found(request.path)
    sid = match["sid"]
    if sid is None:
        if request.method == "POST":
            return await _create(engine, account, request)
        if request.method == "GET":
            return await _list(engine, account, request)
        raise Refused(405, 20004, "Method not allowed")
    request.sid = sid
    if request.method not in ("GET", "POST", "DELETE"):
        raise Refused(405, 20004, "Method not allowed")
    operation: Operation = "fetch" if request.method == "GET" else "update" if request.method == "POST" else "delete"
    message = engine.state.by_sid.get(sid)
    found = message if message is not None and message.account_sid == account.sid else None
    await _befall(engine, request, operation, found)
    if found is None:
        raise _not_found(request.path)
    answer = _change(engine, request, found)
    _refuse(request.effect.refusal_when("after"))
    return answer


def _change(engine: Engine, request: Request, message: Message) -> tuple[int, dict[str, Any] | None]:
    if request.method == "DELETE":
        if message.status not in records.FINAL:
            raise Refused(409, 20009, "Message cannot be deleted before its delivery has ended")
        records.remove(engine.state, message)
        return 204, None
    if request.method == "POST":
        if request.form.get("Status") == "canceled":
            if not twilio.cancel(engine, message):
                raise Refused(409, 30409, "This message cannot be canceled")
        elif request.form.get("Body") == "":
            message.body = ""
            message.updated_at = engine.now()
        else:
            raise Refused(400, 20001, "Only an empty Body or the Status canceled can be set")
    return 200, message_json(message)


async def _create(engine: Engine, account: Account, request: Request) -> tuple[int, dict[str, Any]]:
    form = request.form
    to, body = form.get("To", ""), form.get("Body", "")
    from_ = form.get("From", "") or form.get("MessagingServiceSid", "")
    await _befall(engine, request, "create", None, to=to, from_=from_, body=body)
    number = _checked(engine, account, request)
    effect = request.effect
    message = twilio.take(
        engine,
        account=account,
        number=number,
        to=to,
        body=body,
        status_callback=form.get("StatusCallback") or None,
        messaging_service_sid=form.get("MessagingServiceSid") or None,
        media_urls=request.media_urls,
        send_at=_send_at(form),
        effect=effect,
    )
    request.sid = message.sid
    answer = message_json(message)
    if effect.callback_first:
        await twilio.announce(engine, message)
    _refuse(effect.refusal_when("after"))
    return 201, answer


def _checked(engine: Engine, account: Account, request: Request) -> Number:
    """The number to send from; Twilio's complaint when the form can't be taken."""
    form = request.form
    to, from_, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
    if not to:
        raise Refused(400, 21604, "A 'To' phone number is required.")
    if not from_ and not service:
        raise Refused(400, 21603, "A 'From' phone number is required.")
    if not form.get("Body") and not request.media_urls and not form.get("ContentSid"):
        if "Body" in form:
            raise Refused(400, 21602, "Message body is required.")
        raise Refused(400, 21619, "A text message body or media urls must be specified.")
    if len(form.get("Body", "")) > MAX_BODY_CHARACTERS:
        raise Refused(400, 21617, "The concatenated message body exceeds the 1600 character limit")
    if not _ADDRESS.fullmatch(to):
        raise Refused(400, 21211, f"Invalid 'To' Phone Number: {to}")
    if to == from_:
        raise Refused(400, 21266, "'To' and 'From' number cannot be the same")
    if not from_:
        return _of_service(engine, account, service, to)
    number = engine.state.numbers.get((account.sid, from_))
    channels = {address.startswith("whatsapp:") for address in (to, from_)}
    if len(channels) == 2 or (number is None and True in channels):
        raise Refused(400, 63007, "Twilio could not find a Channel with the specified From address")
    if number is None:
        raise Refused(400, 21606, f"The 'From' phone number provided ({from_}) is not a valid sender of this account")
    return number


def _of_service(engine: Engine, account: Account, service: str, to: str) -> Number:
    """A number of the Messaging Service: the one that the contact knows, else its first."""
    numbers = [
        number
        for (account_sid, _), number in engine.state.numbers.items()
        if account_sid == account.sid and number.messaging_service_sid == service
    ]
    if not numbers:
        raise Refused(400, 21703, "The Messaging Service does not have a phone number available to send a message")
    known = {thread.number for thread in engine.state.contacts.get((account.sid, to), ())}
    return next((number for number in numbers if number.address in known), numbers[0])


def _send_at(form: dict[str, str]) -> float | None:
    if form.get("ScheduleType") != "fixed":
        return None
    if "MessagingServiceSid" not in form:
        raise Refused(400, 35111, "Messages are scheduled with a MessagingServiceSid only")
    return _instant(form.get("SendAt", ""))


async def _list(engine: Engine, account: Account, request: Request) -> tuple[int, dict[str, Any]]:
    query = dict(parse_qsl(request.query))
    to, from_ = query.get("To"), query.get("From")
    await _befall(engine, request, "list", None, to=to or "", from_=from_ or "")
    size = min(max(_integer(query.get("PageSize"), 50), 1), 1000)
    page = _integer(query.get("Page"), 0)
    token = query.get("PageToken", "")
    if page > 0 and not token.startswith("PA"):
        raise Refused(400, 20001, "PageToken is required for paging.")
    before_seq = _integer(token[2:], 0) if token else None
    earliest, latest = _span(query)
    found: list[Message] = []
    for message in records.newest_first(engine.state, account.sid, to=to, from_=from_, before_seq=before_seq):
        # A queued message has no date_sent yet; it counts from its creation, so that the latest are always found.
        if earliest <= int(message.sent_at or message.created_at) <= latest:
            found.append(message)
            if len(found) > size:
                break
    _refuse(request.effect.refusal_when("after"))
    shown = found[:size]
    uris = _page_uris(request.path, query, size, page, shown[-1].seq if len(found) > size else None)
    start = page * size
    span = {"start": start, "end": start + max(len(shown) - 1, 0), "page": page, "page_size": size}
    return 200, {"messages": [message_json(message) for message in shown], **span, **uris}


def _page_uris(path: str, query: dict[str, str], size: int, page: int, last_seq: int | None) -> dict[str, str | None]:
    filters = {name: value for name, value in query.items() if name not in ("PageSize", "Page", "PageToken")}

    def uri(number: int, token: str | None = None) -> str:
        fields = {**filters, "PageSize": str(size), "Page": str(number)}
        return f"{path}?{urlencode({**fields, 'PageToken': token} if token else fields)}"

    return {
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1, f"PA{last_seq}") if last_seq is not None else None,
        "previous_page_uri": uri(0) if page == 1 else None,
        "uri": uri(page, query.get("PageToken")),
    }


def _span(query: dict[str, str]) -> tuple[float, float]:
    """The seconds that DateSent, DateSent> and DateSent< allow, both ends included."""
    earliest, latest = float("-inf"), float("inf")
    if after := query.get("DateSent>"):
        earliest = _instant(after)
    if before := query.get("DateSent<"):
        latest = _instant(before) + (86399 if len(before) == 10 else 0)
    if day := query.get("DateSent"):
        earliest = _instant(day[:10])
        latest = earliest + 86399
    return earliest, latest


def _instant(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, 20001, f"Invalid date: {text}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _integer(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else default


async def _typing(engine: Engine, account: Account, request: Request) -> tuple[int, dict[str, Any]]:
    if request.method != "POST":
        raise Refused(405, 20004, "Method not allowed")
    request.sid = request.form.get("messageId")
    message = engine.state.by_sid.get(request.sid or "")
    await _befall(engine, request, "typing", message)
    if request.form.get("channel") != "whatsapp":
        raise Refused(400, 20001, "Invalid channel")
    if message is None or message.account_sid != account.sid or message.direction != "inbound":
        raise _not_found(request.path)
    twilio.type_indicator(engine, message)
    _refuse(request.effect.refusal_when("after"))
    return 200, {"success": True}


async def _befall(
    engine: Engine,
    request: Request,
    operation: Operation,
    message: Message | None,
    *,
    to: str = "",
    from_: str = "",
    body: str = "",
) -> None:
    """Let the faults strike that are due before the call does anything."""
    request.operation = operation
    if not engine.faults.armed:
        return
    if message is not None:
        to, from_, body = message.to, message.from_, message.body
    request.effect = effect = faulty.strike(engine.faults, operation, to=to, from_=from_, body=body)
    if effect.latency_ms:
        await asyncio.sleep(effect.latency_ms / 1000)
    _refuse(effect.refusal_when("before"))


def _refuse(fault: Fault | None) -> None:
    if fault is None:
        return
    if fault.http_status is None:
        raise Cut(fault.hold_s or 0.0)
    code = fault.code or {429: 20429, 503: 20503}.get(fault.http_status, 20500)
    words = fault.error_message or ("Too Many Requests" if code == 20429 else "The simulator was told to fail")
    raise Refused(fault.http_status, code, words, retry_after_s=fault.retry_after_s)


def _not_found(path: str) -> Refused:
    return Refused(404, 20404, f"The requested resource {path} was not found")


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


def message_json(message: Message) -> dict[str, Any]:
    """The message resource."""
    uri = f"/2010-04-01/Accounts/{message.account_sid}/Messages/{message.sid}"
    return {
        "account_sid": message.account_sid,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": _date(int(message.created_at)),
        "date_sent": _date(int(message.sent_at)) if message.sent_at is not None else None,
        "date_updated": _date(int(message.updated_at)),
        "direction": message.direction,
        "error_code": message.error_code,
        "error_message": message.error_message,
        "from": message.from_ if message.status not in ("accepted", "scheduled") else None,
        "messaging_service_sid": message.messaging_service_sid,
        "num_media": str(len(message.media_urls)),
        "num_segments": "0" if message.status in ("accepted", "scheduled") else "1",
        "price": None,
        "price_unit": None,
        "sid": message.sid,
        "status": message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


@lru_cache(maxsize=4096)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _log(engine: Engine, request: Request, status: int) -> None:
    twilio.log_call(
        engine,
        method=request.method,
        path=f"{request.path}?{request.query}" if request.query else request.path,
        form=request.form,
        operation=request.operation,
        status=status,
        sid=request.sid,
        faulted=request.effect.names,
    )
