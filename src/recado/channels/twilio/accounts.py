"""Twilio accounts and their numbers: whose webhook is it, which tokens may have signed it, who answers.

Tokens are stored encrypted, bound to their row. A look-up is cached for a minute at most.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id

K = TypeVar("K")
V = TypeVar("V")

ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
CACHE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A Twilio (sub)account with its auth tokens in clear; never stored or logged like this."""

    owner_id: UUID
    id: UUID
    account_sid: str
    active: bool
    tokens: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A WhatsApp sender of an account; `routed` when the owner has added it."""

    id: UUID
    routed: bool


@dataclass(slots=True)
class Directory:
    """AccountSid -> account and (account, To) -> number, each looked up at most once a minute.

    An unknown AccountSid is remembered too, so that a flood of forged ones costs no query each.
    """

    pool: Pool
    keyring: Keyring
    _accounts: dict[str, tuple[float, Account | None]] = field(default_factory=dict)
    _numbers: dict[tuple[UUID, str], tuple[float, Number]] = field(default_factory=dict)

    async def account(self, account_sid: str) -> Account | None:
        """The account of that AccountSid, or None."""
        now = time.monotonic()
        cached = self._accounts.get(account_sid)
        if cached is not None and cached[0] > now:
            return cached[1]
        if not ACCOUNT_SID.fullmatch(account_sid):
            return None
        async with self.pool.connection() as conn:
            row = await (await conn.execute("SELECT * FROM account_by_sid(%s)", [account_sid])).fetchone()
        account = None
        if row is not None:
            account = Account(
                owner_id=row["owner_id"],
                id=row["id"],
                account_sid=account_sid,
                active=row["owner_status"] == "active",
                tokens=_tokens(self.keyring, row["id"], row["auth_token"], row["secondary_token"]),
            )
        _remember(self._accounts, account_sid, (now + (CACHE_S if account else 5.0), account))
        return account

    async def number(self, account: Account, address: str) -> Number:
        """The account's number of that address; one that the owner has not added is kept as unrouted."""
        now = time.monotonic()
        cached = self._numbers.get((account.id, address))
        if cached is not None and cached[0] > now:
            return cached[1]
        async with scoped(self.pool, account.owner_id) as scope:
            number = await _find_or_keep(scope, account.id, address)
        _remember(self._numbers, (account.id, address), (now + (CACHE_S if number.routed else 5.0), number))
        return number


def _remember(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= 10_000:
        cache.clear()
    cache[key] = value


async def _find_or_keep(scope: Scope, account_id: UUID, address: str) -> Number:
    row = await (
        await scope.conn.execute(
            """
            WITH kept AS (
                INSERT INTO numbers (owner_id, id, account_id, address, status)
                VALUES (%(owner_id)s, %(id)s, %(account_id)s, %(address)s, 'unrouted')
                ON CONFLICT (account_id, address) DO NOTHING
                RETURNING id, status
            )
            SELECT id, status FROM kept
            UNION ALL SELECT id, status FROM numbers WHERE account_id = %(account_id)s AND address = %(address)s
            """,
            {"owner_id": scope.owner_id, "id": new_id(), "account_id": account_id, "address": address},
        )
    ).fetchone()
    if row is None:  # another process kept it while our statement ran: a new snapshot sees it
        return await _find_or_keep(scope, account_id, address)
    return Number(id=row["id"], routed=row["status"] == "active")


def _tokens(keyring: Keyring, account_id: UUID, primary: bytes, secondary: bytes | None) -> tuple[str, ...]:
    tokens = [keyring.open(primary, row=f"twilio_accounts/{account_id}/auth_token")]
    if secondary is not None:
        tokens.append(keyring.open(secondary, row=f"twilio_accounts/{account_id}/secondary_token"))
    return tuple(tokens)


async def add_account(scope: Scope, keyring: Keyring, *, account_sid: str, auth_token: str) -> UUID:
    """Add a Twilio account to the owner, or replace its auth token; answers its id.

    Raises UsageError for what is no AccountSid or token, Conflict when another owner has the account.
    """
    if not ACCOUNT_SID.fullmatch(account_sid):
        raise UsageError("an AccountSid is AC and 32 hexadecimal digits")
    if not auth_token or not auth_token.isascii() or not auth_token.isprintable():
        raise UsageError("the auth token on standard input is empty or holds characters that no token has")
    known = await (await scope.conn.execute("SELECT id, owner_id FROM account_by_sid(%s)", [account_sid])).fetchone()
    if known is not None and known["owner_id"] != scope.owner_id:
        raise Conflict("this Twilio account belongs to another owner")
    account_id: UUID = known["id"] if known else new_id()
    sealed = keyring.seal(auth_token, row=f"twilio_accounts/{account_id}/auth_token")
    await scope.conn.execute(
        """
        INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token) VALUES (%s, %s, %s, %s)
        ON CONFLICT (owner_id, id) DO UPDATE SET auth_token = excluded.auth_token, updated_at = now()
        """,
        [scope.owner_id, account_id, account_sid, sealed],
    )
    return account_id


async def rotate_token(scope: Scope, keyring: Keyring, *, account_sid: str, auth_token: str | None) -> None:
    """Accept a second token beside the first (`auth_token` given), or make it the only one (None).

    During Twilio's rotation both the primary and the secondary token may have signed. Raises NotFound, UsageError.
    """
    row = await (
        await scope.conn.execute(
            "SELECT id, secondary_token FROM twilio_accounts WHERE account_sid = %s", [account_sid]
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"no Twilio account {account_sid} of this owner")
    if auth_token is not None:
        sealed = keyring.seal(auth_token, row=f"twilio_accounts/{row['id']}/secondary_token")
        await scope.conn.execute(
            "UPDATE twilio_accounts SET secondary_token = %s, updated_at = now() WHERE id = %s", [sealed, row["id"]]
        )
        return
    if row["secondary_token"] is None:
        raise UsageError("there is no second token to go over to: give it first, with --auth-token-stdin")
    token = keyring.open(row["secondary_token"], row=f"twilio_accounts/{row['id']}/secondary_token")
    sealed = keyring.seal(token, row=f"twilio_accounts/{row['id']}/auth_token")
    await scope.conn.execute(
        "UPDATE twilio_accounts SET auth_token = %s, secondary_token = NULL, updated_at = now() WHERE id = %s",
        [sealed, row["id"]],
    )


async def tokens_of(scope: Scope, keyring: Keyring, account_id: UUID) -> tuple[str, tuple[str, ...]]:
    """AccountSid and tokens of one of the owner's accounts, for sending."""
    row = await (
        await scope.conn.execute(
            "SELECT account_sid, auth_token, secondary_token FROM twilio_accounts WHERE id = %s", [account_id]
        )
    ).fetchone()
    if row is None:
        raise NotFound("the Twilio account is gone")
    return row["account_sid"], _tokens(keyring, account_id, row["auth_token"], row["secondary_token"])


async def add_number(scope: Scope, *, account_sid: str, address: str, assistant_id: UUID) -> UUID:
    """Add a WhatsApp sender to the account, or route one that was kept as unrouted; answers its id."""
    if not re.fullmatch(r"whatsapp:\+[1-9]\d{6,14}", address):
        raise UsageError("an address is whatsapp: and the number in E.164, for instance whatsapp:+14155238886")
    account = await (
        await scope.conn.execute("SELECT id FROM twilio_accounts WHERE account_sid = %s", [account_sid])
    ).fetchone()
    if account is None:
        raise NotFound(f"no Twilio account {account_sid}: add it with `recado accounts add`")
    row = await (
        await scope.conn.execute(
            """
            INSERT INTO numbers (owner_id, id, account_id, address, assistant_id) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (account_id, address) DO UPDATE
            SET status = 'active', assistant_id = coalesce(numbers.assistant_id, excluded.assistant_id)
            RETURNING id
            """,
            [scope.owner_id, new_id(), account["id"], address, assistant_id],
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an upsert that returns
    # What came while the number was unrouted is answered now, as far as WhatsApp's 24-hour window reaches;
    # `ops/recovery` finds these messages without work and enqueues it.
    await scope.conn.execute(
        """
        UPDATE messages m SET status = 'received' FROM conversations v
        WHERE v.id = m.conversation_id AND v.number_id = %s AND m.status = 'unrouted'
          AND m.received_at > now() - interval '24 hours'
        """,
        [row["id"]],
    )
    number_id: UUID = row["id"]
    return number_id
