"""Twilio accounts and their numbers: whose webhook is it, which tokens may have signed it, who answers.

Tokens are stored encrypted, bound to their row, or as a reference to where they are kept. A look-up is remembered for
a minute at most, and until it changes (`db/changes.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from recado import references
from recado.db.changes import Change
from recado.db.lookup import Lookup
from recado.db.pool import Pool, Row, once_more
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.errors import Conflict, NotFound, SecretError, UsageError
from recado.ids import new_id
from recado.references import References

ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
API_KEY_SID = re.compile(r"SK[0-9a-fA-F]{32}")
CACHE_S = 60.0
#: What a reference stands for changes without anybody telling us.
REFERENCED_S = 15.0
UNKNOWN_S = 5.0
UNREADABLE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A Twilio (sub)account with its auth tokens in clear; never stored or logged like this.

    `unreadable` says why the tokens can't be read now, when they can't; `public_url` is set where Twilio calls this
    account's webhooks at another address than the others'.
    """

    owner_id: UUID
    id: UUID
    account_sid: str
    active: bool
    tokens: tuple[str, ...] = field(repr=False)
    public_url: str | None = None
    referenced: bool = False
    unreadable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A WhatsApp sender of an account; `routed` when the owner has added it."""

    id: UUID
    routed: bool


class Directory:
    """AccountSid -> account and (account, To) -> number, each looked up at most once a minute.

    An unknown AccountSid is remembered too, so that a flood of forged ones costs no query each.
    """

    def __init__(self, pool: Pool, keyring: Keyring, known: References | None = None) -> None:
        self._pool = pool
        self._keyring = keyring
        self._references = known or References()
        self._accounts: Lookup[str, Account | None] = Lookup(self._find, _keep_s)
        self._numbers: Lookup[tuple[UUID, UUID, str], Number] = Lookup(
            self._find_number, lambda number: CACHE_S if number.routed else UNKNOWN_S
        )

    async def account(self, account_sid: str) -> Account | None:
        """The account of that AccountSid, or None."""
        return await self._accounts.get(account_sid) if ACCOUNT_SID.fullmatch(account_sid) else None

    async def number(self, account: Account, address: str) -> Number:
        """The account's number of that address; one that the owner has not added is kept as unrouted."""
        return await self._numbers.get((account.owner_id, account.id, address))

    def forget(self, change: Change | None) -> None:
        """Forget what the change touches; all, when there may have been changes that nobody told of."""
        if change is None:
            self._accounts.forget()
            self._numbers.forget()
        elif change.table in ("twilio_accounts", "owners"):
            self._accounts.forget(lambda _, known: known is None or change.id in (known.id, known.owner_id))
        elif change.table == "numbers":
            self._numbers.forget(lambda _, known: not known.routed or known.id == change.id)

    async def _find(self, account_sid: str) -> Account | None:
        async def ask() -> Row | None:
            async with self._pool.connection() as conn:
                return await (await conn.execute("SELECT * FROM account_by_sid(%s)", [account_sid])).fetchone()

        row = await once_more(self._pool, ask)
        if row is None:
            return None
        tokens: tuple[str, ...] = ()
        unreadable = None
        try:
            tokens = await tokens_in(row, self._keyring, self._references)
        except SecretError as error:
            unreadable = str(error)
        return Account(
            owner_id=row["owner_id"],
            id=row["id"],
            account_sid=account_sid,
            active=row["owner_status"] == "active",
            tokens=tokens,
            public_url=row["public_url"],
            referenced=row["auth_token_ref"] is not None or row["secondary_token_ref"] is not None,
            unreadable=unreadable,
        )

    async def _find_number(self, key: tuple[UUID, UUID, str]) -> Number:
        owner_id, account_id, address = key

        async def ask() -> Number:
            async with scoped(self._pool, owner_id) as scope:
                return await _find_or_keep(scope, account_id, address)

        return await once_more(self._pool, ask)


def _keep_s(account: Account | None) -> float:
    if account is None:
        return UNKNOWN_S
    if account.unreadable is not None:
        return UNREADABLE_S
    return REFERENCED_S if account.referenced else CACHE_S


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


async def _opened(row: Mapping[str, Any], column: str, keyring: Keyring, known: References) -> str | None:
    reference, sealed = row[f"{column}_ref"], row[column]
    if reference is not None:
        return await known.resolve(reference)
    return None if sealed is None else keyring.open(sealed, row=f"twilio_accounts/{row['id']}/{column}")


async def tokens_in(row: Mapping[str, Any], keyring: Keyring, known: References) -> tuple[str, ...]:
    """The auth tokens of a row of `twilio_accounts`, the primary one first. Raises SecretError."""
    found = [await _opened(row, column, keyring, known) for column in ("auth_token", "secondary_token")]
    return tuple(token for token in found if token is not None)


@dataclass(frozen=True, slots=True)
class Secret:
    """An auth token or an API key's secret as the owner gives it: its value, or a reference to where it is kept."""

    value: str | None = field(default=None, repr=False)
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            references.check(self.reference)
        elif not self.value or not self.value.isascii() or not self.value.isprintable():
            raise UsageError("the auth token on standard input is empty or holds characters that no token has")

    def stored(self, keyring: Keyring, account_id: UUID, column: str) -> tuple[bytes | None, str | None]:
        """What goes into the column and into its `_ref` twin."""
        if self.value is None:
            return None, self.reference
        return keyring.seal(self.value, row=f"twilio_accounts/{account_id}/{column}"), None


async def add_account(
    scope: Scope,
    keyring: Keyring,
    *,
    account_sid: str,
    auth_token: str | None = None,
    auth_token_ref: str | None = None,
) -> UUID:
    """Add a Twilio account to the owner, or replace its auth token; answers its id.

    Raises UsageError for what is no AccountSid, token or reference, Conflict when another owner has the account.
    """
    if not ACCOUNT_SID.fullmatch(account_sid):
        raise UsageError("an AccountSid is AC and 32 hexadecimal digits")
    secret = Secret(auth_token, auth_token_ref)
    known = await (await scope.conn.execute("SELECT id, owner_id FROM account_by_sid(%s)", [account_sid])).fetchone()
    if known is not None and known["owner_id"] != scope.owner_id:
        raise Conflict("this Twilio account belongs to another owner")
    account_id: UUID = known["id"] if known else new_id()
    sealed, reference = secret.stored(keyring, account_id, "auth_token")
    await scope.conn.execute(
        """
        INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token, auth_token_ref) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (owner_id, id) DO UPDATE
        SET auth_token = excluded.auth_token, auth_token_ref = excluded.auth_token_ref, updated_at = now()
        """,
        [scope.owner_id, account_id, account_sid, sealed, reference],
    )
    return account_id


async def rotate_token(
    scope: Scope,
    keyring: Keyring,
    *,
    account_sid: str,
    auth_token: str | None = None,
    auth_token_ref: str | None = None,
) -> None:
    """Accept a second token beside the first (by value or reference), or make it the only one (neither given).

    During Twilio's rotation both the primary and the secondary token may have signed. Raises NotFound, UsageError.
    """
    row = await _row(scope, account_sid)
    if auth_token is not None or auth_token_ref is not None:
        sealed, reference = Secret(auth_token, auth_token_ref).stored(keyring, row["id"], "secondary_token")
        await scope.conn.execute(
            "UPDATE twilio_accounts SET secondary_token = %s, secondary_token_ref = %s, updated_at = now() "
            "WHERE id = %s",
            [sealed, reference, row["id"]],
        )
        return
    sealed, reference = row["secondary_token"], row["secondary_token_ref"]
    if sealed is None and reference is None:
        raise UsageError("there is no second token to go over to: give it first, with --auth-token-stdin")
    if sealed is not None:
        token = keyring.open(sealed, row=f"twilio_accounts/{row['id']}/secondary_token")
        sealed = keyring.seal(token, row=f"twilio_accounts/{row['id']}/auth_token")
    await scope.conn.execute(
        "UPDATE twilio_accounts SET auth_token = %s, auth_token_ref = %s, secondary_token = NULL, "
        "secondary_token_ref = NULL, updated_at = now() WHERE id = %s",
        [sealed, reference, row["id"]],
    )


async def set_api_key(scope: Scope, keyring: Keyring, *, account_sid: str, key_sid: str, secret: Secret | None) -> None:
    """Send with that API key of the account instead of its auth token; with no secret, with the token again.

    Raises NotFound, UsageError.
    """
    row = await _row(scope, account_sid)
    if secret is not None and not API_KEY_SID.fullmatch(key_sid):
        raise UsageError("an API key's SID is SK and 32 hexadecimal digits")
    sealed, reference = secret.stored(keyring, row["id"], "api_key_secret") if secret else (None, None)
    await scope.conn.execute(
        "UPDATE twilio_accounts SET api_key_sid = %s, api_key_secret = %s, api_key_secret_ref = %s, "
        "updated_at = now() WHERE id = %s",
        [key_sid if secret else None, sealed, reference, row["id"]],
    )


async def set_public_url(scope: Scope, *, account_sid: str, public_url: str | None) -> None:
    """Where Twilio calls this account's webhooks, if not at RECADO_PUBLIC_URL. Raises NotFound, UsageError."""
    row = await _row(scope, account_sid)
    if public_url is not None:
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError("a public URL is an http:// or https:// address without user name")
        if parts.query or parts.fragment:
            raise UsageError("a public URL has no query and no fragment")
        public_url = public_url.rstrip("/")
    await scope.conn.execute(
        "UPDATE twilio_accounts SET public_url = %s, updated_at = now() WHERE id = %s", [public_url, row["id"]]
    )


async def _row(scope: Scope, account_sid: str) -> dict[str, Any]:
    cursor = await scope.conn.execute("SELECT * FROM twilio_accounts WHERE account_sid = %s", [account_sid])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no Twilio account {account_sid} of this owner")
    return row


async def row_for_sending(scope: Scope, account_id: UUID) -> dict[str, Any]:
    """The row of one of the owner's accounts, its secrets still closed. Raises NotFound."""
    cursor = await scope.conn.execute("SELECT * FROM twilio_accounts WHERE id = %s", [account_id])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("the Twilio account is gone")
    return row


async def login_in(row: Mapping[str, Any], keyring: Keyring, known: References) -> tuple[str, str]:
    """User name and password for Twilio's REST API: the account's API key if it has one, else its newest auth token.

    During a rotation that is the secondary token, which Twilio takes before and after its promotion, while the
    primary one is refused from the promotion on. Raises SecretError.
    """
    secret = await _opened(row, "api_key_secret", keyring, known)
    if secret is not None:
        return row["api_key_sid"], secret
    token = await _opened(row, "secondary_token", keyring, known) or await _opened(row, "auth_token", keyring, known)
    assert token is not None  # noqa: S101 - the table demands one
    return row["account_sid"], token


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
        UPDATE messages m
        SET status = 'received', awaits_media = EXISTS (
            SELECT FROM media WHERE media.owner_id = m.owner_id AND media.message_id = m.id
            AND media.status = 'waiting')
        FROM conversations v
        WHERE v.id = m.conversation_id AND v.number_id = %s AND m.status = 'unrouted'
          AND m.received_at > now() - interval '24 hours'
        """,
        [row["id"]],
    )
    number_id: UUID = row["id"]
    return number_id
