"""Browsers that somebody has signed in with before: what they guess counts for them, not for the address.

Whoever guesses at an address from anywhere locks it, for its user too. A browser shows by an opaque token, stored as a
hash, that this user has signed in with it, so that others' guesses can't keep the user out of it ("device cookies",
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies). It opens nothing by itself.
A new password, "sign out everywhere" and disabling the user end it: `users.end_sessions`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from recado.db.pool import Connection
from recado.identity.sessions import Cookie
from recado.identity.users import User
from recado.ids import new_id

#: A browser is known so long after the last sign-in with it.
LASTS: Final = timedelta(days=180)
#: So many browsers of a user are known, those of the latest sign-ins.
MOST: Final = 20

_TOKEN = re.compile(r"rb_[A-Za-z0-9_-]{43}")


def cookie(*, secure: bool) -> Cookie:
    """The cookie by which a browser is known; of our own pages' requests alone, and for as long as it is."""
    name = "__Host-recado-browser" if secure else "recado-browser"
    return Cookie(
        name=name, secure=secure, httponly=True, samesite="strict", path="/", max_age_s=int(LASTS.total_seconds())
    )


async def find(platform: Connection, token: str, *, email: str, now: datetime) -> tuple[UUID, UUID] | None:
    """The browser of this token and its user, if an active user of that address has signed in with it."""
    if not _TOKEN.fullmatch(token):
        return None
    row = await (
        await platform.execute(
            """
            SELECT b.id, b.user_id FROM known_browsers b JOIN users u ON u.id = b.user_id
            WHERE b.token_hash = %s AND u.email = %s AND u.status = 'active' AND b.last_used_at > %s
            """,
            [_hash(token), email, now - LASTS],
        )
    ).fetchone()
    return None if row is None else (row["id"], row["user_id"])


async def remember(platform: Connection, user: User, known: UUID | None, *, now: datetime) -> str:
    """A new token for the browser that the user signs in with: for the one that is known, or one more."""
    token = "rb_" + secrets.token_urlsafe(32)
    # What was known may have been ended since it was found, or have been given another token by a second tab.
    await platform.execute("DELETE FROM known_browsers WHERE id = %s", [known])
    await platform.execute(
        "INSERT INTO known_browsers (owner_id, id, user_id, token_hash, last_used_at) VALUES (%s, %s, %s, %s, %s)",
        [user.owner_id, new_id(), user.id, _hash(token), now],
    )
    await platform.execute(
        """
        DELETE FROM known_browsers WHERE id IN (
            SELECT id FROM known_browsers WHERE user_id = %s ORDER BY last_used_at DESC, id DESC OFFSET %s)
        """,
        [user.id, MOST],
    )
    return token


async def delete_old(platform: Connection, *, now: datetime) -> int:
    """Delete those that nobody has signed in with for long; answers how many."""
    cursor = await platform.execute("DELETE FROM known_browsers WHERE last_used_at < %s", [now - LASTS])
    return cursor.rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
