"""The API as its description promises it to people: schemathesis asks as a platform administrator, who may it all."""

from __future__ import annotations

import secrets
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from recado.identity import sessions, users
from tests.api.test_description import CHECKS, company
from tests.identity.conftest import CHEAP, PASSWORD
from tests.product import Company

__all__ = ["company"]

#: What ends the session that asks it, or makes the address wait.
LAST = {"sign_out", "end_sessions", "end_session", "change_password"}


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


def answers_of(company: Company, operation: Any, token: str) -> set[int]:
    """The statuses of some requests that the description allows; each answer is what it promises."""
    owner_id, base_url = str(company.owner_id), company.product.base_url
    found: set[int] = set()

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
        if "owner_id" in (case.path_parameters or {}):
            case.path_parameters["owner_id"] = owner_id
        ends = operation.definition.raw["operationId"] in LAST
        case.cookies = {"recado": signed_in(company) if ends else token}
        for name in ("Recado-Owner", "Authorization"):
            case.headers.pop(name, None)
        answer = case.call(headers={"Origin": base_url, "Recado-Owner": owner_id}, timeout=10)
        case.validate_response(answer, checks=CHECKS)
        found.add(answer.status_code)

    ask()
    return found


def test_whatever_the_description_allows_people_is_answered_as_it_promises(company: Company) -> None:
    company.contact().says("Oi")
    schema = schemathesis.openapi.from_url(f"{company.product.base_url}/openapi.json").include(path_regex="^/v1/")
    token = signed_in(company)
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = {one.definition.raw["operationId"]: answers_of(company, one, token) for one in operations}
    assert len(asked) >= 40
    # A wrong password is 401; nobody else is turned away at the door.
    assert {name for name, statuses in asked.items() if statuses & {401, 403}} <= {"sign_in", "change_password"}
