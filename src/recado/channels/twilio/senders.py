"""One sender for each Twilio account of a process, over shared connections; what changes is noticed within a minute."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from recado.channels.port import Archive, Contents, Eraser, ErrorClass, Sender, SendError
from recado.channels.twilio.accounts import login_in, row_for_sending
from recado.channels.twilio.archive import TwilioArchive
from recado.channels.twilio.client import TwilioHttp, TwilioSender
from recado.channels.twilio.content import ContentApi
from recado.channels.twilio.deleting import TwilioEraser
from recado.channels.twilio.directory import CACHE_S, REFERENCED_S
from recado.channels.twilio.proof import senders_of
from recado.db.changes import Change
from recado.db.lookup import Lookup
from recado.db.pool import Pool, Row, persistently
from recado.db.scope import scoped
from recado.db.secrets import Keyring
from recado.errors import NotFound, SecretError
from recado.references import References

#: The whole of a call to Twilio; `journey/deliver` waits longer than this before it believes that nothing was taken.
CALL_S = 10.0
_REFERENCES = ("auth_token_ref", "secondary_token_ref", "api_key_secret_ref")


class Login(NamedTuple):
    """What Twilio's REST API asks for. `basic` is user name and password."""

    account_sid: str
    basic: tuple[str, str]

    def __repr__(self) -> str:
        """Without the password."""
        return f"Login({self.account_sid})"


class Senders:
    """Senders by account, made when first asked for."""

    def __init__(
        self,
        pool: Pool,
        keyring: Keyring,
        *,
        api_url: str | None,
        messaging_url: str | None,
        content_url: str | None = None,
        known: References | None = None,
        http: TwilioHttp | None = None,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._api_url = api_url
        self._messaging_url = messaging_url
        self._content_url = content_url
        self._references = known or References()
        self._http = http or TwilioHttp(timeout_s=CALL_S)
        self._known: Lookup[tuple[UUID, UUID], tuple[TwilioSender, Login, float]] = Lookup(
            self._make, lambda made: made[2]
        )

    async def of(self, owner_id: UUID, account_id: UUID) -> Sender:
        """The sender of the owner's account.

        Raises SendError, class configuration, when the account is gone or its token can't be read.
        """
        return (await self._known.get((owner_id, account_id)))[0]

    async def login_of(self, owner_id: UUID, account_id: UUID) -> Login:
        """AccountSid, and user name and password, of the owner's account. Raises SendError like `of`."""
        return (await self._known.get((owner_id, account_id)))[1]

    async def listed_of(self, owner_id: UUID, account_id: UUID) -> frozenset[str] | None:
        """What Twilio lists as the account's own senders; None where it does not say (`proof.senders_of`)."""
        try:
            login = await self.login_of(owner_id, account_id)
        except SendError:
            return None
        url = self._messaging_url or self._api_url
        return await senders_of(login.account_sid, login.basic, messaging_url=url, http=self._http)

    async def contents_of(self, owner_id: UUID, account_id: UUID) -> Contents:
        """The Content API of the owner's account. Raises SendError like `of`."""
        sender = (await self._known.get((owner_id, account_id)))[0]
        return ContentApi(sender, content_url=self._content_url or self._api_url)

    async def eraser_of(self, owner_id: UUID, account_id: UUID) -> Eraser:
        """What deletes at the owner's account. Raises SendError like `of`."""
        sender = (await self._known.get((owner_id, account_id)))[0]
        return TwilioEraser(sender, content_url=self._content_url or self._api_url)

    async def archive_of(self, owner_id: UUID, account_id: UUID) -> Archive:
        """What Twilio lists of the owner's account. Raises SendError like `of`."""
        sender, login, _ = await self._known.get((owner_id, account_id))
        return TwilioArchive(sender, login.account_sid, api_url=self._api_url)

    def forget(self, change: Change | None) -> None:
        """Forget the senders that the change touches; all, when there may have been changes that nobody told of."""
        if change is None:
            self._known.forget()
        elif change.table == "twilio_accounts":
            self._known.forget(lambda key, _: key[1] == change.id)

    async def _make(self, key: tuple[UUID, UUID]) -> tuple[TwilioSender, Login, float]:
        owner_id, account_id = key

        async def look_up() -> Row:
            async with scoped(self._pool, owner_id) as scope:
                return await row_for_sending(scope, account_id)

        try:
            row = await persistently(look_up)
            username, password = await login_in(row, self._keyring, self._references)
        except (NotFound, SecretError) as error:
            raise SendError(ErrorClass.CONFIGURATION, str(error)) from None
        sender = TwilioSender(
            account_sid=row["account_sid"],
            username=username,
            password=password,
            api_url=self._api_url,
            messaging_url=self._messaging_url or self._api_url,
            http=self._http,
        )
        kept_s = CACHE_S if all(row[column] is None for column in _REFERENCES) else REFERENCED_S
        return sender, Login(row["account_sid"], (username, password)), kept_s

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
