from __future__ import annotations

import hashlib
import json
import re

from fastapi.routing import APIRoute

from recado.api import consent, people, reading, writing
from tests.api.programs import Office

BODIES = {
    "send_message": {"body": "Oi"},
    "make_key": {"name": "x", "scopes": ["read"]},
    "add_consent_word": {"word": "chega", "action": "stop"},
}
#: What changes by reading and by another owner's own acts, which are none of the first owner's.
_TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner_id' "
    "WHERE n.nspname = 'recado' AND c.relkind = 'r'"
)


def routes() -> list[APIRoute]:
    found = [route for part in (reading, writing, people, consent) for route in part.router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    return [route for route in found if isinstance(route, APIRoute)]


def rows_of(office: Office) -> dict[str, str]:
    """A digest of all rows of the first owner, by table."""
    owned = {}
    for [table] in (row.values() for row in office.front.rows(_TABLES)):
        rows = office.front.rows(f"SELECT * FROM {table} WHERE owner_id = %s", office.front.owner_id)
        text = json.dumps(sorted(repr(sorted(row.items())) for row in rows))
        owned[table] = hashlib.sha256(text.encode()).hexdigest()
    return owned


async def test_no_route_shows_or_changes_anything_of_another_owner(office: Office) -> None:
    stranger = await office.stranger()
    before = rows_of(office)
    named = 0
    for route in routes():
        path = re.sub(r"\{(\w+)\}", lambda found: office.ids[found[1]], route.path)
        [method] = route.methods
        more = {"json": BODIES.get(route.operation_id or "", {})} if method in ("POST", "PATCH") else {}
        answer = await stranger.ask(method, path, headers={"If-Match": '"1"'}, **more)
        if path != route.path:
            named += 1
            assert answer.status_code == 404, f"{method} {path}: {answer.text}"
        else:
            assert answer.status_code in (200, 201), f"{method} {path}: {answer.text}"
            for known in [*office.ids.values(), str(office.front.owner_id)]:
                assert known not in answer.text
    assert named >= 8
    assert rows_of(office) == before


async def test_a_cursor_or_a_filter_of_another_owners_shows_nothing_of_theirs(office: Office) -> None:
    stranger = await office.stranger()
    query = {"contact_id": office.ids["contact_id"]}
    assert (await stranger.get("/v1/conversations", params=query))["items"] == []


def test_every_route_of_the_api_stands_behind_the_door() -> None:
    from recado.api.door import GuardedRoute

    assert len(routes()) >= 20
    for route in routes():
        assert isinstance(route, GuardedRoute), route.path
        assert route.path.startswith("/v1/")


async def test_every_v1_path_of_the_application_is_walked(office: Office) -> None:
    paths = {path for path in office.front.app.openapi()["paths"] if path.startswith("/v1")}
    assert paths == {route.path for route in routes()}
