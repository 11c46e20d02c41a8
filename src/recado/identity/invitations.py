"""Invitations: a user chooses their own password with a token that works once and for a week.

recado sends no e-mail, so whoever makes one has its token. So it counts only while its maker might still make it
(`authority`), it makes a user of this owner alone whatever else the address is, and it gives another password to a user
who exists only for somebody above them: the owner's admins to operators and viewers, the platform to admins.

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
from recado.identity import audit, authority, passwords, users
from recado.identity.authority import Maker
from recado.identity.callers import Caller, of_user
from recado.identity.users import User, Where, whose
from recado.ids import new_id

LASTS: Final = timedelta(days=7)

_TOKEN = re.compile(r"ri_[A-Za-z0-9_-]{43}")
_COLUMNS = (
    "id, owner_id, email, role, resets_password, invited_by_kind, invited_by_id, "
    "created_at, expires_at, accepted_at, revoked_at"
)
#: The same for a token that never was, was used, was revoked or has expired, or whose maker may not any more.
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

    Whoever accepts for a user who exists is that user from then on. So it raises Forbidden when an API key invites one,
    since a person must answer for it, when an owner's user invites another admin, who is above nobody's say but the
    platform's, or themselves, who may know no password but have a stolen session; and when the caller may invite nobody
    any more. UsageError; Conflict when somebody else invites the address at this moment.
    """
    email = users.normal_email(email)
    users.check_role(where, role)
    conn, owner_id = whose(where)
    await authority.demand(conn, by, owner_id, now=now)
    there = await _user(conn, email, owner_id)
    if there is not None:
        _check_above(by, there)
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
            INSERT INTO invitations (owner_id, id, email, role, resets_password, user_id, invited_by_kind,
                                     invited_by_id, token_hash, created_at, expires_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [
                *(owner_id, new_id(), email, role, there is not None, there["id"] if there else None),
                *(by.kind, by.id, _hash(token), now, now + LASTS),
            ],
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

    Nobody is signed in by it, and of sessions only those of the user end whose password it sets. Raises Busy, and
    NotFound for a token that is not valid, among them one whose maker may not make it any more: of a dismissal and an
    acceptance at once, one comes first. It still works after a UsageError for the password or the name, and after a
    Conflict: its user is disabled, is the owner's last admin, or was made after the invitation, which then gives nobody
    a password. The audit names the user, and who invited them.
    """
    now = (clock or SystemClock()).now()
    if not _TOKEN.fullmatch(token):
        raise NotFound(_NOT_VALID)
    invited = await _invited(platform, token, now)
    passwords.check_new(password, email=invited["email"])
    name = users.normal_name(name) if name else None
    # Hashed before the transaction, which must not wait for it.
    hashed = await passwords.make_hash(password, salt=bytes(invited["salt"]), hashing=hashing)
    owner_id = invited["owner_id"]
    async with platform.connection() as conn, conn.transaction():
        where = conn if owner_id is None else Scope(conn, owner_id)
        # The locks in their order (`authority`): admins, users, and only then the invitation.
        await authority.hold_admins(conn, owner_id)
        await _check_maker(conn, token, owner_id, now)
        there = await _user(conn, invited["email"], owner_id, lock=True)
        row = await _take(conn, token, now)
        if there is not None and row["user_id"] != there["id"]:
            raise Conflict("this e-mail address has a user by now: ask for a new invitation")
        if there is not None and there["role"] == "admin" and row["invited_by_kind"] not in _ABOVE_ADMINS:
            raise NotFound(_NOT_VALID)  # they have become one since
        user, made = await users.put(
            where, email=row["email"], role=row["role"], password_hash=hashed, now=now, name=name
        )
        await _record(where, row, user, made=made)
    return user


async def _invited(platform: Pool, token: str, now: datetime) -> Row:
    """Whom a valid token invites, and the salt of their password. Raises NotFound."""
    async with platform.connection() as conn:
        cursor = await conn.execute(
            """
            SELECT email, owner_id, password_salt(email) AS salt FROM invitations
            WHERE token_hash = %s AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > %s
            """,
            [_hash(token), now],
        )
        row = await cursor.fetchone()
    if row is None:
        raise NotFound(_NOT_VALID)
    return row


async def _record(where: Connection | Scope, row: Row, user: User, *, made: bool) -> None:
    """In the name of the user, and who invited them."""
    caller = of_user(user_id=user.id, owner_id=user.owner_id, role=user.role, email=user.email)
    inviter = row["invited_by_id"]
    data = {
        "role": user.role,
        "resets_password": not made,
        "invited_by_kind": row["invited_by_kind"],
        "invited_by_id": None if inviter is None else str(inviter),
    }
    await audit.record(where, caller, "accept", "invitation", str(row["id"]), data)


#: Who may give an admin another password: the platform's administrators, and whoever has its machine.
_ABOVE_ADMINS: Final = frozenset({"platform", "cli"})


def _check_above(by: Caller, there: Row) -> None:
    """Raise Forbidden unless the caller may give this user another password."""
    if by.kind in _ABOVE_ADMINS:
        return
    if by.kind == "key":
        raise Forbidden("an API key may not invite a user who exists, which gives them another password")
    if by.id == there["id"]:
        raise Forbidden("nobody invites themselves: change your password with the present one")
    if there["role"] == "admin":
        raise Forbidden("an admin's password is theirs alone; forgotten, a platform administrator invites them anew")


async def _user(conn: Connection, email: str, owner_id: UUID | None, *, lock: bool = False) -> Row | None:
    """The owner's user of that address; with `lock`, nobody else changes them before the commit."""
    cursor = await conn.execute(
        "SELECT id, role FROM users WHERE email = %s AND owner_id IS NOT DISTINCT FROM %s"  # noqa: S608 - constants
        + (" FOR NO KEY UPDATE" if lock else ""),
        [email, owner_id],
    )
    return await cursor.fetchone()


async def _check_maker(conn: Connection, token: str, owner_id: UUID | None, now: datetime) -> None:
    """Raise NotFound unless whoever made the invitation might still make it; they stay who they are."""
    cursor = await conn.execute(
        "SELECT invited_by_kind, invited_by_id FROM invitations WHERE token_hash = %s", [_hash(token)]
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(_NOT_VALID)
    by = Maker(kind=row["invited_by_kind"], id=row["invited_by_id"])
    if not await authority.stands(conn, by, owner_id, now=now):
        raise NotFound(_NOT_VALID)


async def _take(conn: Connection, token: str, now: datetime) -> Row:
    """Use the token up: of two at once, one."""
    row = await (
        await conn.execute(
            """
            UPDATE invitations SET accepted_at = %(now)s
            WHERE token_hash = %(hash)s AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > %(now)s
            RETURNING id, email, role, user_id, invited_by_kind, invited_by_id
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
