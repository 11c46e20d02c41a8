"""Users: the people who sign in. An owner's are admin, operator or viewer; one without an owner runs the platform.

Functions take a Scope for an owner's users, or a platform connection for the platform's administrators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound, UsageError
from recado.identity import authority
from recado.identity.callers import ROLES, Caller
from recado.ids import new_id

Where = Connection | Scope

EMAIL_CHARS = 254
NAME_CHARS = 200
# ASCII only: an address of another script has an ASCII form (punycode), and look-alikes stay apart.
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
_COLUMNS = "id, owner_id, email, name, role, status, password_changed_at, last_sign_in_at, version, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who signs in; `owner_id` is None for a platform administrator.

    `version` grows with every change of their name, role and status.
    """

    id: UUID
    owner_id: UUID | None
    email: str
    name: str
    role: str
    status: str
    password_changed_at: datetime
    last_sign_in_at: datetime | None
    version: int
    created_at: datetime


def whose(where: Where) -> tuple[Connection, UUID | None]:
    """The connection, and the owner whose rows are meant; None are the platform's own."""
    return (where.conn, where.owner_id) if isinstance(where, Scope) else (where, None)


def normal_email(email: str) -> str:
    """The one form of an address that is stored and compared. Raises UsageError."""
    # Asked before it is made small: the sign for Kelvin is a small k then.
    text = email.strip().lower() if email.isascii() else ""
    if len(text) > EMAIL_CHARS or not _EMAIL.fullmatch(text):
        raise UsageError("an e-mail address looks like name@example.com, in ASCII")
    return text


def normal_name(name: str) -> str:
    """A person's name on one line; may be empty. Raises UsageError."""
    text = " ".join(name.split())
    if len(text) > NAME_CHARS or not text.isprintable():
        raise UsageError(f"a name has at most {NAME_CHARS} characters, all of them visible")
    return text


def check_role(where: Where, role: str) -> None:
    """Raise UsageError for a role that there is not, or not there."""
    if role not in ROLES:
        raise UsageError(f"a role is one of: {', '.join(ROLES)}")
    if not isinstance(where, Scope) and role != "admin":
        raise UsageError("the platform's users are administrators: their role is admin")


async def put(
    where: Where, *, email: str, role: str, password_hash: str, now: datetime, name: str | None = None
) -> tuple[User, bool]:
    """Make the user, or give the one of that address this role and password; answers also whether it was made.

    An address is a user of each owner on its own: nobody learns or loses anything by another's. A new password ends the
    user's sessions, and no admin any more ends what they lent; a name that is not given stays. Raises UsageError;
    Conflict when the user is disabled, or is the owner's last admin and would not be any more.
    """
    email = normal_email(email)
    name = None if name is None else normal_name(name)
    check_role(where, role)
    conn, owner_id = whose(where)
    made = await (
        await conn.execute(
            f"""
            INSERT INTO users (owner_id, id, email, name, role, password_hash, password_changed_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (owner_id, email) DO NOTHING RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [owner_id, new_id(), email, name or "", role, password_hash, now],
        )
    ).fetchone()
    if made is not None:
        return User(**made), True
    if role != "admin":
        await _keep_an_admin(where, email=email)
    changed = await (
        await conn.execute(
            f"""
            UPDATE users SET role = %s, name = coalesce(%s, name), password_hash = %s, password_changed_at = %s
            WHERE email = %s AND owner_id IS NOT DISTINCT FROM %s AND status = 'active' RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [role, name, password_hash, now, email, owner_id],
        )
    ).fetchone()
    if changed is None:
        raise Conflict("this e-mail address can't be used: its user is disabled")
    await end_sessions(where, changed["id"], now=now)
    if role != "admin":
        await authority.withdraw(conn, changed["id"], now=now)
    return User(**changed), False


async def salt_of(conn: Connection, email: str) -> bytes:
    """The salt for the password of every user of this address, whoever's: see `passwords.verify_all`."""
    row = await (await conn.execute("SELECT password_salt(%s) AS salt", [normal_email(email)])).fetchone()
    assert row is not None  # noqa: S101 - a function's one row
    return bytes(row["salt"])


async def get(where: Where, user_id: UUID, *, lock: bool = False) -> User:
    """The user; with `lock`, nobody else changes them before the commit. Raises NotFound."""
    conn, owner_id = whose(where)
    if lock:
        await authority.hold_admins(conn, owner_id)
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM users WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s"  # noqa: S608 - a constant
        + (" FOR NO KEY UPDATE" if lock else ""),
        [user_id, owner_id],
    )
    return _found(await cursor.fetchone(), user_id)


async def list_(where: Where) -> list[User]:
    """The users, oldest first, disabled ones too."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM users WHERE owner_id IS NOT DISTINCT FROM %s ORDER BY id",  # noqa: S608 - constant
        [owner_id],
    )
    return [User(**row) for row in await cursor.fetchall()]


async def change(
    where: Where,
    user_id: UUID,
    *,
    now: datetime,
    role: str | None = None,
    status: Literal["active", "disabled"] | None = None,
    name: str | None = None,
    by: Caller | None = None,
) -> User:
    """Change what is given; a role counts from the user's next request on, disabling ends their sessions.

    Who is no active admin any more has lent nothing: their invitations end (`authority`). Raises NotFound, UsageError,
    Conflict for what would leave an owner without an active admin, and Forbidden where `by` may not say any more who
    is what: else a dismissed admin came back by a key that they kept.
    """
    if role is not None:
        check_role(where, role)
    name = None if name is None else normal_name(name)
    if (role is not None and role != "admin") or status == "disabled":
        await _keep_an_admin(where, user_id=user_id)
    conn, owner_id = whose(where)
    if by is not None and (role is not None or status is not None):
        await authority.demand(conn, by, owner_id, now=now)
    row = await (
        await conn.execute(
            f"""
            UPDATE users SET role = coalesce(%s, role), status = coalesce(%s, status), name = coalesce(%s, name)
            WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [role, status, name, user_id, owner_id],
        )
    ).fetchone()
    user = _found(row, user_id)
    if status == "disabled":
        await end_sessions(where, user_id, now=now)
    if user.status != "active" or user.role != "admin":
        await authority.withdraw(conn, user_id, now=now)
    return user


async def disable(where: Where, user_id: UUID, *, now: datetime) -> User:
    """Let a user in no more, and end their sessions. Raises NotFound; Conflict for an owner's last active admin."""
    return await change(where, user_id, status="disabled", now=now)


async def enable(where: Where, user_id: UUID, *, now: datetime) -> User:
    """Let a disabled user in again, with the password they had. Raises NotFound."""
    return await change(where, user_id, status="active", now=now)


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
    """Sign the user out everywhere, and know none of their browsers any more; answers how many sessions ended.

    An invitation that would give them another password ends too: whatever they do against a thief is done against that.
    """
    conn, owner_id = whose(where)
    await conn.execute(
        "UPDATE invitations SET revoked_at = %s WHERE user_id = %s AND accepted_at IS NULL AND revoked_at IS NULL",
        [now, user_id],
    )
    await conn.execute(
        "DELETE FROM known_browsers WHERE user_id = %s AND owner_id IS NOT DISTINCT FROM %s", [user_id, owner_id]
    )
    cursor = await conn.execute(
        """
        UPDATE sessions SET revoked_at = %s
        WHERE user_id = %s AND owner_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL
        """,
        [now, user_id, owner_id],
    )
    return cursor.rowcount


async def _keep_an_admin(where: Where, *, user_id: UUID | None = None, email: str | None = None) -> None:
    """Raise Conflict when this user is the owner's only active admin; of two at once, the second sees one left.

    Platform administrators may go: at the command line another can always be made.
    """
    conn, owner_id = whose(where)
    if owner_id is None:
        return
    await authority.hold_admins(conn, owner_id)
    cursor = await conn.execute(
        "SELECT id, email FROM users WHERE owner_id = %s AND role = 'admin' AND status = 'active'", [owner_id]
    )
    admins = await cursor.fetchall()
    if len(admins) == 1 and (admins[0]["id"] == user_id or admins[0]["email"] == email):
        raise Conflict("this is the owner's last active admin: make another one first")


def _found(row: dict[str, object] | None, user_id: UUID) -> User:
    if row is None:
        raise NotFound(f"no user {user_id}")
    return User(**row)  # type: ignore[arg-type]
