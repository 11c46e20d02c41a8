"""Deleting what Twilio keeps of messages: their records, their files, and what was made to be sent.

Sources: https://www.twilio.com/docs/messaging/api/message-resource#delete-a-message-resource,
https://www.twilio.com/docs/messaging/api/media-resource#delete-a-media-resource and
https://www.twilio.com/docs/content/content-api-resources. Each may be asked again: what is gone is 404.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from recado.channels.port import SendError, Sent
from recado.channels.twilio.client import NOT_FOUND, TwilioSender
from recado.channels.twilio.content import CONTENT_URL
from recado.errors import UsageError

#: Twilio's code for a message that can't be deleted before its delivery has ended.
NOT_FINAL: Final = 20009
#: Files of a message that are looked for; WhatsApp carries one, other channels ten.
_FILES: Final = 50
#: What is put into a URL has the form of a SID and nothing else.
_SID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")


class TwilioEraser:
    """An `Eraser` of one Twilio account, with its sender's login and connections."""

    def __init__(self, sender: TwilioSender, *, content_url: str | None = None) -> None:
        self._sender = sender
        self._content_url = (content_url or CONTENT_URL).rstrip("/")

    async def erase(self, message_sid: str, *, with_media: bool) -> int | None:
        """See `Eraser`. Files go first: without its message nothing leads to them."""
        message = self._sender.account_url(f"Messages/{_checked(message_sid)}")
        files = 0
        if with_media:
            files = await self._erase_files(message)
        return files if await self._sender.delete(f"{message}.json") else None

    async def _erase_files(self, message: str) -> int:
        try:
            page = await self._sender.ask("GET", f"{message}/Media.json", params={"PageSize": str(_FILES)})
        except SendError as error:
            if error.code != NOT_FOUND:
                raise
            return 0
        gone = 0
        for one in page.get("media_list") or []:
            sid = one.get("sid") if isinstance(one, dict) else None
            if isinstance(sid, str) and _SID.fullmatch(sid):
                gone += await self._sender.delete(f"{message}/Media/{sid}.json")
        return gone

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        """See `Sender.find`."""
        return await self._sender.find(to=to, from_=from_, since=since)

    async def erase_content(self, content_sid: str) -> bool:
        """See `Eraser`."""
        return await self._sender.delete(f"{self._content_url}/v1/Content/{_checked(content_sid)}")


def _checked(sid: str) -> str:
    if _SID.fullmatch(sid) is None:
        raise UsageError("not a SID of Twilio's")
    return sid
