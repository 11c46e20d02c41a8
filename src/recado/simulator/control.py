"""The control API under `/sim`: what tests, scripts and the phone use to run the local Twilio.

It has no password: whoever reaches it can read every message and make any contact write. It is for 127.0.0.1; the
guard in `app` refuses other Host headers (DNS rebinding) and other Origins (pages of other
sites) unless told otherwise.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.simulator import engine as twilio
from recado.simulator import faults as faulty
from recado.simulator import feed
from recado.simulator import state as records
from recado.simulator.engine import Engine
from recado.simulator.faults import PRESETS, ArmedFault, Fault
from recado.simulator.state import Account, Attempt, Message, Number, Thread


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class AccountBody(_Body):
    """An account and its secrets; the first token signs."""

    account_sid: str = Field(pattern=r"^AC[0-9a-fA-F]{32}$")
    auth_tokens: list[str] = Field(min_length=1)
    api_keys: dict[str, str] = {}


class NumberBody(_Body):
    """A number of an account; the webhook URL may carry `#rc=..&rp=..`."""

    account_sid: str
    address: str = Field(min_length=1)
    webhook_url: str | None = None
    status_callback_url: str | None = None
    messaging_service_sid: str | None = Field(default=None, pattern=r"^MG[0-9a-fA-F]{32}$")


class ContactBody(_Body):
    """A contact who has not written yet."""

    account_sid: str
    number: str
    contact: str = Field(pattern=r"^(whatsapp:)?\S{3,60}$")
    name: str = ""


class MessageBody(_Body):
    """What a contact writes; `params` adds webhook parameters, replaces them, or with null removes them."""

    account_sid: str
    from_: str = Field(alias="from", min_length=1)
    to: str
    body: str = ""
    profile_name: str | None = None
    params: dict[str, str | None] = {}
    message_sid: str | None = Field(default=None, pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")
    wait: bool = True


class ResendBody(_Body):
    """How often to post the webhook again, all at once."""

    times: int = Field(default=1, ge=1, le=1000)
    wait: bool = True


class PaceBody(_Body):
    """What is given is changed."""

    sent_ms: float | None = Field(default=None, ge=0)
    delivered_ms: float | None = Field(default=None, ge=0)
    read_ms: float | None = Field(default=None, ge=0)
    auto_read: bool | None = None


class ThreadBody(_Body):
    """A thread, by its two sides."""

    account_sid: str
    number: str
    contact: str


def control_api(engine: Engine) -> APIRouter:
    """The routes under `/sim`."""
    router = APIRouter(prefix="/sim")
    _settings(router, engine)
    _messages(router, engine)
    _faults(router, engine)
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
        records.put_account(engine.state, account)
        return _account(engine, account)

    @router.post("/numbers", status_code=201)
    async def put_number(body: NumberBody) -> dict[str, Any]:
        number = Number(**body.model_dump(exclude={"account_sid"}))
        records.put_number(engine.state, _account_of(engine, body.account_sid).sid, number)
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


def _messages(router: APIRouter, engine: Engine) -> None:
    @router.post("/messages", status_code=201)
    async def send(body: MessageBody) -> dict[str, Any]:
        account, number = _number_of(engine, body.account_sid, body.to)
        try:
            message = twilio.receive(
                engine,
                account=account,
                number=number,
                contact=body.from_,
                body=body.body,
                profile_name=body.profile_name,
                extra=body.params,
                message_sid=body.message_sid,
            )
        except ValueError as error:
            raise HTTPException(409, str(error)) from error
        return await _delivered(engine, message, times=1, wait=body.wait)

    @router.post("/messages/{sid}/resend")
    async def resend(sid: str, body: ResendBody) -> dict[str, Any]:
        message = engine.state.by_sid.get(sid)
        if message is None or message.direction != "inbound":
            raise HTTPException(404, f"no inbound message {sid}")
        return await _delivered(engine, message, times=body.times, wait=body.wait)

    @router.post("/contacts", status_code=201)
    async def add_contact(body: ContactBody) -> dict[str, Any]:
        _number_of(engine, body.account_sid, body.number)
        thread = records.thread_of(engine.state, body.account_sid, body.number, body.contact)
        thread.name = body.name or thread.name
        feed.tell_thread(engine.feed, thread, engine.now())
        return feed.summary(thread, engine.now())

    @router.get("/threads")
    async def threads(limit: int | None = None) -> dict[str, Any]:
        latest = sorted(
            engine.state.threads.values(),
            key=lambda thread: thread.messages[-1].seq if thread.messages else 0,
            reverse=True,
        )
        return {"threads": [feed.summary(thread, engine.now()) for thread in latest[:limit]]}

    @router.get("/threads/{contact}")
    async def thread(
        contact: str, account_sid: str | None = None, number: str | None = None, limit: int | None = None
    ) -> dict[str, Any]:
        shown = [
            message
            for thread in _threads_of(engine, contact)
            if account_sid in (None, thread.account_sid) and number in (None, thread.number)
            for message in thread.messages
        ]
        shown.sort(key=lambda message: message.seq)
        return {"messages": [feed.bubble(message) for message in (shown[-limit:] if limit else shown)]}

    @router.post("/read")
    async def read(body: ThreadBody) -> dict[str, Any]:
        thread = engine.state.threads.get((body.account_sid, body.number, body.contact))
        return {"read": twilio.read_thread(engine, thread) if thread is not None else 0}

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


def _faults(router: APIRouter, engine: Engine) -> None:
    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        presets = [{"name": name, "title": preset.title, "says": preset.says} for name, preset in PRESETS.items()]
        return {"faults": [_fault(armed) for armed in engine.faults.armed], "presets": presets}

    @router.post("/faults", status_code=201)
    async def arm(body: Fault) -> dict[str, Any]:
        return _armed(engine, body)

    @router.post("/faults/{preset}", status_code=201)
    async def arm_preset(preset: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if preset not in PRESETS:
            raise HTTPException(404, f"no preset {preset}; there are {', '.join(PRESETS)}")
        try:
            fault = Fault.model_validate({"name": preset, **PRESETS[preset].fields, **(body or {})})
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return _armed(engine, fault)

    @router.delete("/faults", status_code=204)
    async def clear() -> Response:
        engine.faults.armed.clear()
        _tell_faults(engine)
        return Response(status_code=204)

    @router.delete("/faults/{fault_id}", status_code=204)
    async def disarm(fault_id: str) -> Response:
        kept = [armed for armed in engine.faults.armed if armed.id != fault_id]
        if len(kept) == len(engine.faults.armed):
            raise HTTPException(404, f"no fault {fault_id}")
        engine.faults.armed[:] = kept
        _tell_faults(engine)
        return Response(status_code=204)


def _armed(engine: Engine, fault: Fault) -> dict[str, Any]:
    armed = faulty.arm(engine.faults, fault)
    _tell_faults(engine)
    return _fault(armed)


def _tell_faults(engine: Engine) -> None:
    feed.tell(engine.feed, {"type": "faults"})


async def _delivered(engine: Engine, message: Message, *, times: int, wait: bool) -> dict[str, Any]:
    task = twilio.deliver_inbound(engine, message, times=times)
    attempts: list[Attempt] = await task if wait else []
    return {"sid": message.sid, "attempts": [asdict(attempt) for attempt in attempts]}


def _account_of(engine: Engine, account_sid: str) -> Account:
    account = engine.state.accounts.get(account_sid)
    if account is None:
        raise HTTPException(404, f"no account {account_sid}")
    return account


def _number_of(engine: Engine, account_sid: str, address: str) -> tuple[Account, Number]:
    account = _account_of(engine, account_sid)
    number = engine.state.numbers.get((account_sid, address))
    if number is None:
        raise HTTPException(404, f"no number {address} in {account_sid}")
    return account, number


def _threads_of(engine: Engine, contact: str) -> list[Thread]:
    return [
        thread
        for account_sid in engine.state.accounts
        for thread in engine.state.contacts.get((account_sid, contact), [])
    ]


def _account(engine: Engine, account: Account) -> dict[str, Any]:
    numbers = [asdict(number) for (sid, _), number in engine.state.numbers.items() if sid == account.sid]
    return {"account_sid": account.sid, "numbers": numbers}


def _fault(armed: ArmedFault) -> dict[str, Any]:
    shown = armed.fault.model_dump(by_alias=True, exclude_defaults=True)
    return {**shown, "id": armed.id, "hits": armed.hits, "spent": armed.spent}
