"""Retention: what is kept no longer than it is good for.

Finished workflows hold what people wrote (a model's answer is a step's result), so they go after days; so do sign-ins
that nobody asks about, and files that no attachment has.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog
from dbos import DBOS

from recado.db.pool import Pool
from recado.identity import kept_answers, known_browsers, sessions, sign_in
from recado.media.storage import Storage, StorageUnavailable, is_key

log = structlog.get_logger(__name__)

KEEP_DAYS = 3
BATCH = 500
EVERY_S = 600.0
#: All files are looked at, which costs a bucket's owner a little each time.
SWEEP_S = 6 * 3600.0
#: A file is in the storage before its row says so.
ORPHAN_AGE = timedelta(days=1)


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
        await known_browsers.delete_old(conn, now=now)
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


async def sweep_attachments(platform: Pool, storage: Storage, *, now: datetime) -> int:
    """Delete files that no row names any more, or never did because their process died; answers how many.

    Only files of owners that this database knows: another installation may have the same bucket.
    """
    swept = 0
    batch: list[str] = []
    try:
        async for key in storage.keys(before=now - ORPHAN_AGE):
            if is_key(key):
                batch.append(key)
            if len(batch) == BATCH:
                swept += await _sweep(platform, storage, batch)
                batch = []
        swept += await _sweep(platform, storage, batch)
    except StorageUnavailable as error:
        log.warning("storage_unavailable", task="retention", error=type(error).__name__)
    if swept:
        log.info("attachments_swept", task="retention", count=swept)
    return swept


async def _sweep(platform: Pool, storage: Storage, keys: list[str]) -> int:
    async with platform.connection() as conn:
        cursor = await conn.execute(
            """
            SELECT key FROM unnest(%s::text[]) key
            JOIN owners o ON o.id = split_part(key, '/', 1)::uuid
            WHERE NOT EXISTS (SELECT FROM media m WHERE m.owner_id = o.id
                              AND m.id = split_part(key, '/', 2)::uuid AND m.storage_key = key)
            """,
            [keys],
        )
        orphans = [row["key"] for row in await cursor.fetchall()]
    for key in orphans:
        await storage.delete(key)
    return len(orphans)
