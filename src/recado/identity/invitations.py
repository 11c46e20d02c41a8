"""Invitations: a user chooses their own password with a token that works once and for a week.

Functions take a Scope for an owner's invitations, or a platform connection for those of platform administrators.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from psycopg.errors import UniqueViolation
from pwdlib import PasswordHash

from recado.clock import Clock, SystemClock
from recado.db.pool import Connection, Pool, Row
from recado.db.scope import Scope
from recado.errors import Conflict, Forbidden, NotFound
from recado.identity import audit, passwords, users
from recado.identity.callers import Caller, of_user
from recado.identity.users import User, Where, whose
from recado.ids import new_id

LASTS: Final = timedelta(days=7)

_TOKEN = re.compile(r"ri_[A-Za-z0-9_-]{43}")
_COLUMNS = (
    "id, owner_id, email, role, resets_password, invited_by_kind, invited_by_id, "
    "created_at, expires_at, accepted_at, revoked_at"
)
#: The same for a token that never was, was used, was revoked, or has expired.
_NOT_VALID = "this invitation is not valid, or not any more: ask for a new one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation without its token: `resets_password` if it was made for a user who existed, and who made it."""

    id: UUID
    owner_id: UUID | None
    email: str
    role: str
    resets_password: bool
    invited_by_kind: str | None
    invited_by_id: UUID | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


async def make(where: Where, *, email: str, role: str, by: Caller, now: datetime) -> tuple[Invitation, str]:
    """A new invitation and its token, which can't be had again; an open one of that address ends.

    Raises UsageError; Forbidden when an API key invites a user who exists: whoever accepts is that user from then on,
    and a person must answer for it. Conflict when somebody else invites the address at this moment.
    """
    email = users.normal_email(email)
    users.check_role(where, role)
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        "SELECT FROM users WHERE email = %s AND owner_id IS NOT DISTINCT FROM %s", [email, owner_id]
    )
    resets = await cursor.fetchone() is not None
    if resets and by.kind == "key":
        raise Forbidden("an API key may not invite a user who exists, which gives them another password")
    await conn.execute(
        """
        UPDATE invitations SET revoked_at = %s
        WHERE owner_id IS NOT DISTINCT FROM %s AND email = %s AND accepted_at IS NULL AND revoked_at IS NULL
        """,
        [now, owner_id, email],
    )
    token = "ri_" + secrets.token_urlsafe(32)
    try:
        cursor = await conn.execute(
            f"""
            INSERT INTO invitations (owner_id, id, email, role, resets_password, invited_by_kind, invited_by_id,
                                     token_hash, created_at, expires_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [owner_id, new_id(), email, role, resets, by.kind, by.id, _hash(token), now, now + LASTS],
        )
    except UniqueViolation:  # invitations_one_open: made after we had looked for one to end
        raise Conflict("this address was invited by somebody else at this moment") from None
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - an insert that returns
    return Invitation(**row), token


@passwords.in_turn
async def accept(
    platform: Pool,
    token: str,
    password: str,
    *,
    name: str | None = None,
    clock: Clock | None = None,
    hashing: PasswordHash = passwords.HASHING,
) -> User:
    """Make the invited user with this password; one that exists gets the password and the role of the invitation.

    Raises Busy, and NotFound for a token that is not valid. It still works after a UsageError for the password or the
    name, and after a Conflict: the address is in use elsewhere, its user is disabled, is the owner's last admin, or was
    made after the invitation, which then gives nobody a password. The audit names the user, and who invited them.
    """
    now = (clock or SystemClock()).now()
    if not _TOKEN.fullmatch(token):
        raise NotFound(_NOT_VALID)
    async with platform.connection() as conn:
        invited = await (
            await conn.execute(
                """
                SELECT email FROM invitations
                WHERE token_hash = %s AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > %s
                """,
                [_hash(token), now],
            )
        ).fetchone()
    if invited is None:
        raise NotFound(_NOT_VALID)
    passwords.check_new(password, email=invited["email"])
    name = users.normal_name(name) if name else None
    # Hashed before the transaction, which must not wait for it.
    hashed = await passwords.make_hash(password, hashing=hashing)
    async with platform.connection() as conn, conn.transaction():
        row = await _take(conn, token, now)
        where = conn if row["owner_id"] is None else Scope(conn, row["owner_id"])
        user, made = await users.put(
            where, email=row["email"], role=row["role"], password_hash=hashed, now=now, name=name
        )
        if not made and not row["resets_password"]:
            raise Conflict("this e-mail address has a user by now: ask for a new invitation")
        caller = of_user(user_id=user.id, owner_id=user.owner_id, role=user.role, email=user.email)
        inviter = row["invited_by_id"]
        data = {
            "role": user.role,
            "resets_password": not made,
            "invited_by_kind": row["invited_by_kind"],
            "invited_by_id": None if inviter is None else str(inviter),
        }
        await audit.record(where, caller, "accept", "invitation", str(row["id"]), data)
    return user


async def _take(conn: Connection, token: str, now: datetime) -> Row:
    """Use the token up: of two at once, one."""
    row = await (
        await conn.execute(
            """
            UPDATE invitations SET accepted_at = %(now)s
            WHERE token_hash = %(hash)s AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > %(now)s
            RETURNING id, owner_id, email, role, resets_password, invited_by_kind, invited_by_id
            """,
            {"hash": _hash(token), "now": now},
        )
    ).fetchone()
    if row is None:
        raise NotFound(_NOT_VALID)
    return row


async def list_(where: Where) -> list[Invitation]:
    """The invitations, oldest first, used and ended ones too."""
    conn, owner_id = whose(where)
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM invitations WHERE owner_id IS NOT DISTINCT FROM %s ORDER BY id",  # noqa: S608
        [owner_id],
    )
    return [Invitation(**row) for row in await cursor.fetchall()]


async def revoke(where: Where, invitation_id: UUID, *, now: datetime) -> Invitation:
    """End an invitation; one that was accepted stays so. Raises NotFound."""
    conn, owner_id = whose(where)
    row = await (
        await conn.execute(
            f"""
            UPDATE invitations SET revoked_at = CASE WHEN accepted_at IS NULL THEN coalesce(revoked_at, %s) END
            WHERE id = %s AND owner_id IS NOT DISTINCT FROM %s RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [now, invitation_id, owner_id],
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"no invitation {invitation_id}")
    return Invitation(**row)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
