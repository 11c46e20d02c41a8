"""The test button: a signed post to an endpoint at once, disabled ones too, and what became of it."""

from __future__ import annotations

from uuid import UUID

from recado.clock import Clock
from recado.db.pool import Pool
from recado.db.scope import scoped
from recado.db.secrets import Keyring
from recado.webhooks import endpoints, ledger, payload
from recado.webhooks.post import Posted, Poster


async def post_test(
    pool: Pool, keyring: Keyring, clock: Clock, poster: Poster, owner_id: UUID, webhook_id: UUID
) -> Posted:
    """Post a test, outside of any transaction; an endpoint that takes it gets at once what waits for it.

    Raises NotFound, and SecretError when its secret can't be decrypted.
    """
    async with scoped(pool, owner_id) as scope:
        cursor = await scope.conn.execute(
            """
            SELECT id, url, secret, previous_secret, previous_until FROM webhooks WHERE owner_id = %s AND id = %s
            """,
            [owner_id, webhook_id],
        )
        row = await cursor.fetchone()
        if row is None:
            await endpoints.get(scope, webhook_id)
    assert row is not None  # noqa: S101 - `get` raises
    now = clock.now()
    letter = payload.of_test(owner_id, webhook_id, now=now)
    signing = endpoints.signing(keyring, owner_id, row, now=now)
    posted = await poster.post(row["url"], letter.body, payload.headers(letter, signing, now=now))
    async with scoped(pool, owner_id) as scope:
        cursor = await scope.conn.execute(
            """
            UPDATE webhooks SET next_at = CASE WHEN %s THEN least(next_at, clock_timestamp()) ELSE next_at END
            WHERE owner_id = %s AND id = %s
            """,
            [posted.delivered, owner_id, webhook_id],
        )
        if not cursor.rowcount:
            return posted  # removed meanwhile
        if posted.delivered:
            await scope.conn.execute(
                """
                UPDATE webhook_waiting SET next_at = least(next_at, clock_timestamp())
                WHERE owner_id = %s AND webhook_id = %s
                """,
                [owner_id, webhook_id],
            )
        await ledger.attempted(scope, webhook_id, [(None, letter.type, posted)])
    return posted
