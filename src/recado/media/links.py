"""Links to attachments for whoever has no login: Twilio, and pages of the console. Each opens one, for a while.

A link's token is a sealed secret of the keyring's: nobody can make or change one, and it shows no id. With a new key
in front the old links work on; when a key is taken away the links made with it end.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from recado.db.secrets import Keyring
from recado.errors import NotFound, SecretError

_ROW = "media link"
PATH = "/media/"


def sign(keyring: Keyring, owner_id: UUID, media_id: UUID, *, expires_at: datetime) -> str:
    """A token that opens this attachment of this owner until then."""
    named = owner_id.bytes + media_id.bytes + int(expires_at.timestamp()).to_bytes(8)
    sealed = keyring.seal(base64.b85encode(named).decode(), owner_id=None, row=_ROW)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def read(keyring: Keyring, token: str, *, now: datetime) -> tuple[UUID, UUID]:
    """Owner and attachment of a token. Raises NotFound for one that is not ours, was changed, or has expired."""
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        named = base64.b85decode(keyring.open(sealed, owner_id=None, row=_ROW))
    except (SecretError, binascii.Error, ValueError):
        raise NotFound("no such link") from None
    if int.from_bytes(named[32:]) <= now.timestamp():
        raise NotFound("no such link")
    return UUID(bytes=named[:16]), UUID(bytes=named[16:32])


def link(public_url: str, token: str) -> str:
    """The address that serves the attachment of a token."""
    return f"{public_url.rstrip('/')}{PATH}{token}"
