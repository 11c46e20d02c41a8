"""Sign-in: a password for a session, and fewer and fewer tries for whoever guesses.

Every try is counted before its password is looked at, for the address and for where it comes from, whether the user
exists or not: of a thousand guesses made at once no more are tried than of a thousand made in turn, and nobody
learns from the answer, the wait or the work done who is a user here.

So whoever guesses at an address without end, from a few places, keeps it locked. Its user gets in all the same from a
browser that they have signed in with before: that counts by itself (`known_browsers`).

One address may be a user of several owners, none of whom learns of the others. The password says which one is meant. A
try is one at each of them, a success forgets what was tried at its user and not at the others, and the work is the
same.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    owner_id: UUID | None = None,
    clock: Clock | None = None,
    hashing: PasswordHash = passwords.HASHING,
) -> SignedIn:
    """A session for the right password. `source` is the caller's address, empty when nobody can tell whose it is;
    `previous` is the session's token they came with, `browser` the browser's.

    Where the password is that of several users of the address, it is the one who signed in last; `owner_id` chooses
    another. The token is always a new one, and the session of `previous` ends. Raises SignInRefused, the same for a
    wrong password, an unknown or disabled user, and too many tries; Busy before the try is counted.
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

    def meant(user: User) -> bool:
        return owner_id is None or user.owner_id == owner_id

    return await _after(platform, email, password, source, browser, meant, clock or SystemClock(), hashing, let_in)


@passwords.in_turn
async def change_password(
    platform: Pool,
    *,
    email: str,
    password: str,
    new: str,
    source: str,
    browser: str | None = None,
    user_id: UUID | None = None,
    clock: Clock | None = None,
    hashing: PasswordHash = passwords.HASHING,
) -> SignedIn:
    """A new password for whoever knows the present one: all their sessions end, and one with a new token begins.

    `user_id` says which of the users of the address it is.

    Who has somebody's session but not their password may guess no more often here than at the sign-in. Raises
    UsageError for the new password; SignInRefused and Busy as the sign-in does.
    """
    passwords.check_new(new, email=email)
    async with platform.connection() as conn:
        salt = await users.salt_of(conn, email)
    new_hash = await passwords.make_hash(new, salt=salt, hashing=hashing)

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

    def meant(user: User) -> bool:
        return user_id is None or user.id == user_id

    return await _after(platform, email, password, source, browser, meant, clock or SystemClock(), hashing, change)


async def _after(
    platform: Pool,
    email: str,
    password: str,
    source: str,
    browser: str | None,
    meant: Callable[[User], bool],
    clock: Clock,
    hashing: PasswordHash,
    then: _Then,
) -> SignedIn:
    """What `then` makes of the user whose password this is; the try counts whatever comes of it."""
    address = _normal(email)
    now = clock.now()
    by_address = _subject("address", address or email)
    by_source = _subject("source", _network(source)) if source else None
    async with platform.connection() as conn, conn.transaction():
        there = [one for one in await _stored(conn, address) if meant(one.user)]
        known = await known_browsers.find(conn, browser, email=address, now=now) if browser and address else None
        known = known if known and any(one.user.id == known[1] for one in there) else None
        if known is not None:
            by_browser = _subject("browser", str(known[0]))
            tried = {by_browser: [one for one in there if one.user.id == known[1]]}
            wait_s, counted = await _count(conn, {by_browser: OF_BROWSER}, now)
            gates = [by_browser]
        else:
            tried = {_subject("user", str(one.user.id)): [one] for one in there}
            rules = {by_address: OF_ADDRESS} | ({by_source: OF_SOURCE} if by_source else {})
            wait_s, counted, gates = await _count_each(conn, rules, by_address, sorted(tried), now)
    if wait_s:
        log.warning("sign_in_locked", retry_after_s=wait_s)
        raise SignInRefused(wait_s)
    candidates = [one for gate in gates for one in tried.get(gate, ())]
    async with platform.connection() as conn:
        salt = await users.salt_of(conn, address) if address else None
    verdicts = await passwords.verify_all(password, [one.hashed for one in candidates], salt=salt, hashing=hashing)
    right = [(one, verdict) for one, verdict in zip(candidates, verdicts, strict=True) if verdict.right]
    # Of several with this password, whoever signed in last, then the oldest.
    right.sort(key=lambda found: (-_seconds(found[0].user.last_sign_in_at), found[0].user.id))
    for one, verdict in right[:1]:
        now = clock.now()
        async with platform.connection() as conn, conn.transaction():
            signed_in = await then(conn, one.user, one.hashed, verdict.rehashed, known[0] if known else None, now)
            if signed_in is not None:
                if known is not None:
                    # The address's stay: a sign-in amid others' guesses gives them no new ones.
                    await conn.execute("DELETE FROM sign_in_failures WHERE subject = ANY(%s)", [gates])
                else:
                    await _forget(conn, _subject("user", str(one.user.id)), now)
                    await _take_back(conn, by_address, counted[by_address], now)
                    if by_source is not None:
                        await _take_back(conn, by_source, counted[by_source], now)
                return signed_in
    log.warning("sign_in_failed", user_id=candidates[0].user.id if len(candidates) == 1 else None)
    raise SignInRefused(_wait_s(counted, gates, None if known is not None else by_source, now))


def _wait_s(counted: Mapping[bytes, Failures], gates: Sequence[bytes], by_source: bytes | None, now: datetime) -> int:
    """How long until one of the gates opens, and the source may come again."""
    wait_s = min(counted[gate].wait_s(now) for gate in gates)
    return wait_s if by_source is None else max(wait_s, counted[by_source].wait_s(now))


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


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
    before = await _failures(conn, sorted(rules), now)
    wait_s = max(failures.wait_s(now) for failures in before.values())
    return (wait_s, before) if wait_s else (0, await _add_one(conn, before, rules, now))


async def _count_each(
    conn: Connection, rules: dict[bytes, Rule], by_address: bytes, by_user: Sequence[bytes], now: datetime
) -> tuple[int, dict[bytes, Failures], list[bytes]]:
    """Count a try for the address, the source and each user of the address who is not locked.

    Answers how long to wait, if the source or all the users have to, when nothing is counted; what was counted; and the
    users who may be tried. An address without users is locked like one with them. A user begins with what was counted
    for the address, so that nobody sees it become one, and keeps a count of their own: only their password resets it.
    """
    before = await _failures(conn, sorted(rules), now)
    if by_user:
        await conn.execute(
            """
            INSERT INTO sign_in_failures (subject, failures, last_at, locked_until)
            SELECT theirs, a.failures, a.last_at, a.locked_until
            FROM unnest(%(subjects)s::bytea[]) theirs, sign_in_failures a WHERE a.subject = %(address)s
            ORDER BY theirs ON CONFLICT (subject) DO NOTHING
            """,
            {"subjects": list(by_user), "address": by_address},
        )
        before |= await _failures(conn, by_user, now)
    by_source = next((subject for subject in rules if subject != by_address), None)
    gates = list(by_user) or [by_address]
    wait_s = _wait_s(before, gates, by_source, now)
    if wait_s:
        return wait_s, before, gates
    gates = [gate for gate in gates if before[gate].wait_s(now) == 0]
    counting = {subject: rules.get(subject, OF_ADDRESS) for subject in (*rules, *gates)}
    # Others' guesses may have locked the address itself, which only those heed who are no user.
    counting = {subject: rule for subject, rule in counting.items() if before[subject].wait_s(now) == 0}
    return 0, before | await _add_one(conn, before, counting, now), gates


async def _failures(conn: Connection, subjects: Sequence[bytes], now: datetime) -> dict[bytes, Failures]:
    """What is remembered of these subjects, whom nobody else counts before the commit."""
    await conn.execute(
        """
        INSERT INTO sign_in_failures (subject, failures, last_at, locked_until)
        SELECT subject, 0, %(now)s, %(now)s FROM unnest(%(subjects)s::bytea[]) subject ORDER BY subject
        ON CONFLICT (subject) DO NOTHING
        """,
        {"now": now, "subjects": list(subjects)},
    )
    cursor = await conn.execute(
        """
        SELECT subject, failures AS count, last_at, locked_until FROM sign_in_failures
        WHERE subject = ANY(%s) ORDER BY subject FOR UPDATE
        """,
        [list(subjects)],
    )
    return {bytes(row.pop("subject")): Failures(**row) for row in await cursor.fetchall()}


async def _add_one(
    conn: Connection, before: Mapping[bytes, Failures], rules: Mapping[bytes, Rule], now: datetime
) -> dict[bytes, Failures]:
    after = {subject: one_more(before[subject], rule, now) for subject, rule in rules.items()}
    for subject in sorted(after):
        await conn.execute(
            "UPDATE sign_in_failures SET failures = %s, last_at = %s, locked_until = %s WHERE subject = %s",
            [after[subject].count, after[subject].last_at, after[subject].locked_until, subject],
        )
    return after


async def _forget(conn: Connection, subject: bytes, now: datetime) -> None:
    """Begin a user's count anew; the row stays, or what was counted for the address would be theirs again."""
    await conn.execute(
        """
        UPDATE sign_in_failures SET failures = 0, last_at = %(now)s, locked_until = %(now)s WHERE subject = %(subject)s
        """,
        {"now": now, "subject": subject},
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """An active user and the hash of their password."""

    user: User
    hashed: str = field(repr=False)


async def _stored(conn: Connection, email: str | None) -> list[_Stored]:
    """The active users of that address, of whatever owner."""
    cursor = await conn.execute(
        """
        SELECT id, owner_id, email, name, role, status, password_changed_at, last_sign_in_at, version, created_at,
               password_hash
        FROM users WHERE email = %s AND status = 'active' ORDER BY id
        """,
        [email],
    )
    return [_Stored(hashed=row.pop("password_hash"), user=User(**row)) for row in await cursor.fetchall()]


async def forget_old(platform: Connection, *, now: datetime) -> int:
    """Delete the counts that no rule looks at any more; answers how many."""
    longest_s = max(rule.forget_s + rule.longest_s for rule in (OF_ADDRESS, OF_BROWSER, OF_SOURCE))
    cursor = await platform.execute(
        "DELETE FROM sign_in_failures WHERE last_at < %s", [now - timedelta(seconds=longest_s)]
    )
    return cursor.rowcount
