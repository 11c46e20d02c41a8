"""Twilio's Content API: contents, their approval by WhatsApp, and both in one list.

Source: https://www.twilio.com/docs/content/content-api-resources. Dates are ISO 8601 here, not RFC 2822.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from recado.simulator import contents
from recado.simulator import state as records
from recado.simulator.contents import Approval, BadContent, Content
from recado.simulator.engine import Engine
from recado.simulator.rest.call import Answer, Request, befall, integer, not_allowed, not_found, refuse
from recado.simulator.rest.wire import Refused
from recado.simulator.state import Account

CATEGORIES = ("UTILITY", "MARKETING", "AUTHENTICATION")

_PATHS = re.compile(r"/v1/Content(?:/(?P<sid>HX[0-9a-fA-F]{32})(?P<approval>/ApprovalRequests(?P<ask>/whatsapp)?)?)?")
_NAME = re.compile(r"[a-z0-9_]{1,512}")


async def answer(engine: Engine, account: Account, request: Request) -> Answer:
    """Answer a call of the Content API."""
    match = _PATHS.fullmatch(request.path)
    if match is None and request.path != "/v1/ContentAndApprovals":
        raise not_found(request.path)
    await befall(engine, request, "content")
    if match is None:
        done = _list(engine, account, request, _with_approval) if request.method == "GET" else None
    elif match["sid"] is None:
        done = _of_all(engine, account, request)
    else:
        request.sid = match["sid"]
        content = engine.state.contents.get(match["sid"])
        if content is None or content.account_sid != account.sid:
            raise not_found(request.path)
        settle(engine, content)
        done = _of_one(engine, content, request, approval=bool(match["approval"]), ask=bool(match["ask"]))
    if done is None:
        raise not_allowed()
    refuse(request.effect.refusal_when("after"))
    return done


def settle(engine: Engine, content: Content) -> None:
    """Let WhatsApp's decision come when its time has come: pending at first, then approved."""
    approval = content.approval
    if approval.status not in ("received", "pending"):
        return
    waits = engine.now() < approval.asked_at + engine.pace.approved_ms / 1000
    content.approval = replace(approval, status="pending" if waits else "approved")


def _of_all(engine: Engine, account: Account, request: Request) -> Answer | None:
    if request.method == "GET":
        return _list(engine, account, request, lambda content: content_json(engine, content))
    if request.method != "POST":
        return None
    given = _object(request)
    content = _made(engine, account, given)
    engine.state.contents[content.sid] = content
    request.sid = content.sid
    return Answer(status=201, body=content_json(engine, content))


def _of_one(engine: Engine, content: Content, request: Request, *, approval: bool, ask: bool) -> Answer | None:
    if ask:
        return _asked(engine, content, request) if request.method == "POST" else None
    if approval:
        return Answer(status=200, body=_approval_json(engine, content)) if request.method == "GET" else None
    if request.method == "GET":
        return Answer(status=200, body=content_json(engine, content))
    if request.method == "DELETE":
        del engine.state.contents[content.sid]
        return Answer(status=204)
    return None


def _object(request: Request) -> dict[str, Any]:
    try:
        given = json.loads(request.raw)
    except ValueError:
        raise Refused(400, 20001, "The body is not JSON") from None
    if not isinstance(given, dict):
        raise Refused(400, 20001, "The body is not a JSON object")
    return dict(_without_nulls(given))


def _without_nulls(node: Any) -> Any:
    """The official client names every type and field there is; those that it leaves out are null."""
    if isinstance(node, dict):
        return {name: _without_nulls(value) for name, value in node.items() if value is not None}
    if isinstance(node, list):
        return [_without_nulls(item) for item in node]
    return node


def _made(engine: Engine, account: Account, given: dict[str, Any]) -> Content:
    types, variables = given.get("types"), given.get("variables") or {}
    if not isinstance(types, dict) or not isinstance(given.get("language"), str):
        raise Refused(400, 20001, "language and types are required")
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise Refused(400, 20001, "variables must be strings by name")
    try:
        contents.check(types)
    except BadContent as error:
        raise Refused(400, 20001, str(error)) from None
    except (KeyError, TypeError, AttributeError):
        raise Refused(400, 20001, "types are malformed") from None
    now = engine.now()
    return Content(
        sid=records.new_sid("HX"),
        account_sid=account.sid,
        friendly_name=str(given.get("friendly_name") or ""),
        language=given["language"],
        variables=variables,
        types=types,
        created_at=now,
        updated_at=now,
    )


def _asked(engine: Engine, content: Content, request: Request) -> Answer:
    """Submit a content to WhatsApp; a list picker or a location can't be approved."""
    given = _object(request)
    name, category = given.get("name"), given.get("category")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(400, 20001, "name must be of lower-case letters, digits and underscores")
    if category not in CATEGORIES:
        raise Refused(400, 20001, f"category must be one of {', '.join(CATEGORIES)}")
    if content.type in contents.NEVER_APPROVED:
        raise Refused(400, 20001, f"{content.type} can't be submitted for approval")
    if content.approval.status in ("received", "pending", "approved"):
        raise Refused(409, 20409, "The content was submitted already")
    content.approval = Approval(
        name=name, category=category, content_type=content.type, status="received", asked_at=engine.now()
    )
    return Answer(status=201, body=_whatsapp_json(content.approval))


def _list(engine: Engine, account: Account, request: Request, shown: Callable[[Content], dict[str, Any]]) -> Answer:
    query = dict(parse_qsl(request.query))
    size = min(max(integer(query.get("PageSize"), 50), 1), 1000)
    page = integer(query.get("Page"), 0)
    own = [content for content in engine.state.contents.values() if content.account_sid == account.sid]
    for content in own:
        settle(engine, content)
    start = page * size
    base = f"{engine.url}{request.path}?PageSize={size}&Page="
    meta = {
        "page": page,
        "page_size": size,
        "first_page_url": f"{base}0",
        "previous_page_url": f"{base}{page - 1}" if page else None,
        "next_page_url": f"{base}{page + 1}" if start + size < len(own) else None,
        "url": f"{base}{page}",
        "key": "contents",
    }
    return Answer(
        status=200, body={"contents": [shown(content) for content in own[start : start + size]], "meta": meta}
    )


def _fields(content: Content) -> dict[str, Any]:
    return {
        "date_created": _iso(content.created_at),
        "date_updated": _iso(content.updated_at),
        "sid": content.sid,
        "account_sid": content.account_sid,
        "friendly_name": content.friendly_name,
        "language": content.language,
        "variables": content.variables,
        "types": content.types,
    }


def content_json(engine: Engine, content: Content) -> dict[str, Any]:
    """The content resource."""
    url = f"{engine.url}/v1/Content/{content.sid}"
    links = {
        "approval_create": f"{url}/ApprovalRequests/whatsapp",
        "approval_fetch": f"{url}/ApprovalRequests",
    }
    return {**_fields(content), "url": url, "links": links}


def _with_approval(content: Content) -> dict[str, Any]:
    return {**_fields(content), "approval_requests": _whatsapp_json(content.approval)}


def _approval_json(engine: Engine, content: Content) -> dict[str, Any]:
    return {
        "sid": content.sid,
        "account_sid": content.account_sid,
        "whatsapp": {"type": "whatsapp", **_whatsapp_json(content.approval)},
        "url": f"{engine.url}/v1/Content/{content.sid}/ApprovalRequests",
    }


def _whatsapp_json(approval: Approval) -> dict[str, Any]:
    return {
        "name": approval.name,
        "category": approval.category,
        "content_type": approval.content_type,
        "status": approval.status,
        "rejection_reason": approval.rejection_reason,
        "allow_category_change": True,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
