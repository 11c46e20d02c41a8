"""The API as its description promises it: schemathesis looks for what breaks it, and a page lists its routes."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from recado.db.scope import scoped
from recado.identity import keys
from tests.api.browsers import join
from tests.api.programs import Office
from tests.api.test_isolation import bodies, for_keys, needed, routes, sending
from tests.conftest import SECRET_KEYS
from tests.product import Company, Product

PAGE = Path(__file__).parents[2] / "docs/reference/api.md"


def declared_headers_are_sent(_: Any, answer: Any, case: Any) -> None:
    """schemathesis takes a declared header that is not required for one that may be missing; of a success none may."""
    declared = case.operation.definition.raw["responses"][str(answer.status_code)].get("headers", ())
    assert answer.status_code >= 300 or {name.lower() for name in declared} <= set(answer.headers)


def checks() -> list[Any]:
    """What every answer is held to. Loading schemathesis takes a second: it is for who runs these tests."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks as given

    return [
        declared_headers_are_sent,
        not_a_server_error,
        given.status_code_conformance,
        given.content_type_conformance,
        given.response_schema_conformance,
        given.response_headers_conformance,
    ]


@pytest.fixture
def company(database_url: str, tmp_path: Path) -> Iterator[Company]:
    """An owner of an API that listens, without a worker."""
    with Product(database_url, tmp_path, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running.company()


def key_of(company: Company) -> str:
    async def make() -> str:
        assert company.product.wiring is not None
        async with scoped(company.product.wiring.pool, company.owner_id) as scope:
            return (await keys.make(scope, name=secrets.token_hex(4), scopes=["admin"]))[1]

    return company.product.call(make)


def test_whatever_the_description_allows_is_answered_as_it_promises(company: Company) -> None:
    import schemathesis

    contact = company.contact()
    contact.says("Oi")
    held_to = checks()
    tables = {"account_id": "twilio_accounts", "entry_id": "knowledge"} | {
        f"{noun}_id": f"{noun}s" for noun in ("conversation", "message", "contact", "assistant", "number")
    }
    known = {name: company.product.rows(f"SELECT id FROM {table}")[0]["id"] for name, table in tables.items()}
    schema = schemathesis.openapi.from_url(f"{company.product.base_url}/openapi.json").include(path_regex="^/v1/")
    headers = {"Authorization": f"Bearer {key_of(company)}"}
    statuses: list[int] = []

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            # Every second time with the ids of things that there are, in their first version.
            if len(statuses) % 2:
                if "If-Match" in (case.headers or {}):
                    case.headers["If-Match"] = '"1"'
                case.path_parameters = {
                    name: str(known.get(name, value)) for name, value in (case.path_parameters or {}).items()
                }
            # A new message finds its number, half of the time the number's contact.
            if isinstance(case.body, dict) and "number_id" in case.body and len(statuses) % 4:
                case.body["number_id"] = str(known["number_id"])
                if len(statuses) % 2:
                    case.body["to"] = contact.address
            # Of a key it can only name the key's own owner: 403 for all others, mostly.
            if len(statuses) % 8:
                case.headers.pop("Recado-Owner", None)
            answer = case.call(headers=headers, timeout=10)
            case.validate_response(answer, checks=held_to)
            statuses.append(answer.status_code)

        ask()
    assert len(statuses) >= 100
    assert {200, 201, 404, 412, 422} <= set(statuses)


def test_the_page_lists_every_route_with_what_it_needs_and_what_it_does() -> None:
    listed = [
        tuple(cell.strip() for cell in line.strip("| ").split(" | "))
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| `(GET|POST|PUT|PATCH|DELETE) ", line)
    ]
    expected = []
    for route in routes():
        [method] = route.methods
        assert route.endpoint.__doc__
        first = route.endpoint.__doc__.strip().splitlines()[0]
        expected.append((f"`{method} {route.path}`", f"`{needed(route)}`", first))
    assert listed == expected


def test_every_operation_has_a_name_of_its_own_a_tag_and_words() -> None:
    names = [route.operation_id for route in routes()]
    assert len(set(names)) == len(names)
    for route in routes():
        assert route.operation_id == route.endpoint.__name__
        assert route.tags


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        if path.startswith("/v1/"):
            for method, operation in item.items():
                yield f"{method} {path}", operation


async def test_every_body_and_every_answer_has_an_example_that_keeps_to_its_schema(office: Office) -> None:
    description = office.front.app.openapi()
    checked = 0
    for name, operation in operations(description):
        carriers = [operation["requestBody"]] if "requestBody" in operation else []
        for carrier in [*carriers, *operation["responses"].values()]:
            for media_type, media in carrier.get("content", {}).items():
                if "json" not in media_type:
                    continue  # a file is no example to read
                schema = media["schema"] | {"components": description["components"]}
                assert "example" in media, name
                Draft202012Validator(schema).validate(media["example"])
                checked += 1
    assert checked > 200


#: Moments at the ends of what a date can say, where adding or moving to UTC goes beyond it.
MOMENTS = (
    *("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"),
    *(-(2**63), 0, 2**63, 253402300799, "2200-01-01T00:00:00+23:59"),
)


async def test_no_date_is_too_much_for_a_route_that_takes_one(office: Office) -> None:
    description = office.front.app.openapi()
    known, taking = bodies(office.ids), set()
    for name, operation in operations(description):
        body = json.dumps(operation.get("requestBody", {}))
        for schema in re.findall(r"#/components/schemas/(\w+)", body):
            for field, form in description["components"]["schemas"][schema].get("properties", {}).items():
                if "date-time" not in json.dumps(form):
                    continue
                taking.add((name, field))
                method, path = name.split()
                for moment in MOMENTS:
                    given = known[operation["operationId"]] | {field: moment}
                    answer = await office.admin.ask(method, path.format(**office.ids), json=given)
                    assert answer.status_code == 422, (name, moment)
    assert taking == {("post /v1/keys", "expires_at"), ("post /v1/webhooks/{webhook_id}/replay", "since")}


async def test_every_route_says_what_may_go_wrong_and_with_which_headers(office: Office) -> None:
    for name, operation in operations(office.front.app.openapi()):
        responses = operation["responses"]
        assert {"401", "403", "413", "422", "429", "500", "503"} <= set(responses), name
        assert "WWW-Authenticate" in responses["401"]["headers"], name
        for status in ("429", "503"):
            assert "Retry-After" in responses[status]["headers"], name
        if "requestBody" in operation:
            assert {"400", "415"} <= set(responses), name
        if "412" in responses:
            assert "ETag" in responses["412"]["headers"], name
            assert "ETag" in responses["200"]["headers"], name
        if "{" in name and not name.startswith("put "):
            assert "404" in responses, name


async def test_a_change_of_what_two_people_may_edit_needs_the_version_that_was_read(office: Office) -> None:
    """Where a second writer would silently undo the first; where the state decides, it is a 409 for one of them."""
    needing = {name for name, operation in operations(office.front.app.openapi()) if "428" in operation["responses"]}
    known = {"source": "faq.md", "owner_id": str(office.front.owner_id)} | office.ids
    root = (await join(office.front, "admin", platform=True)).browser
    for name in needing:
        method, path = name.split()
        [route] = [found for found in routes() if found.path == path and found.methods == {method.upper()}]
        body = bodies(office.ids)[route.operation_id or ""]
        more = sending(body)
        asker = office.admin if for_keys(route) else root
        answer = await asker.ask(method, path.format(**known), **more)
        assert answer.status_code == 428, name
    assert {"patch /v1/users/{user_id}", "patch /v1/owners/{owner_id}"} <= needing
    assert "post /v1/conversations/{conversation_id}/assign" in needing
    assert "post /v1/conversations/{conversation_id}/take" not in needing
