"""Twilio accounts as the owner adds and changes them, and their secrets: given, stored, and opened for use.

Tokens are stored encrypted, bound to their row, or as a reference to where they are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.errors import UniqueViolation

from recado import references
from recado.channels.twilio import numbers
from recado.channels.twilio.addresses import given_address
from recado.channels.twilio.sids import canonical_sid
from recado.db.scope import Scope
from recado.db.secrets import Keyring
from recado.errors import Conflict, NotFound, SecretError, UsageError
from recado.ids import new_id
from recado.references import References
from recado.urls import canonical_base

ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")
API_KEY_SID = re.compile(r"SK[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Secret:
    """An auth token or an API key's secret as the owner gives it: its value, or a reference to where it is kept."""

    value: str | None = field(default=None, repr=False)
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            references.check(self.reference)
        elif not self.value or not self.value.isascii() or not self.value.isprintable():
            raise UsageError("the auth token or secret is empty or holds characters that none has")

    def stored(
        self, keyring: Keyring, owner_id: UUID, account_id: UUID, column: str
    ) -> tuple[bytes | None, str | None]:
        """What goes into the column and into its `_ref` twin."""
        if self.value is None:
            return None, self.reference
        return keyring.seal(self.value, owner_id=owner_id, row=_place(account_id, column)), None

    def is_in(self, row: Mapping[str, Any], column: str, keyring: Keyring) -> bool:
        """Whether the row's column holds just this; one that can't be opened does not."""
        sealed = row[column]
        if self.value is None or sealed is None:
            return self.value is None and row[f"{column}_ref"] == self.reference
        try:
            return _unsealed(row, column, keyring) == self.value
        except SecretError:
            return False


def _place(account_id: UUID, column: str) -> str:
    return f"twilio_accounts/{account_id}/{column}"


def _unsealed(row: Mapping[str, Any], column: str, keyring: Keyring) -> str:
    return keyring.open(row[column], owner_id=row["owner_id"], row=_place(row["id"], column))


async def _opened(row: Mapping[str, Any], column: str, keyring: Keyring, known: References) -> str | None:
    reference, sealed = row[f"{column}_ref"], row[column]
    if reference is not None:
        return await known.resolve(reference)
    return None if sealed is None else _unsealed(row, column, keyring)


async def tokens_in(row: Mapping[str, Any], keyring: Keyring, known: References) -> tuple[str, ...]:
    """The auth tokens of a row of `twilio_accounts`, the primary one first. Raises SecretError."""
    found = [await _opened(row, column, keyring, known) for column in ("auth_token", "secondary_token")]
    return tuple(token for token in found if token is not None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What was saved, and whether it is new, another than before, or just what there was."""

    id: UUID
    outcome: Literal["made", "changed", "same"]


async def add_account(
    scope: Scope,
    keyring: Keyring,
    *,
    account_sid: str,
    auth_token: str | None = None,
    auth_token_ref: str | None = None,
    proven_at: datetime | None = None,
) -> Saved:
    """Add a Twilio account to the owner, have a removed one again, or replace its auth token.

    `proven_at` says that Twilio confirmed AccountSid and token at that moment (`proof`): then another owner who has
    only claimed the account loses it, in this transaction. Raises UsageError for what is no AccountSid, token or
    reference, Conflict when another owner has the account.
    """
    account_sid = canonical_sid(account_sid)
    if not ACCOUNT_SID.fullmatch(account_sid):
        raise UsageError("an AccountSid is AC and 32 hexadecimal digits")
    secret = Secret(auth_token, auth_token_ref)
    if proven_at is not None:
        await scope.conn.execute("SELECT lose_unproven_account(%s, %s)", [account_sid, proven_at])
    try:
        async with scope.conn.transaction():
            account_id = await _bring_back(scope, account_sid) or new_id()
            sealed, reference = secret.stored(keyring, scope.owner_id, account_id, "auth_token")
            made = await scope.conn.execute(
                """
                INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token, auth_token_ref, proven_at)
                VALUES (%s, %s, %s, %s, %s, %s)
                ON CONFLICT (owner_id, id) DO UPDATE SET
                    auth_token = excluded.auth_token, auth_token_ref = excluded.auth_token_ref,
                    proven_at = excluded.proven_at, removed_at = NULL, removed_why = NULL,
                    version = twilio_accounts.version + 1, updated_at = now()
                """,
                [scope.owner_id, account_id, account_sid, sealed, reference, proven_at],
            )
        if made.rowcount:
            return Saved(id=account_id, outcome="made")
    except UniqueViolation:  # somebody has it: this owner, or another
        pass
    try:
        row = await _row(scope, account_sid)
    except NotFound:
        raise Conflict("this Twilio account belongs to another owner") from None
    outcome = await _set_secret(scope, keyring, row, "auth_token", secret)
    if proven_at is not None and row["proven_at"] is None:
        await scope.conn.execute(
            f"UPDATE twilio_accounts SET proven_at = %s, {_TOUCH} WHERE owner_id = %s AND id = %s",  # noqa: S608 - constant
            [proven_at, scope.owner_id, row["id"]],
        )
        outcome = "changed"
    return Saved(id=row["id"], outcome=outcome)


async def _bring_back(scope: Scope, account_sid: str) -> UUID | None:
    """The account that the owner had and removed, or lost: its numbers and conversations are still there."""
    cursor = await scope.conn.execute(
        """
        SELECT id FROM twilio_accounts WHERE owner_id = %s AND account_sid = %s AND removed_at IS NOT NULL
        ORDER BY removed_at DESC LIMIT 1
        """,
        [scope.owner_id, account_sid],
    )
    row = await cursor.fetchone()
    return None if row is None else row["id"]


async def remove_account(scope: Scope, *, account_sid: str, now: datetime) -> UUID:
    """Give a Twilio account up: its secrets are deleted, its webhooks refused, and its AccountSid is free.

    What it has stays and is shown. Its numbers are unrouted, and what waits to be sent is held, until it is added
    again. Raises NotFound.
    """
    row = await _row(scope, account_sid)
    await scope.conn.execute(
        f"""
        UPDATE twilio_accounts SET
            removed_at = %s, removed_why = 'removed', auth_token = NULL, auth_token_ref = NULL, secondary_token = NULL,
            secondary_token_ref = NULL, api_key_sid = NULL, api_key_secret = NULL, api_key_secret_ref = NULL, {_TOUCH}
        WHERE owner_id = %s AND id = %s
        """,  # noqa: S608 - a constant
        [now, scope.owner_id, row["id"]],
    )
    await scope.conn.execute(
        """
        UPDATE numbers SET status = 'unrouted', version = version + 1
        WHERE owner_id = %s AND account_id = %s AND status = 'active'
        """,
        [scope.owner_id, row["id"]],
    )
    account_id: UUID = row["id"]
    return account_id


async def _set_secret(
    scope: Scope, keyring: Keyring, row: Mapping[str, Any], column: str, secret: Secret
) -> Literal["changed", "same"]:
    if secret.is_in(row, column, keyring):
        return "same"
    sealed, reference = secret.stored(keyring, scope.owner_id, row["id"], column)
    await scope.conn.execute(
        f"UPDATE twilio_accounts SET {column} = %s, {column}_ref = %s, {_TOUCH} WHERE owner_id = %s AND id = %s",  # noqa: S608 - the columns are constants
        [sealed, reference, scope.owner_id, row["id"]],
    )
    return "changed"


async def rotate_token(
    scope: Scope,
    keyring: Keyring,
    *,
    account_sid: str,
    auth_token: str | None = None,
    auth_token_ref: str | None = None,
) -> bool:
    """Accept a second token beside the first (by value or reference), or make it the only one (neither given).

    Answers whether that changed anything. During Twilio's rotation both the primary and the secondary token may have
    signed. Raises NotFound, UsageError.
    """
    row = await _row(scope, account_sid)
    if auth_token is not None or auth_token_ref is not None:
        secret = Secret(auth_token, auth_token_ref)
        return await _set_secret(scope, keyring, row, "secondary_token", secret) == "changed"
    sealed, reference = row["secondary_token"], row["secondary_token_ref"]
    if sealed is None and reference is None:
        raise UsageError("there is no second token to go over to: give it first")
    if sealed is not None:
        token = _unsealed(row, "secondary_token", keyring)
        sealed = keyring.seal(token, owner_id=scope.owner_id, row=_place(row["id"], "auth_token"))
    await scope.conn.execute(
        f"UPDATE twilio_accounts SET auth_token = %s, auth_token_ref = %s, secondary_token = NULL, "  # noqa: S608 - constant
        f"secondary_token_ref = NULL, {_TOUCH} WHERE owner_id = %s AND id = %s",
        [sealed, reference, scope.owner_id, row["id"]],
    )
    return True


async def drop_second_token(scope: Scope, *, account_sid: str) -> bool:
    """Give a rotation up: the first token alone counts again. Answers whether there was a second. Raises NotFound."""
    row = await _row(scope, account_sid)
    if row["secondary_token"] is None and row["secondary_token_ref"] is None:
        return False
    await scope.conn.execute(
        f"UPDATE twilio_accounts SET secondary_token = NULL, secondary_token_ref = NULL, {_TOUCH} "  # noqa: S608 - constant
        "WHERE owner_id = %s AND id = %s",
        [scope.owner_id, row["id"]],
    )
    return True


async def set_api_key(scope: Scope, keyring: Keyring, *, account_sid: str, key_sid: str, secret: Secret | None) -> bool:
    """Send with that API key of the account instead of its auth token; with no secret, with the token again.

    Answers whether that changed anything. Raises NotFound, UsageError.
    """
    row = await _row(scope, account_sid)
    key_sid = canonical_sid(key_sid)
    if secret is None:
        if row["api_key_sid"] is None:
            return False
    elif not API_KEY_SID.fullmatch(key_sid):
        raise UsageError("an API key's SID is SK and 32 hexadecimal digits")
    elif row["api_key_sid"] == key_sid and secret.is_in(row, "api_key_secret", keyring):
        return False
    sealed, reference = None, None
    if secret is not None:
        sealed, reference = secret.stored(keyring, scope.owner_id, row["id"], "api_key_secret")
    await scope.conn.execute(
        f"UPDATE twilio_accounts SET api_key_sid = %s, api_key_secret = %s, api_key_secret_ref = %s, {_TOUCH} "  # noqa: S608 - constant
        "WHERE owner_id = %s AND id = %s",
        [key_sid if secret else None, sealed, reference, scope.owner_id, row["id"]],
    )
    return True


async def set_public_url(scope: Scope, *, account_sid: str, public_url: str | None) -> bool:
    """Where Twilio calls this account's webhooks, if not at RECADO_PUBLIC_URL; answers whether that is another place.

    Raises NotFound, UsageError.
    """
    row = await _row(scope, account_sid)
    if public_url is not None:
        public_url = _checked_url(public_url)
    if row["public_url"] == public_url:
        return False
    await scope.conn.execute(
        f"UPDATE twilio_accounts SET public_url = %s, {_TOUCH} WHERE owner_id = %s AND id = %s",  # noqa: S608 - constant
        [public_url, scope.owner_id, row["id"]],
    )
    return True


def _checked_url(public_url: str) -> str:
    try:
        return canonical_base(public_url)
    except ValueError as error:
        raise UsageError(f"a public URL {error}") from None


_TOUCH = "version = version + 1, updated_at = now()"


async def _row(scope: Scope, account_sid: str) -> dict[str, Any]:
    """The account's row, which nobody else changes before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        """
        SELECT * FROM twilio_accounts WHERE owner_id = %s AND account_sid = %s AND removed_at IS NULL
        FOR NO KEY UPDATE
        """,
        [scope.owner_id, canonical_sid(account_sid)],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no Twilio account {account_sid} of this owner")
    return row


async def row_for_sending(scope: Scope, account_id: UUID) -> dict[str, Any]:
    """The row of one of the owner's accounts, its secrets still closed. Raises NotFound, also for a removed one."""
    cursor = await scope.conn.execute(
        "SELECT * FROM twilio_accounts WHERE id = %s AND removed_at IS NULL", [account_id]
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("the Twilio account is gone")
    return row


async def add_number(scope: Scope, *, account_sid: str, address: str, assistant_id: UUID | None) -> Saved:
    """Add a WhatsApp sender to the account, or route one that was kept as unrouted; None: the default assistant.

    Raises UsageError for what is no address, NotFound for an account that the owner does not have.
    """
    address = given_address(address)
    if not numbers.ADDRESS.fullmatch(address):
        raise UsageError("an address is whatsapp: and the number in E.164, for instance whatsapp:+14155238886")
    account = await (
        await scope.conn.execute(
            "SELECT id FROM twilio_accounts WHERE owner_id = %s AND account_sid = %s AND removed_at IS NULL",
            [scope.owner_id, canonical_sid(account_sid)],
        )
    ).fetchone()
    if account is None:
        raise NotFound(f"no Twilio account {account_sid}: add it with `recado accounts add`")
    number_id = new_id()
    made = await scope.conn.execute(
        """
        INSERT INTO numbers (owner_id, id, account_id, address, assistant_id) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (account_id, address) DO NOTHING
        """,
        [scope.owner_id, number_id, account["id"], address, assistant_id],
    )
    if made.rowcount:
        return Saved(id=number_id, outcome="made")
    known = await numbers.by_address(scope, account["id"], address)
    changed = await numbers.change(scope, known, status="active", assistant_id=known.assistant_id or assistant_id)
    return Saved(id=known.id, outcome="same" if changed == known else "changed")
