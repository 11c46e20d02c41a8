"""One sender for each Twilio account of a process, over shared connections; a token changed is noticed in a minute."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from recado.channels.port import ErrorClass, Sender, SendError
from recado.channels.twilio.accounts import tokens_of
from recado.channels.twilio.client import TwilioHttp, TwilioSender
from recado.db.pool import Pool, persistently
from recado.db.scope import scoped
from recado.db.secrets import Keyring
from recado.errors import NotFound, SecretError

CACHE_S = 60.0
#: The whole of a call to Twilio; `journey/deliver` waits longer than this before it believes that nothing was taken.
CALL_S = 10.0


@dataclass(slots=True)
class Senders:
    """Senders by account, made when first asked for."""

    pool: Pool
    keyring: Keyring
    api_url: str | None
    messaging_url: str | None
    _http: TwilioHttp = field(default_factory=lambda: TwilioHttp(timeout_s=CALL_S))
    _cache: dict[UUID, tuple[float, TwilioSender]] = field(default_factory=dict)

    async def of(self, owner_id: UUID, account_id: UUID) -> Sender:
        """The sender of the owner's account.

        Raises SendError, class configuration, when the account is gone or its token can't be opened.
        """
        now = time.monotonic()
        cached = self._cache.get(account_id)
        if cached is not None and cached[0] > now:
            return cached[1]

        async def look_up() -> tuple[str, tuple[str, ...]]:
            async with scoped(self.pool, owner_id) as scope:
                return await tokens_of(scope, self.keyring, account_id)

        try:
            account_sid, tokens = await persistently(look_up)
        except (NotFound, SecretError) as error:
            raise SendError(ErrorClass.CONFIGURATION, str(error)) from None
        sender = TwilioSender(
            account_sid=account_sid,
            username=account_sid,
            password=tokens[0],
            api_url=self.api_url,
            messaging_url=self.messaging_url or self.api_url,
            http=self._http,
        )
        self._cache[account_id] = (now + CACHE_S, sender)
        return sender

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
