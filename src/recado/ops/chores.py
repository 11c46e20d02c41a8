"""What each job does, as the workers run it; `jobs.JOBS` says when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from uuid import UUID

import structlog

from recado.channels.port import Contents, SendError
from recado.clock import Clock
from recado.conversations import templates
from recado.db.pool import PASSING, Pool
from recado.db.scope import scoped
from recado.media.storage import Storage
from recado.ops import retention
from recado.ops.jobs import Work
from recado.ops.privacy import periods

log = structlog.get_logger(__name__)

ContentsOf = Callable[[UUID, UUID], Awaitable[Contents]]


def of_a_worker(
    *, pool: Pool, platform: Pool, clock: Clock, storage: Storage, contents_of: ContentsOf
) -> Mapping[str, Work]:
    """By the jobs' names what is done; `contents_of` gives the Content API of an owner's account."""
    now = clock.now
    return {
        "finished_workflows": partial(retention.delete_finished_workflows, platform),
        "sign_ins": lambda: retention.forget_sign_ins(platform, now=now()),
        "kept_answers": lambda: retention.forget_kept_answers(platform, now=now()),
        "periods": lambda: periods.sweep(platform, storage, now=now()),
        "attachments": lambda: retention.sweep_attachments(platform, storage, now=now()),
        "webhook_secrets": partial(forget_webhook_secrets, platform),
        "templates": partial(sync_templates, platform, pool, contents_of, clock),
    }


async def forget_webhook_secrets(platform: Pool) -> int:
    """Delete the secrets that signed beside newer ones for as long as they should; answers how many."""
    async with platform.connection() as conn:
        ended = await conn.execute(
            """
            UPDATE webhooks SET previous_secret = NULL, previous_until = NULL
            WHERE previous_until <= clock_timestamp()
            """
        )
    return ended.rowcount


async def sync_templates(platform: Pool, pool: Pool, contents_of: ContentsOf, clock: Clock) -> int:
    """Make every active owner's templates those that Twilio has, account by account; answers of how many accounts.

    One that Twilio does not tell of, or whose answer can't be used, stays as it was: its owner finds why when it sends.
    Those fetched longest ago come first: a run that was cut short is gone on with by the next.
    """
    async with platform.connection() as conn:
        rows = await (
            await conn.execute(
                """
                SELECT a.owner_id, a.id FROM twilio_accounts a JOIN owners o ON o.id = a.owner_id
                WHERE a.removed_at IS NULL AND o.status = 'active'
                ORDER BY (SELECT max(t.synced_at) FROM templates t
                          WHERE t.owner_id = a.owner_id AND t.account_id = a.id) NULLS FIRST, a.id
                """
            )
        ).fetchall()
    synced = 0
    for row in rows:
        try:
            found = await (await contents_of(row["owner_id"], row["id"])).templates()
            async with scoped(pool, row["owner_id"]) as scope:
                await templates.sync(scope, row["id"], found, now=clock.now())
        except SendError as error:
            log.warning("templates_not_synced", task="templates", account_id=row["id"], error=error.error_class)
        except PASSING:
            raise
        except Exception as error:  # what one account's answer holds must not keep the others' from being fetched
            log.exception("templates_not_synced", task="templates", account_id=row["id"], error=type(error).__name__)
        else:
            synced += 1
    return synced
