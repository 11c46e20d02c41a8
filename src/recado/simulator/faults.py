"""Faults on demand: rules that say which calls go wrong, how often, and in which way.

A rule names the operation it is about (`create`, `fetch`, `list`, `update`, `delete`, `typing`, `callback`,
`inbound`, or `any`), may narrow it by regular expressions, may end after `count` hits or strike with a `probability`,
and carries one or more effects. Of the rules that match a call, all strike; where two say the same thing differently
the older one wins.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Operation = Literal["create", "fetch", "list", "update", "delete", "typing", "callback", "inbound"]


class Fault(BaseModel):
    """One rule. Times are in the unit that the name says; regular expressions are searched, not anchored.

    On REST calls: `latency_ms` waits first; `http_status` answers an error (with `code`, `error_message`,
    `retry_after_s`), `drop` cuts the connection, `hold_s` keeps it open without an answer and cuts it then. `when` says
    whether that happens before Twilio took the message (or did what was asked) or after.
    On `create`: `callback_first` makes the first status callback come before the answer; `delivery_status` and
    `error_code` let the delivery fail.
    On `callback` and `inbound`: `lose` never posts, `copies` posts that many times at once, `delay_ms` posts later;
    on `callback`, `disorder` posts a status only after the one that follows it.
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
        if not (self.refuses or self.latency_ms or self.callback_first or self.delivery_status):  # noqa: SIM102
            if not (self.lose or self.copies > 1 or self.delay_ms or self.disorder):
                raise ValueError("a fault needs an effect")
        return self

    @property
    def refuses(self) -> bool:
        """Whether the caller of the REST API gets no good answer."""
        return self.http_status is not None or self.drop or self.hold_s is not None


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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A fault that has a name and a sentence, for switchboards and command lines."""

    title: str
    says: str
    fields: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "slow": Preset(
        title="Slow API", says="Every REST call takes two seconds.", fields={"operation": "any", "latency_ms": 2000}
    ),
    "too-many-requests": Preset(
        title="429",
        says="Creating a message answers 20429; it was not taken.",
        fields={"operation": "create", "http_status": 429, "code": 20429, "retry_after_s": 1},
    ),
    "error-before": Preset(
        title="503, not taken",
        says="Creating a message answers 503; it was not taken.",
        fields={"operation": "create", "http_status": 503, "when": "before"},
    ),
    "error-after": Preset(
        title="500, but taken",
        says="Twilio takes the message and answers 500.",
        fields={"operation": "create", "http_status": 500, "when": "after"},
    ),
    "timeout-after": Preset(
        title="Time-out, but taken",
        says="Twilio takes the message and answers nothing for 30 seconds.",
        fields={"operation": "create", "hold_s": 30, "when": "after"},
    ),
    "drop-before": Preset(
        title="Connection cut, not taken",
        says="The connection is cut before the message is taken.",
        fields={"operation": "create", "drop": True, "when": "before"},
    ),
    "drop-after": Preset(
        title="Connection cut, but taken",
        says="Twilio takes the message and cuts the connection.",
        fields={"operation": "create", "drop": True, "when": "after"},
    ),
    "callback-first": Preset(
        title="Callback before the answer",
        says="The first status callback comes before the POST's answer.",
        fields={"operation": "create", "callback_first": True},
    ),
    "fails": Preset(
        title="Delivery fails (63024)",
        says="The message is taken and then fails: invalid recipient.",
        fields={"operation": "create", "delivery_status": "failed", "error_code": 63024},
    ),
    "outside-window": Preset(
        title="Outside 24 hours (63016)",
        says="The message is taken and then undelivered: the window is closed.",
        fields={"operation": "create", "delivery_status": "undelivered", "error_code": 63016},
    ),
    "lost-callbacks": Preset(
        title="Lost callbacks", says="Status callbacks never come.", fields={"operation": "callback", "lose": True}
    ),
    "late-callbacks": Preset(
        title="Late callbacks",
        says="Status callbacks come three seconds late.",
        fields={"operation": "callback", "delay_ms": 3000},
    ),
    "duplicate-callbacks": Preset(
        title="Duplicate callbacks",
        says="Every status callback comes twice at once.",
        fields={"operation": "callback", "copies": 2},
    ),
    "disordered-callbacks": Preset(
        title="Disordered callbacks",
        says="A status callback comes after the one that follows it.",
        fields={"operation": "callback", "disorder": True},
    ),
    "duplicate-inbound": Preset(
        title="Duplicate webhooks",
        says="Every inbound webhook comes twice at once.",
        fields={"operation": "inbound", "copies": 2},
    ),
}
