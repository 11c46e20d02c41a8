"""Faults on demand: rules that say which calls go wrong, how often, and in which way.

A rule names the operation it is about (`create`, `fetch`, `list`, `update`, `delete`, `typing`, `callback`,
`inbound`, `media`, `file`, `content`, or `any`), may narrow it by regular expressions, may end after `count` hits or
strike with a `probability`, and carries one or more effects. Of the rules that match a call, all strike; where two say
the same thing differently the older one wins.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recado.simulator.rewriting import Rewrite

T = TypeVar("T")
Operation = Literal[
    "create", "fetch", "list", "update", "delete", "typing", "callback", "inbound", "media", "file", "content"
]


class Fault(BaseModel):
    """One rule. Times are in the unit that the name says; regular expressions are searched, not anchored.

    On REST calls: `latency_ms` waits first; `http_status` answers an error (with `code`, `error_message`,
    `retry_after_s`), `drop` cuts the connection, `hold_s` keeps it open without an answer and cuts it then. `when` says
    whether that happens before Twilio took the message (or did what was asked) or after.
    On `create`: `callback_first` makes the first status callback come before the answer; `delivery_status` and
    `error_code` let the delivery fail.
    On `callback` and `inbound`: `lose` never posts, `copies` posts that many times at once, `delay_ms` posts later;
    on `callback`, `disorder` posts a status only after the one that follows it.
    On `media` (the API's redirect to a file), `redirect_to` leads elsewhere. On `file` (the host that serves it),
    `content_type` and `instead` (a text) are served in place of the file's own, `endless` repeats it without an end,
    `chunk_ms` waits before each KiB, `cut_at` cuts the connection after that many bytes.
    On `list` and `fetch`, `bodies` gives texts back in another form than they were posted in (`rewriting.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = ""
    operation: Operation | Literal["any"] = "any"
    to: str | None = None
    from_: str | None = Field(default=None, alias="from")
    body: str | None = None
    status: str | None = Field(default=None, description="of callbacks: the MessageStatus, as a regular expression")
    count: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)

    latency_ms: float = Field(default=0, ge=0)
    http_status: int | None = Field(default=None, ge=400, le=599)
    code: int | None = None
    error_message: str | None = None
    retry_after_s: float | None = Field(default=None, ge=0)
    drop: bool = False
    hold_s: float | None = Field(default=None, ge=0)
    when: Literal["before", "after"] = "before"

    callback_first: bool = False
    delivery_status: Literal["failed", "undelivered"] | None = None
    error_code: int | None = None

    lose: bool = False
    copies: int = Field(default=1, ge=1, le=100)
    delay_ms: float = Field(default=0, ge=0)
    disorder: bool = False

    redirect_to: str | None = None
    content_type: str | None = None
    instead: str | None = None
    endless: bool = False
    chunk_ms: float = Field(default=0, ge=0)
    cut_at: int | None = Field(default=None, ge=0)

    bodies: Rewrite | None = None

    @field_validator("to", "from_", "body", "status")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _does_something(self) -> Fault:
        if not (self.refuses or self.latency_ms or self.callback_first or self.delivery_status or self.bodies):  # noqa: SIM102
            if not (self.lose or self.copies > 1 or self.delay_ms or self.disorder or self.spoils_files):
                raise ValueError("a fault needs an effect")
        return self

    @property
    def refuses(self) -> bool:
        """Whether the caller of the REST API gets no good answer."""
        return self.http_status is not None or self.drop or self.hold_s is not None

    @property
    def spoils_files(self) -> bool:
        """Whether a file, or the way to it, is not what it should be."""
        given = (self.redirect_to, self.content_type, self.instead, self.cut_at)
        return self.endless or self.chunk_ms > 0 or any(value is not None for value in given)


@dataclass(slots=True, kw_only=True)
class ArmedFault:
    """A rule in force, and how often it struck."""

    id: str
    fault: Fault
    hits: int = 0

    @property
    def spent(self) -> bool:
        return self.fault.count is not None and self.hits >= self.fault.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the rules that struck do to one call, taken together."""

    names: tuple[str, ...] = ()
    latency_ms: float = 0
    refusal: Fault | None = None
    callback_first: bool = False
    delivery_status: Literal["failed", "undelivered"] | None = None
    error_code: int | None = None
    lose: bool = False
    copies: int = 1
    delay_ms: float = 0
    disorder: bool = False
    redirect_to: str | None = None
    content_type: str | None = None
    instead: str | None = None
    endless: bool = False
    chunk_ms: float = 0
    cut_at: int | None = None
    bodies: Rewrite | None = None

    def refusal_when(self, when: Literal["before", "after"]) -> Fault | None:
        """The refusal, if it is to happen then."""
        return self.refusal if self.refusal is not None and self.refusal.when == when else None


NO_EFFECT = Effect()


@dataclass(slots=True, kw_only=True)
class Faults:
    """The rules in force."""

    armed: list[ArmedFault] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    next_id: int = 1


def arm(faults: Faults, fault: Fault) -> ArmedFault:
    """Put a rule in force; its id removes it again."""
    armed = ArmedFault(id=f"F{faults.next_id}", fault=fault)
    faults.next_id += 1
    faults.armed.append(armed)
    return armed


def strike(
    faults: Faults, operation: Operation, *, to: str = "", from_: str = "", body: str = "", status: str = ""
) -> Effect:
    """What befalls this call; counts a hit on every rule that strikes."""
    if not faults.armed:
        return NO_EFFECT
    struck = [
        armed
        for armed in faults.armed
        if _matches(armed, operation, to, from_, body, status)
        and (armed.fault.probability >= 1 or faults.chance.random() < armed.fault.probability)
    ]
    if not struck:
        return NO_EFFECT
    for armed in struck:
        armed.hits += 1
    return _together(struck)


def _matches(armed: ArmedFault, operation: str, to: str, from_: str, body: str, status: str) -> bool:
    fault = armed.fault
    if armed.spent or fault.operation not in (operation, "any"):
        return False
    pairs = ((fault.to, to), (fault.from_, from_), (fault.body, body), (fault.status, status))
    return all(pattern is None or re.search(pattern, value) for pattern, value in pairs)


def _together(struck: Sequence[ArmedFault]) -> Effect:
    rules = [armed.fault for armed in struck]
    failing = next((rule for rule in rules if rule.delivery_status), None)
    return Effect(
        names=tuple(armed.fault.name or armed.id for armed in struck),
        latency_ms=sum(rule.latency_ms for rule in rules),
        refusal=next((rule for rule in rules if rule.refuses), None),
        callback_first=any(rule.callback_first for rule in rules),
        delivery_status=failing.delivery_status if failing else None,
        error_code=failing.error_code if failing else None,
        lose=any(rule.lose for rule in rules),
        copies=max(rule.copies for rule in rules),
        delay_ms=sum(rule.delay_ms for rule in rules),
        disorder=any(rule.disorder for rule in rules),
        redirect_to=_oldest(rule.redirect_to for rule in rules),
        content_type=_oldest(rule.content_type for rule in rules),
        instead=_oldest(rule.instead for rule in rules),
        endless=any(rule.endless for rule in rules),
        chunk_ms=sum(rule.chunk_ms for rule in rules),
        cut_at=_oldest(rule.cut_at for rule in rules),
        bodies=_oldest(rule.bodies for rule in rules),
    )


def _oldest(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
