"""Why a model gave no usable answer: what an exception of pydantic-ai or of its transport means to us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import structlog

log = structlog.get_logger(__name__)

Reason = Literal[
    "timed_out",
    "rate_limited",
    "unavailable",
    "unreachable",
    "quota_exhausted",
    "not_authorized",
    "not_found",
    "context_too_long",
    "rejected",
    "empty_answer",
    "not_configured",
    "unexpected",
]

#: Reasons that pass by themselves: the same request may succeed a moment later.
PASSING: frozenset[Reason] = frozenset({"timed_out", "rate_limited", "unavailable", "unreachable"})

#: Reasons for which a request with pictures may have been refused because of them.
BLIND: frozenset[Reason] = frozenset({"rejected", "not_found", "context_too_long", "unexpected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a model read and wrote, as its provider counts it; of an answer that never came nothing is known."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input_tokens=self.input_tokens + other.input_tokens, output_tokens=self.output_tokens + other.output_tokens
        )


NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One attempt's reason, how many seconds the provider asks to be left alone, and what the attempt used."""

    reason: Reason
    retry_after_s: float = 0.0
    used: Tokens = NO_TOKENS


def failure_of(error: Exception) -> Failure:
    """Which of our reasons an exception of pydantic-ai or its transport means."""
    from pydantic_ai import exceptions as ai

    if isinstance(error, TimeoutError | ai.ModelTimeoutError | ai.ModelRequestTimeout):
        return Failure(reason="timed_out")
    if isinstance(error, ai.UnexpectedModelBehavior | ai.UsageLimitExceeded):
        return Failure(reason="empty_answer")
    if not isinstance(error, ai.ModelAPIError):
        log.error("model_run_broke", error=type(error).__name__)
        return Failure(reason="unexpected")
    wait_s = error.retry_after or 0.0
    classes: tuple[tuple[type[Exception], Reason], ...] = (
        (ai.ModelQuotaExceededError, "quota_exhausted"),
        (ai.ModelRateLimitError, "rate_limited"),
        (ai.ModelUnavailableError, "unavailable"),
        (ai.ModelServerError, "unavailable"),
        (ai.ModelConnectionError, "unreachable"),
        (ai.ModelAuthenticationError, "not_authorized"),
        (ai.ModelNotFoundError, "not_found"),
        (ai.ModelContextWindowExceededError, "context_too_long"),
        (ai.ModelRequestRejectedError, "rejected"),
    )
    for category, reason in classes:
        if isinstance(error, category):
            return Failure(reason=reason, retry_after_s=wait_s)
    status = error.status_code if isinstance(error, ai.ModelHTTPError) else 0
    if status in (408, 425, 429) or status >= 500:
        return Failure(reason="rate_limited" if status == 429 else "unavailable", retry_after_s=wait_s)
    return Failure(reason="rejected" if status else "unexpected")
