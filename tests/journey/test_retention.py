"""Finished workflows hold what people wrote; they go after days, and nothing else goes with them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC
from uuid import UUID

from recado.channels.port import Contents
from recado.ops import chores, retention
from recado.ops.engine import process
from recado.ops.jobs import JOBS, Jobs
from tests.product import Contact, Product

DAY_MS = 86_400_000


def test_only_workflows_that_ended_days_ago_are_deleted_and_the_messages_stay(product: Product) -> None:
    old, young = answered(product), answered(product)
    aged, kept = workflows(old), workflows(young)
    product.execute(
        "UPDATE dbos.workflow_status SET created_at = created_at - %s WHERE workflow_uuid = ANY(%s)", 4 * DAY_MS, aged
    )
    product.execute(
        "UPDATE dbos.workflow_status SET created_at = 0, status = 'DELAYED' WHERE workflow_uuid = %s", kept[0]
    )

    async def sweep() -> int:
        assert product.wiring is not None
        async with product.wiring.platform_pool() as platform:
            return await retention.delete_finished_workflows(platform)

    assert product.call(sweep) == len(aged)
    found = "SELECT workflow_uuid FROM dbos.{} WHERE workflow_uuid = ANY(%s)"
    assert product.rows(found.format("workflow_status"), aged) == []
    assert product.rows(found.format("workflow_input"), aged) == []
    assert len(product.rows(found.format("workflow_status"), kept)) == len(kept)
    assert len(old.messages()) == 2
    product.execute("DELETE FROM dbos.workflow_status WHERE workflow_uuid = %s", kept[0])


def test_a_workflow_that_was_claimed_but_never_started_is_given_back_and_done(product: Product) -> None:
    contact = answered(product)
    (executor,) = product.rows("SELECT id FROM executors")
    inbound = contact.messages()[0]
    # As a claim looks whose answer the database could not give any more: ours, pending, and run by nobody.
    product.execute("UPDATE messages SET status = 'received' WHERE id = %s", inbound["id"])
    product.execute(
        "UPDATE dbos.workflow_status SET status = 'PENDING', output = NULL, completed_at = NULL, executor_id = %s, "
        "started_at_epoch_ms = 1 WHERE workflow_uuid = %s",
        executor["id"],
        str(inbound["id"]),
    )

    async def give_back() -> int:
        return process.give_back_unstarted()

    assert product.call(give_back) == 1
    contact.replies(2)
    wait_until_ended(product, workflows(contact))
    assert product.call(give_back) == 0


def test_a_worker_forgets_old_sign_ins_and_kept_answers_by_itself(product: Product) -> None:
    product.execute(
        "INSERT INTO sign_in_failures (subject, failures, last_at, locked_until) VALUES "
        "(sha256('old'), 1, now() - interval '90 days', now()), (sha256('new'), 1, now(), now() + interval '1 hour')"
    )
    owner_id = product.company().owner_id
    product.execute(
        "INSERT INTO idempotency_keys (owner_id, id, caller_id, key_hash, request_hash, created_at) "
        "SELECT %s, gen_random_uuid(), gen_random_uuid(), sha256('key'), sha256('request'), now() - age "
        "FROM unnest(ARRAY[interval '1 hour', interval '25 hours']) AS age",
        owner_id,
    )
    kept = "SELECT created_at < now() - interval '24 hours' AS old FROM idempotency_keys WHERE owner_id = %s"

    async def look_after() -> None:
        wiring = product.wiring
        assert wiring is not None
        (executor,) = product.rows("SELECT id FROM executors")
        async with wiring.platform_pool() as platform:
            works = chores.of_a_worker(
                pool=wiring.pool, platform=platform, clock=wiring.clock, storage=wiring.storage, contents_of=nobody
            )
            mine = [replace(job, first_s=0.0) for job in JOBS if job.name in ("sign_ins", "kept_answers")]
            jobs = Jobs(platform=platform, holder=executor["id"], works=works, zone=UTC, jobs=mine, look_s=0.05)
            async with platform.connection() as conn:
                await conn.execute("DELETE FROM jobs")
            caring = asyncio.create_task(jobs.run())
            async with asyncio.timeout(60):
                while len(product.rows("SELECT FROM sign_in_failures")) > 1 or len(product.rows(kept, owner_id)) > 1:
                    await asyncio.sleep(0.05)
            caring.cancel()
            await asyncio.gather(caring, return_exceptions=True)

    product.call(look_after)
    assert product.rows(
        "SELECT encode(subject, 'hex') = encode(sha256('new'), 'hex') AS new FROM sign_in_failures"
    ) == [{"new": True}]
    assert product.rows(kept, owner_id) == [{"old": False}]


async def nobody(_owner_id: UUID, _account_id: UUID) -> Contents:
    raise AssertionError("no template is asked for")


def answered(product: Product) -> Contact:
    """A contact whose message was answered, with nothing left in work."""
    contact = product.company().contact()
    contact.says("Que horas abrem?")
    contact.settled(1)
    wait_until_ended(product, workflows(contact))
    return contact


def workflows(contact: Contact) -> list[str]:
    return [str(row["id"]) for row in contact.messages()]


def wait_until_ended(product: Product, ids: list[str]) -> None:
    deadline = time.monotonic() + 40
    while product.rows(
        "SELECT FROM dbos.workflow_status WHERE workflow_uuid = ANY(%s) AND status IN ('ENQUEUED', 'PENDING')", ids
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
