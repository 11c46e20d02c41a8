"""Metrics: an owner's own, for whoever watches them with Prometheus or the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID
from weakref import WeakKeyDictionary

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from recado.api.shared.door import READ, GuardedRoute, Who
from recado.api.shared.problems import describe
from recado.conversations import counts
from recado.conversations.counts import Counts
from recado.db.lookup import Lookup
from recado.db.pool import Pool
from recado.db.scope import scoped
from recado.identity import plans
from recado.identity.plans import Used
from recado.metrics import owned
from recado.metrics.families import TEXT, Labels
from recado.wiring import Wiring

#: However often an owner asks, its rows are counted no more often than this; so many owners' pages are kept.
KEEP_S: Final = 10.0
KEPT: Final = 500

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
_pages: WeakKeyDictionary[Pool, Lookup[UUID, bytes]] = WeakKeyDictionary()


class MetricsResponse(PlainTextResponse):
    """A page in Prometheus's text format."""

    media_type = TEXT


_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The metrics.", "content": {TEXT: {"schema": {"type": "string"}}}}
}


@router.get(
    "/metrics",
    tags=["Metrics"],
    operation_id="get_metrics",
    response_class=MetricsResponse,
    responses=describe() | _DESCRIBED,
    openapi_extra=READ,
)
async def get_metrics(who: Who) -> MetricsResponse:
    """The owner's own metrics in Prometheus's text format, ten seconds old at most."""
    pages = _pages.get(who.wiring.pool)
    if pages is None:
        pages = _pages[who.wiring.pool] = _of(who.wiring)
    return MetricsResponse(await pages.get(who.owner_id))


def _of(wiring: Wiring) -> Lookup[UUID, bytes]:
    """The pages of all owners, each made for all who ask at once."""
    pool, clock = wiring.pool, wiring.clock

    async def made(owner_id: UUID) -> bytes:
        now = clock.now()
        async with scoped(pool, owner_id) as scope:
            used = await plans.usage(scope, plans.period_of(now))
            found = await counts.count(scope, now)
        return owned.shown(_values(used, found))

    return Lookup(made, lambda _: KEEP_S, size=KEPT)


def _values(used: list[Used], found: Counts) -> Mapping[str, Mapping[Labels, float]]:
    tokens: dict[Labels, float] = {}
    cost: dict[Labels, float] = {}
    number: dict[Labels, float] = {}
    took: dict[Labels, float] = {}
    for turns in found.turns:
        for so_many, of in ((turns.input_tokens, "input"), (turns.output_tokens, "output")):
            tokens[turns.model, of] = tokens.get((turns.model, of), 0.0) + so_many
        cost[turns.model,] = cost.get((turns.model,), 0.0) + turns.cost_micros / 1e6
        number[turns.outcome,] = number.get((turns.outcome,), 0.0) + turns.number
        took[turns.outcome,] = took.get((turns.outcome,), 0.0) + turns.took_s
    waiting = {direction: found.waiting.get(direction) for direction in ("inbound", "outbound")}
    return {
        owned.USED.name: {(one.metric,): float(one.amount) for one in used},
        owned.LIMIT.name: {(one.metric,): float(one.limit) for one in used if one.limit is not None},
        owned.WAITING.name: {(way,): float(one.number if one else 0) for way, one in waiting.items()},
        owned.OLDEST.name: {(way,): one.oldest_s if one else 0.0 for way, one in waiting.items()},
        owned.HELD.name: {(what,): float(many) for what, many in found.stopped.items() if what != "failed"},
        owned.FAILED.name: {(): float(found.stopped.get("failed", 0))},
        owned.MESSAGES.name: {labels: float(many) for labels, many in found.lately.items()},
        owned.TURNS.name: number,
        owned.TURN_SECONDS.name: took,
        owned.TOKENS.name: tokens,
        owned.COST.name: cost,
        owned.PEOPLE.name: {(): float(found.with_people)},
    }
