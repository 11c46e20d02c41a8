"""What the jobs do, each by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from recado.channels.port import Contents, ErrorClass, SendError, Template
from recado.clock import SystemClock
from recado.conversations import templates
from recado.db.scope import scoped
from recado.ops import chores
from recado.ops.jobs import JOBS
from recado.webhooks import endpoints
from tests.journey.front import Front, open_front
from tests.product import establish

SID = "HX" + "5" * 32


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(database_url, tmp_path) as opened:
        yield opened


class Twilio(Contents):
    """An account's Content API with one approved template, or that tells nothing."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def create(self, definition: Mapping[str, Any]) -> str:
        raise AssertionError

    async def templates(self) -> list[Template]:
        if self.error is not None:
            raise self.error
        return [
            Template(
                content_sid=SID,
                name="late",
                language="pt",
                category="UTILITY",
                status="approved",
                rejection_reason=None,
                content_type="twilio/text",
                body="Oi",
                types={"twilio/text": {"body": "Oi"}},
            )
        ]


@pytest.mark.parametrize("error", [SendError(ErrorClass.CONFIGURATION, "no"), TypeError("no list")])
async def test_templates_of_every_account_are_fetched_and_one_that_does_not_tell_holds_up_no_other(
    front: Front, error: Exception
) -> None:
    wiring = front.wiring
    other = await establish(wiring, "AC" + "f" * 32, "token", "whatsapp:+14155550000")
    gone = await establish(wiring, "AC" + "e" * 32, "token", "whatsapp:+14155550001")
    front.rows("UPDATE owners SET status = 'suspended' WHERE id = %s", gone)
    asked = []

    async def contents_of(owner_id: UUID, _: UUID) -> Contents:
        asked.append(owner_id)
        return Twilio(error if owner_id == front.owner_id else None)

    async with wiring.platform_pool() as platform:
        assert await chores.sync_templates(platform, wiring.pool, contents_of, SystemClock()) == 1
        assert set(asked) == {front.owner_id, other}
        await chores.sync_templates(platform, wiring.pool, contents_of, SystemClock())
    assert asked[2:] == [front.owner_id, other], "the one fetched longest ago comes first"
    async with scoped(wiring.pool, other) as scope:
        [found] = await templates.page(scope, after=None, limit=10)
    assert (found.content_sid, found.status) == (SID, "approved")


async def test_a_secret_that_signs_no_more_is_deleted_and_one_that_does_stays(front: Front) -> None:
    wiring = front.wiring
    async with scoped(wiring.pool, front.owner_id) as scope:
        for _ in range(2):
            made, _ = await endpoints.add(scope, wiring.keyring, url="https://x.example/")
            await endpoints.rotate(scope, wiring.keyring, made.id, now=wiring.clock.now())
    front.rows("UPDATE webhooks SET previous_until = now() - interval '1 second' WHERE id = %s", made.id)
    async with wiring.platform_pool() as platform:
        assert await chores.forget_webhook_secrets(platform) == 1
    kept = front.rows(
        "SELECT id <> %s AS other, secret IS NOT NULL AS signs FROM webhooks WHERE previous_secret IS NOT NULL", made.id
    )
    assert kept == [{"other": True, "signs": True}]


async def test_every_job_has_its_work_and_no_work_is_without_its_job(front: Front) -> None:
    wiring = front.wiring

    async def contents_of(_owner_id: UUID, _account_id: UUID) -> Contents:
        raise AssertionError

    works = chores.of_a_worker(
        pool=wiring.pool,
        platform=wiring.pool,
        clock=wiring.clock,
        storage=wiring.storage,
        contents_of=contents_of,
    )
    assert set(works) == {job.name for job in JOBS}
