"""Sign-in: a password for a session, and fewer and fewer tries for whoever guesses.

Every try is counted before its password is looked at, for the address and for where it comes from, whether the user
exists or not: of a thousand guesses made at once no more are tried than of a thousand made in turn, and nobody
learns from the answer, the wait or the work done who is a user here.

So whoever guesses at an address without end, from a few places, keeps it locked. Its user gets in all the same from a
browser that they have signed in with before: that counts by itself (`known_browsers`).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final
from uuid import UUID

import structlog
from pwdlib import PasswordHash

from recado.clock import Clock, SystemClock
from recado.db.pool import Connection, Pool
from recado.db.scope import Scope
from recado.errors import SignInRefused, UsageError
from recado.identity import audit, known_browsers, passwords, sessions, users
from recado.identity.callers import Caller, of_user
from recado.identity.sessions import Session
from recado.identity.users import User, normal_email

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """So many failures are free; each further one locks twice as long, up to a limit; a quiet time forgets them."""

    free: int
    first_s: int
    longest_s: int
    forget_s: int


#: Locks others' guesses and the user's own tries alike, but for those from a browser that is known.
OF_ADDRESS: Final = Rule(free=5, first_s=30, longest_s=900, forget_s=24 * 3600)
#: Nobody but who has the browser, or stole its cookie, is counted here: they guess no more often than at an address.
OF_BROWSER: Final = Rule(free=5, first_s=30, longest_s=900, forget_s=24 * 3600)
#: A company's office may be one source.
OF_SOURCE: Final = Rule(free=30, first_s=30, longest_s=3600, forget_s=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What is remembered of an address or a source."""

    count: int
    last_at: datetime
    locked_until: datetime

    def wait_s(self, now: datetime) -> int:
        """Whole seconds until another try is let through; 0 is at once."""
        return max(0, ceil((self.locked_until - now).total_seconds()))


def one_more(before: Failures | None, rule: Rule, now: datetime) -> Failures:
    """What is remembered after one more try."""
    count = 1
    # Quiet begins when the lock ends: waiting that out must not be enough to be forgotten.
    if before is not None and now - max(before.last_at, before.locked_until) < timedelta(seconds=rule.forget_s):
        count += before.count
    over = count - rule.free
    # The exponent is bounded, so that a count of millions makes no number of millions of digits.
    lock_s = min(rule.longest_s, rule.first_s * 2 ** min(over - 1, 30)) if over > 0 else 0
    return Failures(count=count, last_at=now, locked_until=now + timedelta(seconds=lock_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A new session, its token and the browser's for the cookies, and who that is."""

    session: Session
    token: str
    browser: str
    caller: Caller
    user: User


#: What follows the right password, in one transaction; None when the user is not any more who was verified.
_Then = Callable[[Connection, User, str, str | None, UUID | None, datetime], Awaitable[SignedIn | None]]


@passwords.in_turn
async def sign_in(
    platform: Pool,
    *,
    email: str,
    password: str,
    source: str,
    previous: str | None = None,
    browser: str | None = None,
    clock: Clock | None = None,
    hashing: PasswordHash = passwords.HASHING,
) -> SignedIn:
    """A session for the right password. `source` is the caller's address, empty when nobody can tell whose it is;
    `previous` is the session's token they came with, `browser` the browser's.

    The token is always a new one, and the session of `previous` ends. Raises SignInRefused, the same for a wrong
    password, an unknown or disabled user, and too many tries; Busy before the try is counted.
    """

    async def let_in(
        conn: Connection, user: User, hashed: str, rehashed: str | None, known: UUID | None, now: datetime
    ) -> SignedIn | None:
        cursor = await conn.execute(
            """
            UPDATE users SET last_sign_in_at = %s, password_hash = coalesce(%s, password_hash)
            WHERE id = %s AND status = 'active' AND password_hash = %s
            """,
            [now, rehashed, user.id, hashed],
        )
        if cursor.rowcount == 0:
            return None
        if previous is not None:
            await sessions.end(conn, previous, now=now)
        return await _begin(conn, replace(user, last_sign_in_at=now), "sign_in", known, now)

    return await _after(platform, email, password, source, browser, clock or SystemClock(), hashing, let_in)


@passwords.in_turn
async def change_password(
    platform: Pool,
    *,
    email: str,
    password: str,
    new: str,
    source: str,
    browser: str | None = None,
    clock: Clock | None = None,
    hashing: PasswordHash = passwords.HASHING,
) -> SignedIn:
    """A new password for whoever knows the present one: all their sessions end, and one with a new token begins.

    Who has somebody's session but not their password may guess no more often here than at the sign-in. Raises
    UsageError for the new password; SignInRefused and Busy as the sign-in does.
    """
    passwords.check_new(new, email=email)
    new_hash = await passwords.make_hash(new, hashing=hashing)

    async def change(
        conn: Connection, user: User, hashed: str, _: str | None, known: UUID | None, now: datetime
    ) -> SignedIn | None:
        cursor = await conn.execute(
            """
            UPDATE users SET password_hash = %s, password_changed_at = %s
            WHERE id = %s AND status = 'active' AND password_hash = %s
            """,
            [new_hash, now, user.id, hashed],
        )
        if cursor.rowcount == 0:
            return None
        where = conn if user.owner_id is None else Scope(conn, user.owner_id)
        await users.end_sessions(where, user.id, now=now)
        return await _begin(conn, replace(user, password_changed_at=now), "set_password", known, now)

    return await _after(platform, email, password, source, browser, clock or SystemClock(), hashing, change)


async def _after(
    platform: Pool,
    email: str,
    password: str,
    source: str,
    browser: str | None,
    clock: Clock,
    hashing: PasswordHash,
    then: _Then,
) -> SignedIn:
    """What `then` makes of the user whose password this is; the try counts whatever comes of it."""
    address = _normal(email)
    now = clock.now()
    async with platform.connection() as conn, conn.transaction():
        known = await known_browsers.find(conn, browser, email=address, now=now) if browser and address else None
        if known is not None:
            by_user, by_source = _subject("browser", str(known)), None
            rules = {by_user: OF_BROWSER}
        else:
            by_user = _subject("address", address or email)
            by_source = _subject("source", _network(source)) if source else None
            rules = {by_user: OF_ADDRESS} | ({by_source: OF_SOURCE} if by_source else {})
        wait_s, counted = await _count(conn, rules, now)
    if wait_s:
        log.warning("sign_in_locked", retry_after_s=wait_s)
        raise SignInRefused(wait_s)
    async with platform.connection() as conn:
        stored = await _stored(conn, address)
    verdict = await passwords.verify(password, stored[1] if stored else None, hashing=hashing)
    if verdict.right and stored is not None:
        now = clock.now()
        async with platform.connection() as conn, conn.transaction():
            signed_in = await then(conn, *stored, verdict.rehashed, known, now)
            if signed_in is not None:
                # From a known browser the address's stay: a sign-in amid others' guesses gives them no new ones.
                await conn.execute("DELETE FROM sign_in_failures WHERE subject = %s", [by_user])
                if by_source is not None:
                    await _take_back(conn, by_source, counted[by_source], now)
                return signed_in
    log.warning("sign_in_failed", user_id=stored[0].id if stored else None)
    raise SignInRefused(max(failures.wait_s(now) for failures in counted.values()))


async def _begin(conn: Connection, user: User, action: str, known: UUID | None, now: datetime) -> SignedIn:
    session, token = await sessions.begin(conn, user, now=now)
    browser = await known_browsers.remember(conn, user, known, now=now)
    caller = of_user(user_id=user.id, owner_id=user.owner_id, role=user.role, email=user.email)
    thing, thing_id = ("session", session.id) if action == "sign_in" else ("user", user.id)
    await audit.record(conn, caller, action, thing, str(thing_id), owner_id=user.owner_id)
    return SignedIn(session=session, token=token, browser=browser, caller=caller, user=user)


def _normal(email: str) -> str | None:
    try:
        return normal_email(email)
    except UsageError:
        return None


def _network(source: str) -> str:
    """The address; of IPv6 the /64 that one customer has."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _subject(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "surrogatepass")).digest()


async def _count(conn: Connection, rules: dict[bytes, Rule], now: datetime) -> tuple[int, dict[bytes, Failures]]:
    """Count a try for each subject, unless one of them has to wait: then how long, and nothing is counted."""
    subjects = sorted(rules)
    await conn.execute(
        """
        INSERT INTO sign_in_failures (subject, failures, last_at, locked_until)
        SELECT subject, 0, %(now)s, %(now)s FROM unnest(%(subjects)s::bytea[]) subject ORDER BY subject
        ON CONFLICT (subject) DO NOTHING
        """,
        {"now": now, "subjects": subjects},
    )
    cursor = await conn.execute(
        """
        SELECT subject, failures AS count, last_at, locked_until FROM sign_in_failures
        WHERE subject = ANY(%s) ORDER BY subject FOR UPDATE
        """,
        [subjects],
    )
    before = {bytes(row.pop("subject")): Failures(**row) for row in await cursor.fetchall()}
    wait_s = max(failures.wait_s(now) for failures in before.values())
    if wait_s:
        return wait_s, before
    after = {subject: one_more(before[subject], rules[subject], now) for subject in subjects}
    for subject, failures in after.items():
        await conn.execute(
            "UPDATE sign_in_failures SET failures = %s, last_at = %s, locked_until = %s WHERE subject = %s",
            [failures.count, failures.last_at, failures.locked_until, subject],
        )
    return 0, after


async def _take_back(conn: Connection, subject: bytes, ours: Failures, now: datetime) -> None:
    """Uncount our try of a source. A success forgets no other: who has a password of their own may guess others'."""
    await conn.execute(
        """
        UPDATE sign_in_failures
        SET failures = greatest(failures - 1, 0),
            locked_until = CASE WHEN locked_until = %s THEN least(locked_until, %s) ELSE locked_until END
        WHERE subject = %s
        """,
        [ours.locked_until, now, subject],
    )


async def _stored(conn: Connection, email: str | None) -> tuple[User, str] | None:
    """The active user of that address and the password's hash."""
    if email is None:
        return None
    row = await (
        await conn.execute(
            """
            SELECT id, owner_id, email, name, role, status, password_changed_at, last_sign_in_at, version, created_at,
                   password_hash
            FROM users WHERE email = %s AND status = 'active'
            """,
            [email],
        )
    ).fetchone()
    if row is None:
        return None
    hashed = row.pop("password_hash")
    return User(**row), hashed


async def forget_old(platform: Connection, *, now: datetime) -> int:
    """Delete the counts that no rule looks at any more; answers how many."""
    longest_s = max(rule.forget_s + rule.longest_s for rule in (OF_ADDRESS, OF_BROWSER, OF_SOURCE))
    cursor = await platform.execute(
        "DELETE FROM sign_in_failures WHERE last_at < %s", [now - timedelta(seconds=longest_s)]
    )
    return cursor.rowcount
