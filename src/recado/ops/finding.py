"""What a check of the doctor's finds: that it is well, or what is so and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recado.db.pool import Connection

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check: what is so, and what to do unless it is well."""

    name: str
    state: State
    text: str
    fix: str | None = None


def ok(name: str, text: str) -> Finding:
    return Finding(name=name, state="ok", text=text)


def warn(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="warn", text=text, fix=fix)


def fail(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="fail", text=text, fix=fix)


async def answered(conn: Connection, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    # The queries are constants of this module.
    return await (await conn.execute(query, parameters)).fetchall()


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lasting(seconds: int) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"
