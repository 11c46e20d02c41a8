"""A round: an endpoint in the hands of one worker is posted what it is due, until there is no more or time is up.

Lanes (conversations) go side by side, and in a lane one event after the other: what is refused holds back what came
later in its lane and nothing else. Whatever dies before it is written down is posted again, from where its lane stood:
of each lane an endpoint sees every event for the first time after all that came before it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from recado.clock import Clock
from recado.db.pool import Pool
from recado.db.scope import scoped
from recado.db.secrets import Keyring
from recado.errors import SecretError
from recado.webhooks import endpoints, ledger, payload
from recado.webhooks.ledger import Due, Held, Item, Result, Verdict
from recado.webhooks.post import Posted, Poster

log = structlog.get_logger(__name__)

#: How long a round takes before others have their turn, and how much is read for one look.
ROUND_S: Final = 20.0
PAGE: Final = 200
#: Posts of an endpoint at once; and of one that failed last, which is tried with as many lanes.
AT_ONCE: Final = 8
PROBE: Final = 4
#: Waits after failures, in seconds: three times as long each time, up to an hour, a quarter more or less.
FIRST_S: Final = 5.0
LONGEST_S: Final = 3600.0
#: A secret that can't be decrypted is looked at again: another process may have the key.
NO_SECRET_S: Final = 300.0
#: What a stop waits for answers that are on their way.
GRACE_S: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the delivery of events works with; `stopping` says that no post begins any more."""

    pool: Pool
    clock: Clock
    keyring: Keyring
    poster: Poster
    #: Transactions at once: the connections are the workflows' first.
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    round_s: float = ROUND_S


def backoff_s(failures: int) -> float:
    """How long to wait after so many failures in a row; the first is 1."""
    longest = min(LONGEST_S, FIRST_S * 3.0 ** min(max(failures, 1) - 1, 20))
    return longest * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


async def deliver(desk: Desk, held: Held) -> bool:
    """Post what the endpoint is due; whether there may be more at once. It is let go of at the end."""
    until = time.monotonic() + desk.round_s
    while True:
        async with desk.gate, scoped(desk.pool, held.owner_id) as scope:
            due = await ledger.due(scope, held, most=PAGE if held.failures == 0 else PROBE)
            if not (due.lanes or due.behind or due.lost or due.reached != held.reached):
                await ledger.let_go(scope, held, next_s=due.idle_s)
                return False
        try:
            secrets = endpoints.signing(desk.keyring, held.owner_id, dict(held.sealed), now=desk.clock.now())
        except SecretError as error:
            log.warning("webhook_secret_unreadable", owner_id=held.owner_id, webhook_id=held.id, reason=str(error))
            async with desk.gate, scoped(desk.pool, held.owner_id) as scope:
                await ledger.let_go(scope, held, next_s=NO_SECRET_S)
            return False
        page = _Page(desk=desk, held=held, secrets=secrets, until=until)
        results = await page.post_all(due.lanes)
        verdict = _verdict(held, due, results, page, until)
        async with desk.gate, scoped(desk.pool, held.owner_id) as scope:
            ours = await ledger.keep(scope, held, due, results, verdict)
        _tell(held, results, verdict, ours=ours)
        if not ours or verdict.release:
            return ours and due.more and verdict.next_s == 0
        held = _after(held, verdict, desk.clock.now())


@dataclass(slots=True, kw_only=True)
class _Page:
    """One look's posts, and whether another may begin."""

    desk: Desk
    held: Held
    secrets: Sequence[str]
    until: float
    succeeded: bool = False
    failures: int = 0
    gone: bool = False
    retry_after_s: float | None = None
    results: list[Result] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether no post begins any more."""
        hopeless = self.failures >= AT_ONCE and not self.succeeded
        asked = self.gone or self.retry_after_s is not None
        return hopeless or asked or self.desk.stopping.is_set() or time.monotonic() >= self.until

    async def post_all(self, lanes: dict[UUID, list[Item]]) -> list[Result]:
        """Post lane by lane, several at once; each event is in the answer once."""
        at_once = asyncio.Semaphore(AT_ONCE if self.held.failures == 0 else PROBE)

        async def lane(items: Sequence[Item]) -> None:
            async with at_once:
                for item in items:
                    if self.over or not await self._post(item):
                        return

        tasks = [asyncio.create_task(lane(items), name="webhook-lane") for items in lanes.values()]
        stopped = asyncio.create_task(self.desk.stopping.wait(), name="webhook-stop")
        try:
            working = set(tasks)
            while working and not stopped.done():
                await asyncio.wait({*working, stopped}, return_when=asyncio.FIRST_COMPLETED)
                working = {task for task in working if not task.done()}
            if working:
                await asyncio.wait(working, timeout=GRACE_S)
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        done = {one.item.event.id for one in self.results}
        missed = [item for items in lanes.values() for item in items if item.event.id not in done]
        return self.results + [Result(item=item, posted=None) for item in missed]

    async def _post(self, item: Item) -> bool:
        letter = payload.of_event(self.held.owner_id, item.event)
        headers = payload.headers(letter, self.secrets, now=self.desk.clock.now())
        posted = await self.desk.poster.post(self.held.url, letter.body, headers)
        self.results.append(self._result(item, posted))
        if posted.delivered:
            self.succeeded = True
        else:
            self.failures += 1
            self.gone = self.gone or posted.outcome == "gone"
            if posted.retry_after_s is not None:
                self.retry_after_s = max(self.retry_after_s or 0.0, posted.retry_after_s)
        return posted.delivered

    def _result(self, item: Item, posted: Posted) -> Result:
        if posted.delivered:
            return Result(item=item, posted=posted)
        # Given up only where the endpoint has taken others meanwhile: else it is the endpoint that fails.
        others = self.succeeded or (
            self.held.last_success_at is not None
            and item.failed_at is not None
            and self.held.last_success_at > item.failed_at
        )
        given_up = item.is_old and others and posted.outcome != "gone"
        return Result(item=item, posted=posted, wait_s=backoff_s(item.tries + 1), given_up=given_up)


def _verdict(held: Held, due: Due, results: Sequence[Result], page: _Page, until: float) -> Verdict:
    fresh = any(one.posted is not None and not one.posted.delivered and one.item.tries == 0 for one in results)
    failures = 0 if page.succeeded else held.failures + (1 if fresh else 0)
    # What is known to be refused says nothing of the rest; what is refused at first may mean the endpoint.
    next_s = backoff_s(failures) if fresh and not page.succeeded else 0.0
    if page.retry_after_s is not None:
        next_s = max(next_s, page.retry_after_s, 1.0)
    ended = page.over or page.gone or next_s > 0 or not due.more or time.monotonic() >= until
    return Verdict(
        reached=due.reached,
        failures=failures,
        next_s=next_s,
        succeeded=page.succeeded,
        failed=page.failures > 0,
        gone=page.gone,
        release=ended,
    )


def _after(held: Held, verdict: Verdict, now: datetime) -> Held:
    return Held(
        owner_id=held.owner_id,
        id=held.id,
        url=held.url,
        types=held.types,
        sealed=held.sealed,
        reached=verdict.reached,
        failures=verdict.failures,
        fence=held.fence,
        last_success_at=now if verdict.succeeded else held.last_success_at,
    )


def _tell(held: Held, results: Sequence[Result], verdict: Verdict, *, ours: bool) -> None:
    failed = [one.posted.outcome for one in results if one.posted is not None and not one.posted.delivered]
    if not ours:
        log.info("webhook_taken_back", owner_id=held.owner_id, webhook_id=held.id)
    elif verdict.gone:
        log.warning("webhook_gone", owner_id=held.owner_id, webhook_id=held.id)
    elif failed:
        log.info(
            "webhook_failing",
            owner_id=held.owner_id,
            webhook_id=held.id,
            count=len(failed),
            outcome=failed[-1],
            retry_in_s=round(verdict.next_s, 1),
        )
