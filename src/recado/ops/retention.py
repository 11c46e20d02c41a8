"""Retention: finished workflows hold what people wrote (a model's answer is a step's result), so they go after days."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog
from dbos import DBOS

from recado.db.pool import Pool
from recado.identity import kept_answers, sessions, sign_in

log = structlog.get_logger(__name__)

KEEP_DAYS = 3
BATCH = 500
EVERY_S = 600.0


async def delete_finished_workflows(platform: Pool, *, keep_days: float = KEEP_DAYS) -> int:
    """Delete workflows that ended more than `keep_days` ago, in batches; answers how many."""
    deleted = 0
    while True:
        async with platform.connection() as conn:
            rows = await (
                await conn.execute(
                    """
                    SELECT workflow_uuid FROM dbos.workflow_status
                    WHERE status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
                      AND created_at < (extract(epoch FROM now()) * 1000)::bigint - %s
                    ORDER BY created_at LIMIT %s
                    """,
                    [int(keep_days * 86_400_000), BATCH],
                )
            ).fetchall()
        if not rows:
            if deleted:
                log.info("workflows_deleted", task="retention", workflows=deleted)
            return deleted
        await asyncio.to_thread(DBOS.delete_workflows, [row["workflow_uuid"] for row in rows])
        deleted += len(rows)


async def forget_sign_ins(platform: Pool, *, now: datetime) -> None:
    """Delete sessions that ended long ago, and counts of failed sign-ins that no rule looks at any more."""
    async with platform.connection() as conn:
        ended = await sessions.delete_old(conn, now=now)
        counts = await sign_in.forget_old(conn, now=now)
    if ended or counts:
        log.info("sign_ins_forgotten", task="retention", sessions=ended, counts=counts)


async def forget_kept_answers(platform: Pool, *, now: datetime) -> int:
    """Delete what was kept for an `Idempotency-Key` and is over, of owners who call no more too; answers how many."""
    deleted = 0
    while True:
        async with platform.connection() as conn:
            batch = await kept_answers.delete_old(conn, now=now, at_most=BATCH)
        deleted += batch
        if batch < BATCH:
            break
    if deleted:
        log.info("kept_answers_deleted", task="retention", rows=deleted)
    return deleted
