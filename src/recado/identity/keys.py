"""API keys: shown once, kept as a hash, with scopes, an end, and a revocation that every process knows in 30 s."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

from recado.clock import Clock, SystemClock
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.errors import NotFound, UsageError
from recado.identity import authority
from recado.identity.callers import SCOPES, Caller
from recado.ids import new_id

#: How long a process may go on believing what it looked up: the most that a revocation takes.
CACHE_S: Final = 30.0
CACHE_SIZE: Final = 10_000
#: `last_used_at` is written at most this often.
USED_EVERY: Final = timedelta(minutes=1)
NAME_CHARS: Final = 100
#: A key that ends at all ends within ten years: further ahead is a mistake, and soon beyond what a date can say.
LONGEST: Final = timedelta(days=3650)

_KEY = re.compile(r"rk_[A-Za-z0-9_-]{43}")
_COLUMNS = """
    id, owner_id, name, hint, scopes, made_by_kind, made_by_id,
    CASE made_by_kind WHEN 'user' THEN (SELECT u.email FROM users u WHERE u.id = api_keys.made_by_id)
                      WHEN 'key' THEN (SELECT k.name FROM api_keys k WHERE k.id = api_keys.made_by_id)
    END AS made_by_name,
    created_at, expires_at, last_used_at, revoked_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key without its text; `hint` is how that begins.

    Who made it is a user, another key, a platform administrator or somebody at the command line; None: nobody knows.
    """

    id: UUID
    owner_id: UUID
    name: str
    hint: str
    scopes: list[str]
    made_by_kind: str | None
    made_by_id: UUID | None
    made_by_name: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    caller: Caller | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Cache:
    """What one process knows of keys; unknown ones apart, so that a flood of them drives out no real one."""

    known: dict[bytes, _Known] = field(default_factory=dict)
    unknown: dict[bytes, _Known] = field(default_factory=dict)


_caches: WeakKeyDictionary[Pool, _Cache] = WeakKeyDictionary()


async def make(
    scope: Scope,
    *,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    by: Caller | None = None,
    now: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key of the owner, and its text, which can't be had again. Raises UsageError; Forbidden when who makes it
    may not any more.

    The text has 256 random bits: unlike a password it can't be guessed from its SHA-256, so that is what is stored.
    """
    name = " ".join(name.split())
    if not name or len(name) > NAME_CHARS:
        raise UsageError(f"a key's name has 1 to {NAME_CHARS} characters")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise UsageError(f"a key needs one scope or more of: {', '.join(SCOPES)}")
    if by is not None:
        await authority.demand(scope.conn, by, scope.owner_id, now=now or SystemClock().now())
    text = "rk_" + secrets.token_urlsafe(32)
    row = await (
        await scope.conn.execute(
            f"""
            INSERT INTO api_keys (owner_id, id, name, hint, key_hash, scopes, expires_at, made_by_kind, made_by_id)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [
                *(scope.owner_id, new_id(), name, text[:7], _hash(text)),
                *([held for held in SCOPES if held in scopes], expires_at),
                *(by.kind if by else None, by.id if by else None),
            ],
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns
    return ApiKey(**row), text


def end_at(moment: datetime, *, now: datetime) -> datetime:
    """The moment as the end of a new key, in UTC where it does not say. Raises UsageError: past, or over `LONGEST`."""
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if not now < moment <= now + LONGEST:
        raise UsageError(f"a key's end is in the future, {LONGEST.days} days ahead at most")
    return moment


def end_in(days: int, *, now: datetime) -> datetime:
    """The end of a new key that lasts so many days. Raises UsageError like `end_at`."""
    # One day more is refused as a million are, which no date can say.
    return end_at(now + timedelta(days=min(days, LONGEST.days + 1)), now=now)


async def authenticate(pool: Pool, presented: str, *, clock: Clock | None = None) -> Caller | None:
    """Whose key this is, or None when there is none, or it was revoked or has expired.

    The answer may be up to `CACHE_S` old; an expiry counts at once. Whether the owner is suspended is not looked at.
    """
    clock = clock or SystemClock()
    if not _KEY.fullmatch(presented):
        return None
    hashed = _hash(presented)
    cache = _caches.setdefault(pool, _Cache())
    known = cache.known.get(hashed) or cache.unknown.get(hashed)
    if known is None or known.until <= clock.monotonic():
        known = await _look_up(pool, hashed, clock)
        _remember(cache, hashed, known)
    if known.expires_at is not None and known.expires_at <= clock.now():
        return None
    return known.caller


def _remember(cache: _Cache, hashed: bytes, found: _Known) -> None:
    cache.known.pop(hashed, None)
    cache.unknown.pop(hashed, None)
    side = cache.unknown if found.caller is None else cache.known
    if len(side) >= CACHE_SIZE:
        side.clear()
    side[hashed] = found


def forget(pool: Pool, key_id: UUID | None) -> None:
    """Look that key up again when it comes next; None forgets all keys."""
    cache = _caches.setdefault(pool, _Cache())
    cache.unknown.clear()
    for hashed, known in list(cache.known.items()):
        if key_id is None or (known.caller is not None and known.caller.id == key_id):
            del cache.known[hashed]


async def _look_up(pool: Pool, hashed: bytes, clock: Clock) -> _Known:
    # Counted from before the question: what is revoked while we ask is believed for CACHE_S from then at most.
    until = clock.monotonic() + CACHE_S
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT * FROM api_key_by_hash(%s)", [hashed])).fetchone()
    if row is None:
        return _Known(until, None)
    now = clock.now()
    usable = row["expires_at"] is None or row["expires_at"] > now
    if usable and (row["last_used_at"] is None or row["last_used_at"] <= now - USED_EVERY):
        async with scoped(pool, row["owner_id"]) as scope:
            await scope.conn.execute(
                "UPDATE api_keys SET last_used_at = greatest(last_used_at, %s) WHERE owner_id = %s AND id = %s",
                [now, scope.owner_id, row["id"]],
            )
    caller = Caller(
        kind="key",
        id=row["id"],
        owner_id=row["owner_id"],
        scopes=frozenset(row["scopes"]),
        role=None,
        name=row["name"],
    )
    return _Known(until, caller, row["expires_at"])


async def list_(scope: Scope) -> list[ApiKey]:
    """The owner's keys, oldest first, those that were revoked or have expired too."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE owner_id = %s ORDER BY id",  # noqa: S608 - the columns are a constant
        [scope.owner_id],
    )
    return [ApiKey(**row) for row in await cursor.fetchall()]


async def made_by(scope: Scope, maker_id: UUID, *, now: datetime) -> list[ApiKey]:
    """The keys that still work of those that this user or key made, or that such a key made; oldest first."""
    ids = await authority.keys_of(scope.conn, maker_id, now=now)
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE owner_id = %s AND id = ANY(%s) ORDER BY id",  # noqa: S608 - a constant
        [scope.owner_id, ids],
    )
    return [ApiKey(**row) for row in await cursor.fetchall()]


async def revoke(scope: Scope, key_id: UUID, *, now: datetime) -> ApiKey:
    """End a key for good, and what it lent; once more changes nothing. Raises NotFound."""
    row = await (
        await scope.conn.execute(
            f"""
            UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s) WHERE owner_id = %s AND id = %s
            RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [now, scope.owner_id, key_id],
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"no API key {key_id} of this owner")
    await authority.withdraw(scope.conn, key_id, now=now)
    return ApiKey(**row)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
