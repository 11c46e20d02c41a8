"""A Twilio account in memory, for what goes out beyond text: what was posted, made and listed, with failures on demand.

The client's own requests are tested in tests/channels; here it is what is asked for, and how often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import UUID

from recado.channels.port import ErrorClass, Receipt, SendError, Sent, Template
from recado.clock import uptime

Before = Callable[[dict[str, Any]], None]


class ProcessDied(BaseException):
    """The process ends here: no handler of the product may see it."""


@dataclass(slots=True)
class Ledger:
    """`before` and `after` are called with what is posted, and may raise; `says` is what Twilio makes of a content."""

    posted: list[dict[str, Any]] = field(default_factory=list)
    made: list[Mapping[str, Any]] = field(default_factory=list)
    listed: list[Sent] = field(default_factory=list)
    before: Before | None = None
    after: Before | None = None
    making: Callable[[], None] | None = None
    says: str = ""
    has: list[Template] = field(default_factory=list)

    async def of(self, _owner_id: UUID, _account_id: UUID) -> Ledger:
        return self

    async def send(self, *, not_after: float, **message: Any) -> Sent:
        assert not_after > uptime()
        if self.before is not None:
            self.before(message)
        self.posted.append(message)
        sent = Sent(
            sid="MM" + token_hex(16),
            status="delivered",
            date_created=datetime.now(UTC).replace(microsecond=0),
            body=self.says if message.get("content_sid") else message["body"],
            to=message["to"],
            from_=message["from_"],
            num_media=1 if message.get("media_url") else 0,
        )
        self.listed.insert(0, sent)
        if self.after is not None:
            self.after(message)
        return sent

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        assert to
        assert from_
        return list(self.listed)

    async def create(self, definition: Mapping[str, Any]) -> str:
        if self.making is not None:
            self.making()
        self.made.append(definition)
        return "HX" + token_hex(16)

    async def templates(self) -> list[Template]:
        return self.has

    async def fetch(self, sid: str) -> Receipt:
        raise AssertionError("not asked for")

    async def typing(self, message_sid: str) -> None:
        raise AssertionError("not asked for")

    async def aclose(self) -> None: ...


def refuses(error_class: ErrorClass, code: int, *, times: int = 1, only: str | None = None) -> Before:
    """Refuse that often; with `only`, what is posted with this argument."""
    left = times

    def refuse(message: dict[str, Any]) -> None:
        nonlocal left
        if left and (only is None or message.get(only)):
            left -= 1
            raise SendError(error_class, "refused", code)

    return refuse


def dies(_: dict[str, Any]) -> None:
    raise ProcessDied
