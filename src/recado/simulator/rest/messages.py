"""Twilio's message resource: create, fetch, list, redact, cancel and delete, with Twilio's fields, codes and paging."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from recado.simulator import contents, outbound
from recado.simulator import engine as twilio
from recado.simulator import state as records
from recado.simulator.contents import Content, MissingVariable, Rendered
from recado.simulator.engine import Engine
from recado.simulator.faults import Operation
from recado.simulator.rest.call import Answer, Request, befall, integer, not_allowed, not_found, refuse, rfc_2822
from recado.simulator.rest.wire import Refused
from recado.simulator.rewriting import Rewrite, rewritten
from recado.simulator.state import Account, Message, Number

MAX_BODY_CHARACTERS = 1600
MAX_FILES = 1
"""WhatsApp shows one file in a message."""

MISSING_VARIABLE = 63028

_ADDRESS = re.compile(r"(?:whatsapp:)?\+[1-9]\d{6,14}|whatsapp:[A-Z]{2}\.\w+")


async def answer(engine: Engine, account: Account, request: Request, sid: str | None) -> Answer:
    """Answer a call of the list or of one message."""
    if sid is None:
        if request.method == "POST":
            return await _create(engine, account, request)
        if request.method == "GET":
            return await _list(engine, account, request)
        raise not_allowed()
    request.sid = sid
    if request.method not in ("GET", "POST", "DELETE"):
        raise not_allowed()
    operation: Operation = "fetch" if request.method == "GET" else "update" if request.method == "POST" else "delete"
    message = engine.state.by_sid.get(sid)
    found = message if message is not None and message.account_sid == account.sid else None
    await befall(engine, request, operation, found)
    if found is None:
        raise not_found(request.path)
    done = _change(engine, request, found, request.effect.bodies)
    refuse(request.effect.refusal_when("after"))
    return done


def _change(engine: Engine, request: Request, message: Message, bodies: Rewrite | None) -> Answer:
    if request.method == "DELETE":
        if message.status not in records.FINAL:
            raise Refused(409, 20009, "Message cannot be deleted before its delivery has ended")
        twilio.delete(engine, message)
        return Answer(status=204)
    if request.method == "POST":
        if request.form.get("Status") == "canceled":
            if not outbound.cancel(engine, message):
                raise Refused(409, 30409, "This message cannot be canceled")
        elif request.form.get("Body") == "":
            message.body = ""
            message.updated_at = engine.now()
        else:
            raise Refused(400, 20001, "Only an empty Body or the Status canceled can be set")
    return Answer(status=200, body=message_json(message, bodies))


async def _create(engine: Engine, account: Account, request: Request) -> Answer:
    form = request.form
    to, body = form.get("To", ""), form.get("Body", "")
    from_ = form.get("From", "") or form.get("MessagingServiceSid", "")
    await befall(engine, request, "create", to=to, from_=from_, body=body)
    number = _checked(engine, account, request)
    content, rendered, fate_code = _rendered(engine, account, request)
    effect = request.effect
    message = outbound.take(
        engine,
        account=account,
        number=number,
        to=to,
        rendered=rendered,
        content=content,
        status_callback=form.get("StatusCallback") or None,
        messaging_service_sid=form.get("MessagingServiceSid") or None,
        send_at=_send_at(form),
        fate_code=fate_code,
        effect=effect,
    )
    request.sid = message.sid
    taken = message_json(message)
    if effect.callback_first:
        await outbound.announce(engine, message)
    refuse(effect.refusal_when("after"))
    return Answer(status=201, body=taken)


def _rendered(engine: Engine, account: Account, request: Request) -> tuple[Content | None, Rendered, int | None]:
    """What is to be shown, the content it comes from, and the code of what will fail it later.

    Codes: 21655 and 21656 (https://www.twilio.com/docs/api/errors), 63028 for a variable without a value.
    """
    sid = request.form.get("ContentSid")
    if not sid:
        return None, Rendered(body=request.form.get("Body", ""), media_urls=request.media_urls), None
    content = engine.state.contents.get(sid)
    if content is None or content.account_sid != account.sid:
        raise Refused(400, 21655, "The ContentSid is invalid.")
    variables = contents.read_variables(request.form.get("ContentVariables", ""))
    if variables is None:
        raise Refused(400, 21656, "The ContentVariables parameter is invalid.")
    try:
        return content, contents.render(content, variables), None
    except MissingVariable:
        return content, Rendered(body=""), MISSING_VARIABLE


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
    if len(request.media_urls) > MAX_FILES:
        raise Refused(400, 21623, "The number of media files exceeds the channel's limit")
    if not all(url.startswith(("http://", "https://")) for url in request.media_urls):
        raise Refused(400, 21620, "Invalid media URL(s)")
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


async def _list(engine: Engine, account: Account, request: Request) -> Answer:
    query = dict(parse_qsl(request.query))
    to, from_ = query.get("To"), query.get("From")
    await befall(engine, request, "list", to=to or "", from_=from_ or "")
    size = min(max(integer(query.get("PageSize"), 50), 1), 1000)
    page = integer(query.get("Page"), 0)
    token = query.get("PageToken", "")
    if page > 0 and not token.startswith("PA"):
        raise Refused(400, 20001, "PageToken is required for paging.")
    before_seq = integer(token[2:], 0) if token else None
    earliest, latest = _span(query)
    found: list[Message] = []
    for message in records.newest_first(engine.state, account.sid, to=to, from_=from_, before_seq=before_seq):
        # A queued message has no date_sent yet; it counts from its creation, so that the latest are always found.
        if earliest <= int(message.sent_at or message.created_at) <= latest:
            found.append(message)
            if len(found) > size:
                break
    refuse(request.effect.refusal_when("after"))
    shown = found[:size]
    uris = _page_uris(request.path, query, size, page, shown[-1].seq if len(found) > size else None)
    start = page * size
    span = {"start": start, "end": start + max(len(shown) - 1, 0), "page": page, "page_size": size}
    body = {"messages": [message_json(message, request.effect.bodies) for message in shown], **span, **uris}
    return Answer(status=200, body=body)


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


def message_json(message: Message, bodies: Rewrite | None = None) -> dict[str, Any]:
    """The message resource, its text in that form."""
    uri = f"/2010-04-01/Accounts/{message.account_sid}/Messages/{message.sid}"
    return {
        "account_sid": message.account_sid,
        "api_version": "2010-04-01",
        "body": rewritten(message.body, bodies),
        "date_created": rfc_2822(int(message.created_at)),
        "date_sent": rfc_2822(int(message.sent_at)) if message.sent_at is not None else None,
        "date_updated": rfc_2822(int(message.updated_at)),
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
