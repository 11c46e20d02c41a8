"""Errors that servers hide in an answer of 200: what the body says counts, and the caller's own rules apply to it."""

from __future__ import annotations

import json
from typing import Any

_WORDS = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "overloaded": 503,
    "service_unavailable": 503,
    "server_error": 500,
    "internal_error": 500,
    "api_error": 500,
    "timeout": 408,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "not_found_error": 404,
}
_LARGEST = 64 * 1024


def status_of(value: object) -> int | None:
    """The HTTP status of an error that this value is, a number or its digits; None for anything else."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value.strip()[:9])
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600 else None


def hidden_status(content: object) -> int | None:
    """The status of the error that an OpenAI-compatible endpoint's answer is; None for a good answer."""
    error = content.get("error") if isinstance(content, dict) else None
    if not error or not isinstance(content, dict):
        return None
    told: dict[str, Any] = error if isinstance(error, dict) else {}
    for value in (
        told.get("code"),
        told.get("status"),
        told.get("status_code"),
        content.get("code"),
        content.get("status"),
    ):
        if (status := status_of(value)) is not None:
            return status
    words = (told.get("code"), told.get("type"), told.get("status"))
    return next((_WORDS[word.lower()] for word in words if isinstance(word, str) and word.lower() in _WORDS), 502)


async def uncover(response: Any) -> None:
    """A response hook of an httpx client: the answer has the status of the error that it hides."""
    if response.status_code != 200 or "json" not in response.headers.get("content-type", ""):
        return
    await response.aread()
    if len(response.content) > _LARGEST or b'"error"' not in response.content:
        return
    try:
        status = hidden_status(json.loads(response.content))
    except (ValueError, RecursionError):
        return
    if status is not None:
        response.status_code = status


def watch(client: object) -> None:
    """Have a provider's client look for errors that are hidden so; one that is built otherwise is left as it is."""
    http = getattr(client, "_client", None)
    hooks = getattr(http, "event_hooks", None)
    if http is not None and isinstance(hooks, dict) and uncover not in hooks.get("response", ()):
        http.event_hooks = {**hooks, "response": [*hooks.get("response", ()), uncover]}
