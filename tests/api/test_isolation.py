from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi.routing import APIRoute

from recado.api.install import PARTS
from recado.api.shared.door import GuardedRoute
from tests.api.programs import JPEG, Office, Program
from tests.journey.front import ACCOUNT_SID

#: Where a path names something by the caller's own words, which are no secret and mean nothing to others.
OWN_WORDS = {"source": "faq.md"}
#: A person who wrote to the stranger, and to the first owner too.
CONTACT = "whatsapp:+5511987654321"
#: What changes by reading and by another owner's own acts, which are none of the first owner's.
_TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner_id' "
    "WHERE n.nspname = 'recado' AND c.relkind = 'r'"
)


def routes() -> list[APIRoute]:
    found = [route for part in PARTS for route in part.router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    return [route for route in found if isinstance(route, APIRoute)]


def for_keys(route: APIRoute) -> bool:
    """Whether an API key may call it: what only people may do is about themselves or the platform."""
    return any("ApiKey" in way for way in (route.openapi_extra or {})["security"])


def needed(route: APIRoute) -> str:
    """What a route says of itself: a scope, or who must be signed in, or that anybody may ask."""
    security = (route.openapi_extra or {})["security"]
    if not security:
        return "nobody"
    if "ApiKey" in security[0]:
        [scope] = security[0]["ApiKey"]
        assert security[1] == {"Session": [{"read": "viewer", "write": "operator", "admin": "admin"}[scope]]}
        return str(scope)
    [(scheme, roles)] = security[0].items()
    assert scheme == "Session"
    return str(roles[0]) if roles else "signed in"


#: Routes that keys open; of the others `test_sessions.py` and `test_owners.py` tell.
def of_keys() -> list[APIRoute]:
    return [route for route in routes() if needed(route) in ("read", "write", "admin")]


def rows_of(office: Office) -> dict[str, str]:
    """A digest of all rows of the first owner, by table."""
    owned = {}
    for [table] in (row.values() for row in office.front.rows(_TABLES)):
        rows = office.front.rows(f"SELECT * FROM {table} WHERE owner_id = %s", office.front.owner_id)
        text = json.dumps(sorted(repr(sorted(row.items())) for row in rows))
        owned[table] = hashlib.sha256(text.encode()).hexdigest()
    return owned


def bodies(ids: Mapping[str, str]) -> dict[str, Any]:
    """A body for every route that takes one, of a caller who has these things; None for routes without."""
    account_id = ids["account_id"]
    return {
        "add_consent_word": {"word": "chega", "action": "stop"},
        "add_number": {"account_id": account_id, "address": "whatsapp:+14155557777"},
        "add_owner": {"name": "Clínica Norte"},
        "add_webhook": {"url": "https://stranger.example/"},
        "add_twilio_account": {"account_sid": "AC" + "e" * 32, "auth_token": "token"},
        "assign_conversation": {"assignee_id": None},
        "cancel_rotation": None,
        "change_assistant": {"instructions": "x"},
        "change_contact": {"language": "es"},
        "change_number": {"status": "unrouted"},
        "change_owner": {"status": "suspended"},
        "change_user": {"name": "x"},
        "change_twilio_account": {"public_url": "https://stranger.example"},
        "change_webhook": {"status": "disabled"},
        "close_conversation": None,
        "erase_contact": None,
        "finish_rotation": None,
        "forget_knowledge": None,
        "give_back_conversation": None,
        "invite": {"email": "x@x.example", "role": "viewer"},
        "make_assistant": {"name": "night"},
        "make_key": {"name": "x", "scopes": ["read"]},
        "put_knowledge": {"text": "# Horário\nNunca.\n"},
        "remove_consent_word": None,
        "remove_twilio_account": None,
        "remove_webhook": None,
        "replay_webhook": {"since": "2026-01-01T00:00:00Z"},
        "revoke_invitation": None,
        "revoke_key": None,
        "set_fallback_template": {"content_sid": None},
        "set_retention": {"messages": 30},
        "rotate_token": {"auth_token": "token"},
        "rotate_webhook_secret": {"keep_hours": 0},
        "try_webhook": None,
        "send_message": {"body": "Oi"},
        "send_message_to": {"number_id": ids["number_id"], "to": CONTACT, "body": "Oi"},
        "take_conversation": None,
        "upload_media": JPEG,
    }


def sending(body: Any) -> dict[str, Any]:
    """How a program is told to send a body: a file as it is, anything else as JSON, None not at all."""
    return {} if body is None else {"content" if isinstance(body, bytes) else "json": body}


async def test_no_route_shows_or_changes_anything_of_another_owner(office: Office) -> None:
    stranger = await office.stranger()
    [account] = (await stranger.get("/v1/twilio-accounts"))["items"]
    [number] = (await stranger.get("/v1/numbers"))["items"]
    await office.front.accept(
        await office.front.arrival("Oi", account_sid=account["account_sid"], to=number["address"], From=CONTACT)
    )
    before, known_bodies = rows_of(office), bodies({"account_id": account["id"], "number_id": number["id"]})
    named = 0
    for route in of_keys():
        assert route.operation_id
        path = re.sub(r"\{(\w+)\}", lambda found: (office.ids | OWN_WORDS)[found[1]], route.path)
        [method] = route.methods
        body = None if method == "GET" else known_bodies[route.operation_id]
        more = sending(body)
        answer = await stranger.ask(method, path, headers={"If-Match": '"1"'}, **more)
        if set(route.param_convertors) - set(OWN_WORDS):
            named += 1
            assert answer.status_code == 404, f"{method} {path}: {answer.text}"
        else:
            assert answer.status_code in (200, 201), f"{method} {path}: {answer.text}"
            for known in [*office.ids.values(), str(office.front.owner_id)]:
                assert known not in answer.text
    assert named >= 15
    assert rows_of(office) == before


async def test_what_a_body_names_must_be_the_callers_own(office: Office) -> None:
    stranger = await office.stranger()
    [own_account] = (await stranger.get("/v1/twilio-accounts"))["items"]
    [own_number] = (await stranger.get("/v1/numbers"))["items"]
    before = rows_of(office)
    theirs = office.ids
    number = {"account_id": own_account["id"], "address": "whatsapp:+14155557777"}
    present = {"If-Match": f'"{own_number["version"]}"'}
    for method, path, body, status in (
        ("POST", "/v1/twilio-accounts", {"account_sid": ACCOUNT_SID, "auth_token": "mine"}, 409),
        ("POST", "/v1/numbers", number | {"account_id": theirs["account_id"]}, 422),
        ("POST", "/v1/numbers", number | {"assistant_id": theirs["assistant_id"]}, 422),
        ("PATCH", f"/v1/numbers/{own_number['id']}", {"assistant_id": theirs["assistant_id"]}, 422),
        ("POST", "/v1/messages", {"number_id": theirs["number_id"], "to": CONTACT, "body": "Oi"}, 422),
    ):
        answer = await stranger.ask(method, path, json=body, headers=present)
        assert answer.status_code == status, f"{path}: {answer.text}"
    other = await office.front.accept(
        await office.front.arrival("Oi", account_sid=own_account["account_sid"], to=own_number["address"])
    )
    assert len(other) == 1
    [conversation] = (await stranger.get("/v1/conversations"))["items"]
    path = f"/v1/conversations/{conversation['id']}/assign"
    version = {"If-Match": f'"{conversation["version"]}"'}
    answer = await stranger.ask("POST", path, json={"assignee_id": theirs["user_id"]}, headers=version)
    assert answer.status_code == 422
    assert rows_of(office) == before


async def test_a_cursor_or_a_filter_of_another_owners_shows_nothing_of_theirs(office: Office) -> None:
    stranger = await office.stranger()
    query = {"contact_id": office.ids["contact_id"]}
    assert (await stranger.get("/v1/conversations", params=query))["items"] == []


def test_every_route_of_the_api_stands_behind_the_door() -> None:
    assert len(routes()) >= 20
    for route in routes():
        assert isinstance(route, GuardedRoute), route.path
        assert route.path.startswith("/v1/")
    opened = {route.operation_id for route in routes() if needed(route) == "nobody"}
    assert opened == {"sign_in", "accept_invitation"}


async def test_without_a_key_or_a_session_every_route_but_two_says_401(office: Office) -> None:
    stranger = Program(office.front, None)
    for route in routes():
        if needed(route) != "nobody":
            [method] = route.methods
            path = re.sub(r"\{\w+\}", office.ids["key_id"], route.path)
            assert (await stranger.ask(method, path)).status_code == 401, path


async def test_a_key_opens_no_route_of_people_or_of_the_platform(office: Office) -> None:
    for route in routes():
        if needed(route) in ("signed in", "platform"):
            [method] = route.methods
            path = re.sub(r"\{\w+\}", str(office.front.owner_id), route.path)
            assert (await office.admin.ask(method, path, json={})).status_code == 401, path


async def test_every_v1_path_of_the_application_is_walked(office: Office) -> None:
    paths = {path for path in office.front.app.openapi()["paths"] if path.startswith("/v1")}
    assert paths == {route.path for route in routes()}
