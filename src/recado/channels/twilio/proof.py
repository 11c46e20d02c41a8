"""Whether an AccountSid and an auth token belong together: asked of Twilio before the account is anybody's.

An AccountSid is no secret. Were it bound to whoever names it first, with a token that they made up, its owner could
never have it. So what Twilio confirms is proven, what it refuses is not saved, and only where it can't be asked the
account is bound unproven: that works as any other, and is lost to whoever proves that it is theirs.
"""

from __future__ import annotations

from typing import Final, Literal

from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from recado.channels.port import SendError
from recado.channels.twilio.accounts import ACCOUNT_SID, Secret
from recado.channels.twilio.client import API_URL, TwilioHttp
from recado.errors import SecretError, UsageError
from recado.references import References

Verdict = Literal["proven", "refused", "unknown"]

#: The whole call, and reaching Twilio: somebody waits for it, and without it the account is bound all the same.
CALL_S: Final = 8.0
CONNECT_S: Final = 3.0
#: Twilio's codes for: these are not the account's credentials, or not such as may ask.
_REFUSALS: Final = frozenset({20003, 20005, 20006, 20008, 20404})
REFUSED: Final = "Twilio refuses this auth token for this AccountSid"


async def prove(account_sid: str, secret: Secret, *, api_url: str | None, known: References | None = None) -> Verdict:
    """What Twilio says of the two. `unknown`: it can't be reached, says nothing clear, or the token can't be read here.

    Raises UsageError for what is no AccountSid: it would be part of an address.
    """
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
