"""The API as its description promises it to people: schemathesis asks as a platform administrator, who may it all."""

from __future__ import annotations

import secrets
from typing import Any

import httpx2
from hypothesis import HealthCheck, Phase, given, settings

from recado.db.scope import scoped
from recado.identity import sessions, users
from tests.api.test_description import checks, company
from tests.identity.conftest import CHEAP, PASSWORD
from tests.product import Company

__all__ = ["company"]

#: What ends the session that asks it, or makes the address wait.
LAST = {"sign_in", "sign_out", "end_sessions", "end_session", "change_password"}


def signed_in(company: Company) -> str:
    """The token of a new platform administrator."""

    async def begin() -> str:
        wiring = company.product.wiring
        assert wiring is not None
        now = wiring.clock.now()
        async with await wiring.connect("recado_platform") as conn:
            email = f"{secrets.token_hex(4)}@platform.example"
            hashed = CHEAP.hash(PASSWORD)
            user, _ = await users.put(conn, email=email, role="admin", password_hash=hashed, now=now)
            return (await sessions.begin(conn, user, now=now))[1]

    return company.product.call(begin)


def hired(company: Company) -> str:
    """The id of a new user of the owner."""

    async def hire() -> str:
        wiring = company.product.wiring
        assert wiring is not None
        async with scoped(wiring.pool, company.owner_id) as scope:
            given = {"email": "ana@padaria.example", "role": "viewer", "password_hash": CHEAP.hash(PASSWORD)}
            return str((await users.put(scope, **given, now=wiring.clock.now()))[0].id)

    return company.product.call(hire)


def answers_of(company: Company, operation: Any, token: str, known: dict[str, str]) -> set[int]:
    """The statuses of some requests that the description allows; each answer is what it promises."""
    held_to = checks()
    base_url = company.product.base_url
    always = {"Origin": base_url, "Recado-Owner": known["owner_id"]}
    statuses: list[int] = []
    versioned = "if-match" in {one.get("name", "").lower() for one in operation.definition.raw.get("parameters", [])}

    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.path_parameters = {name: known.get(name, value) for name, value in (case.path_parameters or {}).items()}
        # Every second time what is there, in its present version.
        if versioned and len(statuses) % 2:
            read = httpx2.get(base_url + case.formatted_path, headers=always | {"Cookie": f"recado={token}"})
            case.headers, case.query = {"If-Match": read.headers.get("ETag", '"1"')}, {}
            for content in operation.definition.raw.get("requestBody", {}).get("content", {}).values():
                case.body = content["example"]
        ends = operation.definition.raw["operationId"] in LAST
        case.cookies = {"recado": signed_in(company) if ends else token}
        for name in ("Recado-Owner", "Authorization"):
            case.headers.pop(name, None)
        answer = case.call(headers=always, timeout=10)
        case.validate_response(answer, checks=held_to)
        statuses.append(answer.status_code)

    ask()
    return set(statuses)


def test_whatever_the_description_allows_people_is_answered_as_it_promises(company: Company) -> None:
    import schemathesis

    company.contact().says("Oi")
    schema = schemathesis.openapi.from_url(f"{company.product.base_url}/openapi.json").include(path_regex="^/v1/")
    token, known = signed_in(company), {"owner_id": str(company.owner_id), "user_id": hired(company)}
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = {one.definition.raw["operationId"]: answers_of(company, one, token, known) for one in operations}
    assert len(asked) >= 40
    for name in ("change_owner", "change_user"):
        assert {200, 428} <= asked[name], name
    # A wrong password is 401; nobody else is turned away at the door.
    assert {name for name, statuses in asked.items() if statuses & {401, 403}} <= {"sign_in", "change_password"}
