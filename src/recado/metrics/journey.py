"""What happens on the journey, counted: a subscriber of `happened`, which tells it once and when it is certain.

It takes figures and words of closed lists; ids only to see how long ago their message came.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from recado import metrics
from recado.ids import age_s
from recado.metrics.families import OTHER
from recado.told import REFUSED, UNDERSTOOD, Told

_TURNS: Final = frozenset(metrics.TURNS.spec.labels["outcome"].known)
_ENDS: Final = {"delivered": "delivered", "read": "read", "failed": "failed", "undelivered": "failed"}


def measure(told: Told) -> None:
    """Count it, where it is one of the things that are counted."""
    count = _COUNTED.get(told.step)
    if count is not None:
        count(told)


def _accept(told: Told) -> None:
    if told.what == "accepted":
        _took(told, "done")


def _understand(told: Told) -> None:
    if told.what in UNDERSTOOD:
        _took(told, "failed" if told.what == "not_understood" else "done")


def _answer(told: Told) -> None:
    if told.what not in _TURNS:
        return
    metrics.TURNS(told.what).inc()
    _took(told, "failed" if told.what in ("apology", "broken") else "done")
    # A model whose every try came to nothing is not named, and charges all the same.
    model = told.details.get("model") or OTHER
    read, wrote = told.details.get("input_tokens", 0), told.details.get("output_tokens", 0)
    if read or wrote:
        metrics.MODEL_TOKENS(model, "input").inc(read)
        metrics.MODEL_TOKENS(model, "output").inc(wrote)
        metrics.MODEL_COST(model).inc(told.details.get("cost_micros", 0) / 1_000_000)


def _deliver(told: Told) -> None:
    if told.what == "sent":
        metrics.TRIES("send", "none").inc()
        _took(told, "done")
        # What answers nobody has an id of its own for the whole journey.
        if told.details.get("part") == 1 and told.correlation_id not in (None, told.message_id):
            _observe_age(told.correlation_id)
    elif told.what in REFUSED:
        metrics.TRIES("send", told.what).inc()
        final = told.details.get("then") == "fail"
        _took(told, "failed" if final else "again")
        if final:
            _failed(told)


def _confirm(told: Told) -> None:
    if told.what != "confirmed":
        return
    _took(told, "done")
    end = _ENDS.get(told.details.get("status", ""))
    if end is None or not told.details.get("moved"):
        return
    if told.message_id is not None and (since_s := age_s(told.message_id)) is not None:
        metrics.DELIVERY_SECONDS(end).observe(since_s)
    if end == "failed":
        _failed(told)


def _took(told: Told, outcome: str) -> None:
    took_s = told.age_s if told.step == "deliver" else told.duration_s
    if took_s is not None:
        metrics.STEP_SECONDS(told.step, outcome).observe(max(0.0, took_s))


def _failed(told: Told) -> None:
    code = told.details.get("code")
    metrics.DELIVERY_FAILURES("none" if code is None else str(code)).inc()


def _observe_age(id: UUID | None) -> None:  # noqa: A002 - it is one
    since_s = None if id is None else age_s(id)
    if since_s is not None:
        metrics.REPLY_SECONDS().observe(since_s)


_COUNTED: Final = {
    "accept": _accept,
    "understand": _understand,
    "answer": _answer,
    "deliver": _deliver,
    "confirm": _confirm,
}
