"""Webhooks: the endpoints to which an owner's events are posted, and what people do with them.

Whoever changes what is posted, or where to, takes the endpoint out of its holder's hands (`fence`): what a worker that
was posting meanwhile says of it does not count, and what it posted is posted again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal
from uuid import UUID

from recado.conversations.happenings import KINDS
from recado.db.scope import Scope
from recado.db.secrets import Keyring
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id
from recado.settings import Network
from recado.text import storable
from recado.webhooks import addresses, payload
from recado.webhooks.post import Outcome

#: So many endpoints has an owner at most, so many attempts of each are shown, and so many types may one ask for.
MOST: Final = 10
SHOWN: Final = 50
MOST_TYPES: Final = 50
DESCRIPTION_CHARS: Final = 200
#: How long the secret before goes on signing, if nothing else is said, and at most.
KEPT: Final = timedelta(hours=24)
LONGEST_KEPT: Final = timedelta(days=7)
#: What a replay reaches back further: events are numbered before they are written.
_OVERLAP: Final = timedelta(minutes=1)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: A type, or all of a step; a tenth of a name's letters would do.
TYPE: Final = r"^[a-z][a-z_]{0,39}\.([a-z][a-z_]{0,59}|\*)$"

Why = Literal["people", "gone", "failing"]
#: Why an endpoint gets nothing, for people.
WHYS: Final[dict[Why, str]] = {
    "people": "somebody disabled it",
    "gone": "it answered 410 Gone",
    "failing": "it took nothing for five days",
}

_COLUMNS = """
    id, url, description, types, status, disabled_why, disabled_at, reached, failures, failing_since, last_success_at,
    previous_until, version, created_at,
    (SELECT count(*) FROM webhook_waiting q WHERE q.owner_id = webhooks.owner_id AND q.webhook_id = webhooks.id)
        AS waiting
"""
#: Out of the hands of whoever posts for it, and due.
_TAKEN_BACK = "fence = fence + 1, holder = NULL, held_until = NULL, next_at = clock_timestamp()"

_CHANGE: Final = f"""
UPDATE webhooks
SET url = %(url)s, types = %(types)s, description = %(description)s, status = %(status)s,
    disabled_why = CASE WHEN %(status)s = 'disabled' THEN coalesce(disabled_why, 'people') END,
    disabled_at = CASE WHEN %(status)s = 'disabled' THEN coalesce(disabled_at, clock_timestamp()) END,
    failures = CASE WHEN %(again)s THEN 0 ELSE failures END,
    failing_since = CASE WHEN %(again)s THEN NULL ELSE failing_since END,
    version = version + 1, {_TAKEN_BACK}
WHERE owner_id = %(owner)s AND id = %(id)s
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An endpoint; without `types` it gets all. `reached` is the newest event that it was posted, or that waits for it.

    `waiting` counts those that it refused, and what must not overtake them.
    """

    id: UUID
    url: str
    description: str
    types: list[str]
    status: Literal["enabled", "disabled"]
    disabled_why: Why | None
    disabled_at: datetime | None
    reached: int
    failures: int
    failing_since: datetime | None
    last_success_at: datetime | None
    previous_until: datetime | None
    version: int
    created_at: datetime
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A POST to an endpoint, and what became of it; the test button's have no event."""

    id: UUID
    event_id: int | None
    type: str
    at: datetime
    duration_ms: int
    outcome: Outcome
    http_status: int | None


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Webhook]:
    """The owner's endpoints after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM webhooks WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s",  # noqa: S608 - a constant
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Webhook(**row) for row in await cursor.fetchall()]


async def get(scope: Scope, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """The endpoint, with `lock` kept as it is until the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM webhooks WHERE owner_id = %s AND id = %s {'FOR UPDATE' if lock else ''}",  # noqa: S608
        [scope.owner_id, webhook_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no webhook {webhook_id} of this owner")
    return Webhook(**row)


async def add(
    scope: Scope,
    keyring: Keyring,
    *,
    url: str,
    types: Sequence[str] = (),
    description: str = "",
    networks: Sequence[Network] = (),
) -> tuple[Webhook, str]:
    """Add an endpoint, which gets what happens from now on, and its secret, which can't be had again.

    Raises UsageError for an address or a type that can't be, Conflict over `MOST`.
    """
    given = _checked(types, description)
    where = addresses.canonical(url, networks)
    await scope.conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"webhooks of {scope.owner_id}"])
    row = await (
        await scope.conn.execute("SELECT count(*) AS n FROM webhooks WHERE owner_id = %s", [scope.owner_id])
    ).fetchone()
    if row is not None and row["n"] >= MOST:
        raise Conflict(f"an owner has {MOST} webhooks at most: remove one")
    webhook_id, secret = new_id(), payload.new_secret()
    await scope.conn.execute(
        """
        INSERT INTO webhooks (owner_id, id, url, description, types, secret, reached)
        VALUES (%s, %s, %s, %s, %s, %s, events_settled())
        """,
        [scope.owner_id, webhook_id, where, given[1], given[0], _sealed(keyring, scope, webhook_id, secret)],
    )
    return await get(scope, webhook_id), secret


async def change(
    scope: Scope,
    before: Webhook,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    description: str | None = None,
    status: Literal["enabled", "disabled"] | None = None,
    networks: Sequence[Network] = (),
) -> Webhook:
    """Change what is given of an endpoint that is locked; enabled again, it goes on where it stood.

    Raises UsageError for an address or a type that can't be.
    """
    given = _checked(
        before.types if types is None else types, before.description if description is None else description
    )
    where = before.url if url is None else addresses.canonical(url, networks)
    now_on = status or before.status
    if (where, *given, now_on) == (before.url, before.types, before.description, before.status):
        return before
    again = now_on == "enabled" and (before.status == "disabled" or where != before.url)
    await scope.conn.execute(
        _CHANGE,
        {
            "url": where,
            "types": given[0],
            "description": given[1],
            "status": now_on,
            "again": again,
            "owner": scope.owner_id,
            "id": before.id,
        },
    )
    if again:
        await scope.conn.execute(
            """
            UPDATE webhook_waiting SET tries = 0, failed_at = NULL, next_at = clock_timestamp()
            WHERE owner_id = %s AND webhook_id = %s
            """,
            [scope.owner_id, before.id],
        )
    return await get(scope, before.id)


async def remove(scope: Scope, webhook_id: UUID) -> Webhook:
    """Remove an endpoint with all that waits for it. Raises NotFound."""
    gone = await get(scope, webhook_id, lock=True)
    await scope.conn.execute("DELETE FROM webhooks WHERE owner_id = %s AND id = %s", [scope.owner_id, webhook_id])
    return gone


async def rotate(
    scope: Scope, keyring: Keyring, webhook_id: UUID, *, keep: timedelta = KEPT, now: datetime
) -> tuple[Webhook, str]:
    """Give the endpoint a new secret; the one before signs beside it for as long as `keep`, and never a third.

    Raises NotFound, and UsageError for more than `LONGEST_KEPT`.
    """
    if not timedelta() <= keep <= LONGEST_KEPT:
        raise UsageError(f"the secret before is kept for {LONGEST_KEPT.days * 24} hours at most")
    await get(scope, webhook_id, lock=True)
    row = await (
        await scope.conn.execute(
            "SELECT secret FROM webhooks WHERE owner_id = %s AND id = %s", [scope.owner_id, webhook_id]
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - it is locked
    previous, until = None, None
    if keep:
        before = keyring.open(row["secret"], owner_id=scope.owner_id, row=f"webhooks/{webhook_id}/secret")
        previous = _sealed(keyring, scope, webhook_id, before, column="previous_secret")
        until = now + keep
    secret = payload.new_secret()
    await scope.conn.execute(
        f"""
        UPDATE webhooks SET secret = %s, previous_secret = %s, previous_until = %s, version = version + 1, {_TAKEN_BACK}
        WHERE owner_id = %s AND id = %s
        """,  # noqa: S608 - a constant
        [_sealed(keyring, scope, webhook_id, secret), previous, until, scope.owner_id, webhook_id],
    )
    return await get(scope, webhook_id), secret


async def replay(scope: Scope, webhook_id: UUID, since: datetime, *, now: datetime) -> Webhook:
    """Have the endpoint get what happened since that moment, and some of the minute before, whatever it has had.

    What waited from before it is left out. Raises NotFound, and UsageError for a moment that can't be meant.
    """
    if not _EARLIEST <= since <= now + timedelta(minutes=1):
        raise UsageError("the moment must be after 2000, and not in the future")
    # Before the row is locked, while nobody waits for it. Backwards from the newest: reads no more than will be posted.
    row = await (
        await scope.conn.execute(
            "SELECT id FROM events WHERE owner_id = %s AND at < %s ORDER BY id DESC LIMIT 1",
            [scope.owner_id, since - _OVERLAP],
        )
    ).fetchone()
    await get(scope, webhook_id, lock=True)
    await scope.conn.execute(
        "DELETE FROM webhook_waiting WHERE owner_id = %s AND webhook_id = %s", [scope.owner_id, webhook_id]
    )
    await scope.conn.execute(
        f"UPDATE webhooks SET reached = %s, {_TAKEN_BACK} WHERE owner_id = %s AND id = %s",  # noqa: S608 - a constant
        [row["id"] if row is not None else 0, scope.owner_id, webhook_id],
    )
    return await get(scope, webhook_id)


async def attempts(scope: Scope, webhook_id: UUID) -> list[Attempt]:
    """The endpoint's last attempts, newest first. Raises NotFound."""
    await get(scope, webhook_id)
    cursor = await scope.conn.execute(
        """
        SELECT id, event_id, type, at, duration_ms, outcome, http_status FROM webhook_attempts
        WHERE owner_id = %s AND webhook_id = %s ORDER BY id DESC LIMIT %s
        """,
        [scope.owner_id, webhook_id, SHOWN],
    )
    return [Attempt(**row) for row in await cursor.fetchall()]


def signing(keyring: Keyring, owner_id: UUID, row: dict[str, Any], *, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first. Raises SecretError when one can't be opened."""
    columns = ["secret"]
    if row["previous_secret"] is not None and row["previous_until"] > now:
        columns.append("previous_secret")
    return [keyring.open(row[column], owner_id=owner_id, row=f"webhooks/{row['id']}/{column}") for column in columns]


@cache
def _known() -> frozenset[str]:
    """Every type that there is, and each step with an asterisk."""
    kept = [key for key, kind in KINDS.items() if kind.row != "nobody"]
    return frozenset(f"{step}.{what}" for step, what in kept) | {f"{step}.*" for step, _ in kept}


def _checked(types: Sequence[str], description: str) -> tuple[list[str], str]:
    if len(types) > MOST_TYPES or not all(re.fullmatch(TYPE, one) for one in types):
        raise UsageError(f"at most {MOST_TYPES} types, each as in confirm.delivered or deliver.*")
    if unknown := [one for one in types if one not in _known()]:
        raise UsageError(f"no event has the type {unknown[0]}: docs/reference/events.md lists them")
    words = " ".join(storable(description).split())
    if len(words) > DESCRIPTION_CHARS:
        raise UsageError(f"a description has {DESCRIPTION_CHARS} characters at most")
    return list(dict.fromkeys(types)), words


def _sealed(keyring: Keyring, scope: Scope, webhook_id: UUID, secret: str, *, column: str = "secret") -> bytes:
    return keyring.seal(secret, owner_id=scope.owner_id, row=f"webhooks/{webhook_id}/{column}")
