"""One call of the REST API on its way through: what was asked, what befell it, and how it is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from recado.simulator import engine as twilio
from recado.simulator import faults as faulty
from recado.simulator.engine import Engine
from recado.simulator.faults import Effect, Fault, Operation
from recado.simulator.rest.wire import Cut, Refused
from recado.simulator.state import Message


@dataclass(slots=True, kw_only=True)
class Request:
    """What was asked, what befell it, and the message, file or content it was about."""

    method: str
    path: str
    query: str
    raw: bytes
    form: dict[str, str]
    media_urls: tuple[str, ...]
    operation: str = ""
    effect: Effect = faulty.NO_EFFECT
    sid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status and JSON; `location` makes it a redirect."""

    status: int
    body: dict[str, Any] | None = None
    location: str | None = None


async def befall(
    engine: Engine,
    request: Request,
    operation: Operation,
    message: Message | None = None,
    *,
    to: str = "",
    from_: str = "",
    body: str = "",
) -> None:
    """Let the faults strike that are due before the call does anything."""
    request.operation = operation
    if not engine.faults.armed:
        return
    if message is not None:
        to, from_, body = message.to, message.from_, message.body
    request.effect = effect = faulty.strike(engine.faults, operation, to=to, from_=from_, body=body)
    if effect.latency_ms:
        await asyncio.sleep(effect.latency_ms / 1000)
    refuse(effect.refusal_when("before"))


def refuse(fault: Fault | None) -> None:
    """Raise what the fault asks for, if there is one."""
    if fault is None:
        return
    if fault.http_status is None:
        raise Cut(fault.hold_s or 0.0)
    code = fault.code or {404: 20404, 429: 20429, 503: 20503}.get(fault.http_status, 20500)
    words = fault.error_message or ("Too Many Requests" if code == 20429 else "The simulator was told to fail")
    raise Refused(fault.http_status, code, words, retry_after_s=fault.retry_after_s)


def not_found(path: str) -> Refused:
    """Twilio's answer for what is not there, or not this account's."""
    return Refused(404, 20404, f"The requested resource {path} was not found")


def not_allowed() -> Refused:
    """Twilio's answer for a method that the resource does not have."""
    return Refused(405, 20004, "Method not allowed")


def integer(text: str | None, default: int) -> int:
    """A number of the query; the default when it is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else default


@lru_cache(maxsize=4096)
def rfc_2822(second: int) -> str:
    """A second since the epoch as Twilio's 2010 API writes it."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def log(engine: Engine, request: Request, status: int) -> None:
    """Remember the call and its answer."""
    twilio.log_call(
        engine,
        method=request.method,
        path=f"{request.path}?{request.query}" if request.query else request.path,
        form=request.form,
        operation=request.operation,
        status=status,
        sid=request.sid,
        faulted=request.effect.names,
    )
