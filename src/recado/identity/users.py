"""Users: the people who sign in. An owner's are admin, operator or viewer; one without an owner runs the platform.

Functions take a Scope for an owner's users, or a platform connection for the platform's administrators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound, UsageError
from recado.identity.callers import ROLES
from recado.ids import new_id

Where = Connection | Scope

EMAIL_CHARS = 254
# ASCII only: an address of another script has an ASCII form (punycode), and look-alikes stay apart.
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
_COLUMNS = "id, owner_id, email, role, status, password_changed_at, last_sign_in_at, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who signs in; `owner_id` is None for a platform administrator."""

    id: UUID
    owner_id: UUID | None
    email: str
    role: str
    status: str
    password_changed_at: datetime
    last_sign_in_at: datetime | None
    created_at: datetime


def whose(where: Where) -> tuple[Connection, UUID | None]:
    """The connection, and the owner whose rows are meant; None are the platform's own."""
    return (where.conn, where.owner_id) if isinstance(where, Scope) else (where, None)


def normal_email(email: str) -> str:
    """The one form of an address that is stored and compared. Raises UsageError."""
    text = email.strip().lower()
    if len(text) > EMAIL_CHARS or not _EMAIL.fullmatch(text):
        raise UsageError("an e-mail address looks like name@example.com, in ASCII")
    return text


def check_role(where: Where, role: str) -> None:
    """Raise UsageError for a role that there is not, or not there."""
    if role not in ROLES:
        raise UsageError(f"a role is one of: {', '.join(ROLES)}")
    if not isinstance(where, Scope) and role != "admin":
        raise UsageError("the platform's users are administrators: their role is admin")


async def put(where: Where, *, email: str, role: str, password_hash: str, now: datetime) -> tuple[User, bool]:
    """Make the user, or give the one of that address this role and password; answers also whether it was made.

    A new password ends the user's sessions. Raises UsageError; Conflict when the address is in use elsewhere or the
    user is disabled.
    """
    email = normal_email(email)
    check_role(where, role)
    conn, owner_id = whose(where)
    made = await (
        await conn.execute(
            f"""
            INSERT INTO users (owner_id, id, email, role, password_hash, password_changed_at)
            VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (email) DO NOTHING RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [owner_id, new_id(), email, role, password_hash, now],
        )
    ).fetchone()
    if made is not None:
        return User(**made), True
    changed = await (
        await conn.execute(
            f"""
            UPDATE users SET role = %s, password_hash = %s, password_changed_at = %s
            WHERE email = %s AND owner_id IS NOT DISTINCT FROM %s AND status = 'active' RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [role, password_hash, now, email, owner_id],
        )
    ).fetchone()
    if changed is None:
        raise Conflict("this e-mail address can't be used: its user is disabled, or it is in use elsewhere")
    await end_sessions(where, changed["id"], now=now)
    return User(**changed), False


async def get(where: Where, user_id: UUID) -> User:
    """The user. Raises NotFound."""
    conn, owner_id = whose(where)
    row = await (
        await conn.execute(
            f"SELECT {_COLUMNS} FROM users WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s",  # noqa: S608 - constant
            [user_id, owner_id],
        )
    ).fetchone()
    return _found(row, user_id)


async def list_(where: Where) -> list[User]:
    """The users, oldest first, disabled ones too."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM users WHERE owner_id IS NOT DISTINCT FROM %s ORDER BY id",  # noqa: S608 - constant
        [owner_id],
    )
    return [User(**row) for row in await cursor.fetchall()]


async def set_role(where: Where, user_id: UUID, role: str) -> User:
    """Give a user another role; it counts from their next request on. Raises NotFound, UsageError."""
    check_role(where, role)
    return await _set(where, user_id, "role", role)


async def disable(where: Where, user_id: UUID, *, now: datetime) -> User:
    """Let a user in no more, and end their sessions. Raises NotFound."""
    user = await _set(where, user_id, "status", "disabled")
    await end_sessions(where, user_id, now=now)
    return user


async def enable(where: Where, user_id: UUID) -> User:
    """Let a disabled user in again, with the password they had. Raises NotFound."""
    return await _set(where, user_id, "status", "active")


async def set_password(where: Where, user_id: UUID, *, password_hash: str, now: datetime) -> User:
    """Give a user another password and end their sessions. Raises NotFound."""
    conn, owner_id = whose(where)
    row = await (
        await conn.execute(
            f"""
            UPDATE users SET password_hash = %s, password_changed_at = %s
            WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [password_hash, now, user_id, owner_id],
        )
    ).fetchone()
    user = _found(row, user_id)
    await end_sessions(where, user_id, now=now)
    return user


async def end_sessions(where: Where, user_id: UUID, *, now: datetime) -> int:
    """Sign the user out everywhere; answers how many sessions ended."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        """
        UPDATE sessions SET revoked_at = %s
        WHERE user_id = %s AND owner_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL
        """,
        [now, user_id, owner_id],
    )
    return cursor.rowcount


async def _set(where: Where, user_id: UUID, column: str, value: str) -> User:
    conn, owner_id = whose(where)
    row = await (
        await conn.execute(
            f"UPDATE users SET {column} = %s WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s "  # noqa: S608
            f"RETURNING {_COLUMNS}",
            [value, user_id, owner_id],
        )
    ).fetchone()
    return _found(row, user_id)


def _found(row: dict[str, object] | None, user_id: UUID) -> User:
    if row is None:
        raise NotFound(f"no user {user_id}")
    return User(**row)  # type: ignore[arg-type]
