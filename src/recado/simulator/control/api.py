"""The routes under `/sim`: accounts, pace and logs here; messages, files, faults and templates beside it.

The control API has no password: whoever reaches it can read every message and make any contact write. It is for
127.0.0.1; the guard in `app` refuses other Host headers (DNS rebinding) and other Origins (pages of other sites) unless
told otherwise.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter

from recado.simulator import engine as twilio
from recado.simulator import state as records
from recado.simulator.control.bodies import AccountBody, NumberBody, PaceBody
from recado.simulator.control.faults import add_faults
from recado.simulator.control.files import add_files
from recado.simulator.control.found import account_of
from recado.simulator.control.messages import add_messages
from recado.simulator.control.templates import add_templates
from recado.simulator.engine import Engine
from recado.simulator.state import Account, Number


def control_api(engine: Engine) -> APIRouter:
    """The routes under `/sim`."""
    router = APIRouter(prefix="/sim")
    _settings(router, engine)
    _logs(router, engine)
    add_messages(router, engine)
    add_files(router, engine)
    add_faults(router, engine)
    add_templates(router, engine)
    return router


def _settings(router: APIRouter, engine: Engine) -> None:
    @router.get("/health")
    async def health() -> dict[str, Any]:
        return {"ok": True, "messages": len(engine.state.by_sid), "calls": engine.call_count}

    @router.get("/accounts")
    async def accounts() -> dict[str, Any]:
        return {"accounts": [_account(engine, account) for account in engine.state.accounts.values()]}

    @router.post("/accounts", status_code=201)
    async def put_account(body: AccountBody) -> dict[str, Any]:
        account = Account(
            sid=body.account_sid, auth_tokens=tuple(body.auth_tokens), api_keys=tuple(body.api_keys.items())
        )
        twilio.put_account(engine, account)
        return _account(engine, account)

    @router.post("/numbers", status_code=201)
    async def put_number(body: NumberBody) -> dict[str, Any]:
        number = Number(**body.model_dump(exclude={"account_sid"}))
        records.put_number(engine.state, account_of(engine, body.account_sid).sid, number)
        return asdict(number)

    @router.get("/pace")
    async def pace() -> dict[str, Any]:
        return asdict(engine.pace)

    @router.post("/pace")
    async def set_pace(body: PaceBody) -> dict[str, Any]:
        return asdict(twilio.set_pace(engine, **body.model_dump(exclude_none=True)))

    @router.post("/reset")
    async def reset() -> dict[str, Any]:
        twilio.forget(engine)
        return {"ok": True}


def _logs(router: APIRouter, engine: Engine) -> None:
    @router.get("/calls")
    async def calls(after: int = 0) -> dict[str, Any]:
        return {"calls": [asdict(call) for call in engine.calls if call.seq > after], "total": engine.call_count}

    @router.get("/webhooks")
    async def posted(kind: Literal["inbound", "callback"] | None = None, sid: str | None = None) -> dict[str, Any]:
        return {
            "webhooks": [
                asdict(post) for post in engine.posted if kind in (None, post.kind) and sid in (None, post.sid)
            ]
        }

    @router.get("/violations")
    async def violations() -> dict[str, Any]:
        return {"violations": [asdict(violation) for violation in engine.violations]}


def _account(engine: Engine, account: Account) -> dict[str, Any]:
    numbers = [asdict(number) for (sid, _), number in engine.state.numbers.items() if sid == account.sid]
    return {"account_sid": account.sid, "numbers": numbers}
