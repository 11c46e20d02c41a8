"""Sessions of signed-in users: an opaque token that is stored as a hash, ends by itself and can be ended at once.

They begin and end through the platform's pool, because platform administrators have no owner; whose session a token is
may be asked through any.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from recado.clock import Clock, SystemClock
from recado.db.pool import Connection, Pool
from recado.errors import NotFound
from recado.identity.callers import Caller, of_user
from recado.identity.users import User, Where, whose
from recado.ids import new_id

#: A session ends when it was not used for so long, and in any case so long after the sign-in.
IDLE: Final = timedelta(hours=2)
LONGEST: Final = timedelta(hours=24)
#: `last_seen_at` is written at most this often: a session may end so much sooner than IDLE says.
SEEN_EVERY: Final = timedelta(minutes=1)
#: Ended sessions are kept this long, for whoever asks who was signed in.
KEPT: Final = timedelta(days=30)

_TOKEN = re.compile(r"rs_[A-Za-z0-9_-]{43}")
_COLUMNS = "id, owner_id, user_id, created_at, last_seen_at, revoked_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """How a browser is to keep the token: what `Set-Cookie` says beside it."""

    name: str
    secure: bool
    httponly: bool
    samesite: Literal["lax", "strict"]
    path: str
    max_age_s: int


def cookie(*, secure: bool) -> Cookie:
    """The cookie of a session. `secure` wherever people reach us by https; not, on a developer's own machine only.

    With `__Host-` a browser takes it over https only, and neither another path nor a neighbouring host can set it
    (RFC 6265bis, section 4.1.3.2). Scripts can't read it, and other sites' forms don't send it.
    """
    name = "__Host-recado" if secure else "recado"
    longest_s = int(LONGEST.total_seconds())
    return Cookie(name=name, secure=secure, httponly=True, samesite="lax", path="/", max_age_s=longest_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of a user, from one browser."""

    id: UUID
    owner_id: UUID | None
    user_id: UUID
    created_at: datetime
    last_seen_at: datetime
    revoked_at: datetime | None

    @property
    def ends_at(self) -> datetime:
        """When it ends if it is not used any more."""
        return min(self.last_seen_at + IDLE, self.created_at + LONGEST)

    def is_alive(self, now: datetime) -> bool:
        """Whether it still lets its user in."""
        return self.revoked_at is None and now < self.ends_at


async def begin(platform: Connection, user: User, *, now: datetime) -> tuple[Session, str]:
    """A new session of the user, and its token: always a fresh one, so that none can be planted beforehand."""
    token = "rs_" + secrets.token_urlsafe(32)
    row = await (
        await platform.execute(
            f"""
            INSERT INTO sessions (owner_id, id, user_id, token_hash, created_at, last_seen_at)
            VALUES (%s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [user.owner_id, new_id(), user.id, _hash(token), now, now],
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns
    return Session(**row), token


async def authenticate(pool: Pool, token: str, *, clock: Clock | None = None) -> tuple[Session, Caller] | None:
    """The session of this token and whose it is, or None when there is none alive, or its user was disabled.

    Asked anew each time: a sign-out, another role and a disabled user count with the next request.
    """
    if not _TOKEN.fullmatch(token):
        return None
    hashed, now = _hash(token), (clock or SystemClock()).now()
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT * FROM session_by_hash(%s)", [hashed])).fetchone()
        if row is None:
            return None
        role, email = row.pop("role"), row.pop("email")
        session = Session(**row)
        if not session.is_alive(now):
            return None
        if session.last_seen_at <= now - SEEN_EVERY:
            await conn.execute("SELECT session_seen(%s, %s)", [hashed, now])
            session = replace(session, last_seen_at=now)
    return session, of_user(user_id=session.user_id, owner_id=session.owner_id, role=role, email=email)


async def end(platform: Connection, token: str, *, now: datetime) -> bool:
    """Sign out: end the session of this token; answers whether one was alive. Of all of a user's: `users`."""
    cursor = await platform.execute(
        "UPDATE sessions SET revoked_at = %s WHERE token_hash = %s AND revoked_at IS NULL", [now, _hash(token)]
    )
    return cursor.rowcount > 0


async def end_one(where: Where, user_id: UUID, session_id: UUID, *, now: datetime) -> None:
    """End one session of the user, so far as it is alive. Raises NotFound."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        """
        UPDATE sessions SET revoked_at = %s
        WHERE id = %s AND user_id = %s AND owner_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL
        """,
        [now, session_id, user_id, owner_id],
    )
    if cursor.rowcount == 0:
        raise NotFound(f"no session {session_id} of this user")


async def list_(where: Where, user_id: UUID, *, now: datetime) -> list[Session]:
    """The user's sessions that are alive, oldest first."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        f"""
        SELECT {_COLUMNS} FROM sessions
        WHERE user_id = %s AND owner_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL ORDER BY id
        """,  # noqa: S608 - the columns are a constant
        [user_id, owner_id],
    )
    found = [Session(**row) for row in await cursor.fetchall()]
    return [session for session in found if session.is_alive(now)]


async def delete_old(platform: Connection, *, now: datetime) -> int:
    """Delete what ended long ago; answers how many."""
    cursor = await platform.execute("DELETE FROM sessions WHERE created_at < %s", [now - LONGEST - KEPT])
    return cursor.rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
