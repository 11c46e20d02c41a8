"""The API as its description promises it: schemathesis looks for what breaks it, and a page lists its routes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recado.db.embedded import Lease
from recado.db.scope import scoped
from recado.identity import keys
from tests.api.test_isolation import routes
from tests.conftest import SECRET_KEYS
from tests.postgres import create_database, drop_database
from tests.product import Company, Product

PAGE = Path(__file__).parents[2] / "docs/reference/api.md"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture
def company(cluster: Lease, template: str, tmp_path: Path) -> Iterator[Company]:
    """An owner of an API that listens, without a worker."""
    url = create_database(cluster, template)
    with Product(url, tmp_path, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running.company()
    drop_database(cluster, url)


def key_of(company: Company) -> str:
    async def make() -> str:
        assert company.product.wiring is not None
        async with scoped(company.product.wiring.pool, company.owner_id) as scope:
            return (await keys.make(scope, name=secrets.token_hex(4), scopes=["admin"]))[1]

    return company.product.call(make)


def test_whatever_the_description_allows_is_answered_as_it_promises(company: Company) -> None:
    company.contact().says("Oi")
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
            answer = case.call(headers=headers, timeout=10)
            case.validate_response(answer, checks=CHECKS)
            statuses.append(answer.status_code)

        ask()
    assert len(statuses) >= 100
    assert {200, 201, 404, 409, 422} <= set(statuses)


def test_the_page_lists_every_route_with_what_it_needs_and_what_it_does() -> None:
    listed = [
        tuple(cell.strip() for cell in line.strip("| ").split(" | "))
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| `(GET|POST|PUT|PATCH|DELETE) ", line)
    ]
    expected = []
    for route in routes():
        [method] = route.methods
        [scope] = (route.openapi_extra or {})["security"][0]["ApiKey"]
        assert route.endpoint.__doc__
        expected.append((f"`{method} {route.path}`", f"`{scope}`", route.endpoint.__doc__.strip().splitlines()[0]))
    assert listed == expected


def test_every_operation_has_a_name_of_its_own_a_tag_and_words() -> None:
    names = [route.operation_id for route in routes()]
    assert len(set(names)) == len(names)
    for route in routes():
        assert route.operation_id == route.endpoint.__name__
        assert route.tags
