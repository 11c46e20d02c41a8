"""Whose webhook is it, which tokens may have signed it, at which number did it come.

A look-up is remembered for a minute at most, and until it changes (`db/changes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from recado.channels.twilio.accounts import ACCOUNT_SID, tokens_in
from recado.channels.twilio.sids import canonical_sid
from recado.db.changes import Change
from recado.db.lookup import Lookup
from recado.db.pool import Pool, Row, once_more
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.errors import SecretError
from recado.ids import new_id
from recado.references import References

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
        account_sid = canonical_sid(account_sid)
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
