"""What happens after a failed attempt to send: pure policy, no clock and no randomness of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from recado.channels.port import ErrorClass


class Action(StrEnum):
    """What to do with the message."""

    RETRY = "retry"
    """Post it again after `delay_s`."""
    RECONCILE = "reconcile"
    """After `delay_s`, look whether Twilio has it; only if not, post it again."""
    FAIL = "fail"
    """It will not be sent."""
    HOLD = "hold"
    """Keep it; try after `delay_s`, or when the owner says so if that is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One message's way on; `delay_s` counts in seconds from now."""

    action: Action
    delay_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The bounds, in seconds and attempts."""

    max_attempts: int = 12
    max_age_s: float = 4 * 3600.0
    """Twilio itself gives a queued message 4 hours; an answer older than that is not one any more."""
    window_s: float = 24 * 3600.0
    """WhatsApp's window: what is held longer can't be sent as free text."""
    base_s: float = 1.0
    cap_s: float = 300.0
    retry_after_cap_s: float = 900.0
    reconcile_after_s: float = 2.0
    """Twilio's list of messages is not up to date at once."""
    quota_s: float = 900.0
    """The first wait for a used up limit; each further one is twice as long."""
    quota_cap_s: float = 4 * 3600.0


POLICY = RetryPolicy()


def backoff_s(attempt: int, random: Callable[[], float], policy: RetryPolicy = POLICY) -> float:
    """Exponential back-off with full jitter: anything from zero to the doubled base, at most the cap.

    `attempt` counts from 1; `random` gives numbers in [0, 1).
    """
    # Beyond 2**32 only the cap matters, and a float has an end.
    return random() * min(policy.cap_s, policy.base_s * 2.0 ** min(max(attempt, 1) - 1, 32))


def decide(
    error_class: ErrorClass,
    *,
    attempt: int,
    age_s: float,
    retry_after_s: float | None = None,
    random: Callable[[], float],
    policy: RetryPolicy = POLICY,
) -> Decision:
    """What to do after attempt number `attempt` (the first is 1) of a message `age_s` old has failed.

    Retry-After is a least wait: jitter comes on top, and it is bounded, so that a wrong header can't stall a lane.
    Nothing is tried beyond the policy's attempts or age, and no wait reaches beyond that age.
    """
    if error_class in {ErrorClass.WINDOW, ErrorClass.RECIPIENT, ErrorClass.CONTENT, ErrorClass.TEMPLATE}:
        return Decision(action=Action.FAIL)
    if error_class in {ErrorClass.CONFIGURATION, ErrorClass.LOOK, ErrorClass.QUOTA}:
        delay_s = None
        if error_class is ErrorClass.QUOTA:
            delay_s = min(policy.quota_cap_s, policy.quota_s * 2.0 ** min(max(attempt, 1) - 1, 32))
        if age_s + (delay_s or 0.0) >= policy.window_s:
            return Decision(action=Action.FAIL)
        return Decision(action=Action.HOLD, delay_s=delay_s)
    delay_s = backoff_s(attempt, random, policy)
    if retry_after_s is not None and math.isfinite(retry_after_s):
        delay_s += min(max(retry_after_s, 0.0), policy.retry_after_cap_s)
    if error_class is ErrorClass.UNKNOWN:
        delay_s += policy.reconcile_after_s
    if attempt >= policy.max_attempts or age_s + delay_s > policy.max_age_s:
        return Decision(action=Action.FAIL)
    action = Action.RECONCILE if error_class is ErrorClass.UNKNOWN else Action.RETRY
    return Decision(action=action, delay_s=delay_s)
