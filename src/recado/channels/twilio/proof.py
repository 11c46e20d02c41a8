"""Whether an AccountSid and an auth token belong together: asked of Twilio before the account is anybody's.

An AccountSid is no secret. Were it bound to whoever names it first, with a token that they made up, its owner could
never have it. So what Twilio confirms is proven, what it refuses is not saved, and only where it can't be asked the
account is bound unproven: that works as any other, and is lost to whoever proves that it is theirs.

A number is proven in the same way: Twilio lists it among the account's senders. A signed webhook for it is no proof,
because whoever has the account has the token and can sign one about any number.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from recado.channels.port import SendError
from recado.channels.twilio.accounts import ACCOUNT_SID, Secret, login_in, row_for_sending
from recado.channels.twilio.addresses import canonical_address, forms_of
from recado.channels.twilio.client import API_URL, MESSAGING_URL, TwilioHttp
from recado.channels.twilio.sids import canonical_sid
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.errors import NotFound, SecretError, UsageError
from recado.references import References

Verdict = Literal["proven", "refused", "unknown"]

#: The whole call, and reaching Twilio: somebody waits for it, and without it the account is bound all the same.
CALL_S: Final = 8.0
CONNECT_S: Final = 3.0
#: Twilio's codes for: these are not the account's credentials, or not such as may ask.
_REFUSALS: Final = frozenset({20003, 20005, 20006, 20008, 20404})
REFUSED: Final = "Twilio refuses this auth token for this AccountSid"
#: Twilio's sandbox: a sender of every account that no account's list holds. Nobody's telephone has that number.
SANDBOX: Final = "whatsapp:+14155238886"
#: A sender is listed from the moment that somebody names it; these are the states behind its verification by a code.
#: One that is off line is not told from one that was never verified.
_VERIFIED: Final = frozenset({"ONLINE", "ONLINE:UPDATING"})
_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 20


async def prove(account_sid: str, secret: Secret, *, api_url: str | None, known: References | None = None) -> Verdict:
    """What Twilio says of the two. `unknown`: it can't be reached, says nothing clear, or the token can't be read here.

    Raises UsageError for what is no AccountSid: it would be part of an address.
    """
    account_sid = canonical_sid(account_sid)
    if not ACCOUNT_SID.fullmatch(account_sid):
        raise UsageError("an AccountSid is AC and 32 hexadecimal digits")
    token = secret.value
    if secret.reference is not None:
        try:
            token = await (known or References()).resolve(secret.reference)
        except SecretError:
            return "unknown"
    http = TwilioHttp(timeout_s=CALL_S, connect_s=CONNECT_S, connections=1)
    # The environment is replaced: TWILIO_EDGE or TWILIO_REGION would change the host behind the settings' back.
    client = Client(account_sid, token, account_sid, http_client=http, environment={"TWILIO_ACCOUNT_SID": account_sid})
    client.api.base_url = (api_url or API_URL).rstrip("/")
    try:
        found = await client.api.v2010.accounts(account_sid).fetch_async()
    except SendError as error:
        return "refused" if error.code in _REFUSALS else "unknown"
    except (TwilioException, ValueError, TypeError, KeyError, AttributeError):
        return "unknown"  # an answer from something else
    finally:
        await http.aclose()
    return "proven" if found.sid == account_sid else "unknown"


async def senders_of(
    account_sid: str, login: tuple[str, str], *, messaging_url: str | None, http: TwilioHttp | None = None
) -> frozenset[str] | None:
    """The account's WhatsApp senders that Twilio has verified, in every form of their number; None: it does not say.

    `login` is user name and password. Only the whole list says that something is not on it, so a part of it is None.
    """
    own = http or TwilioHttp(timeout_s=CALL_S, connect_s=CONNECT_S, connections=1)
    client = Client(*login, account_sid, http_client=own, environment={"TWILIO_ACCOUNT_SID": account_sid})
    client.messaging.base_url = (messaging_url or MESSAGING_URL).rstrip("/")
    found: set[str] = set()
    try:
        async with asyncio.timeout(CALL_S):
            page = await client.messaging.v2.channels_senders.page_async(channel="whatsapp", page_size=_PAGE_SIZE)
            for _ in range(_MAX_PAGES):
                for sender in page:
                    if sender.status in _VERIFIED and isinstance(sender.sender_id, str):
                        found.update(forms_of(canonical_address(sender.sender_id)))
                following = await page.next_page_async()
                if following is None:
                    return frozenset(found)
                page = following
    except (SendError, TimeoutError, TwilioException, ValueError, TypeError, KeyError, AttributeError):
        pass  # not to be had, or an answer from something else
    finally:
        if http is None:
            await own.aclose()
    return None


async def senders_of_ours(
    pool: Pool, keyring: Keyring, owner_id: UUID, account_id: UUID, *, messaging_url: str | None
) -> frozenset[str] | None:
    """`senders_of` one of the owner's accounts, in no transaction meanwhile; None too where it can't be asked."""
    try:
        async with scoped(pool, owner_id) as scope:
            row = await row_for_sending(scope, account_id)
        login = await login_in(row, keyring, References())
    except (NotFound, SecretError):
        return None
    return await senders_of(row["account_sid"], login, messaging_url=messaging_url)


async def keep_senders(scope: Scope, account_id: UUID, listed: frozenset[str] | None, *, now: datetime) -> None:
    """Have the account's numbers proven that Twilio lists, and no others; with None only what is every account's.

    A number that another account had proven is that account's no longer. Nothing is proven of an unproven account.
    """
    await scope.conn.execute(
        "SELECT prove_numbers(%s, %s, %s, %s)",
        [account_id, None if listed is None else sorted(listed), [SANDBOX], now],
    )
