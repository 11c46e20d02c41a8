"""Twilio's list of an account's messages, both ways: the witness of what was said while a database was not there.

Source: https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources. A message of a
contact that is read here is told again in a webhook's parameters, as far as the list goes: no name, no buttons, no
place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from recado.channels.port import ErrorClass, Listed, Media, SendError
from recado.channels.twilio.addresses import canonical_address, is_scoped_id
from recado.channels.twilio.client import API_URL, TwilioSender
from recado.channels.twilio.codes import owner_text

_PAGE_SIZE: Final = 1000
#: A page that Twilio does not give for the moment is asked for so often; the pauses double from the first on.
_TRIES, _PAUSE_S, _LONGEST_PAUSE_S = 4, 0.5, 30.0
#: Among the parameters of what was taken from the list, and of nothing that Twilio posts.
MARK: Final = "RecadoTakenFrom"
LIST: Final = "list"


class TwilioArchive:
    """`Archive` of one Twilio account, with its sender's login and connections."""

    def __init__(self, sender: TwilioSender, account_sid: str, *, api_url: str | None = None) -> None:
        self._sender = sender
        self._url = (api_url or API_URL).rstrip("/")
        self._path = f"/2010-04-01/Accounts/{account_sid}/Messages"

    async def since(self, moment: datetime) -> list[Listed]:
        """Every message since that moment, of this machine's clock, in Twilio's order. Raises SendError.

        Not filtered by DateSent: what is still queued has none. Twilio lists the newest first, so the first page that
        is older as a whole ends it.
        """
        found: list[Listed] = []
        seen: set[str] = set()
        query: dict[str, str] | None = {"PageSize": str(_PAGE_SIZE)}
        while query is not None:
            page = await self._page(f"{self._url}{self._path}.json", query)
            oldest = (moment + self._sender.ahead).replace(microsecond=0)
            records = page.get("messages")
            if not isinstance(records, list):
                raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
            made = [(_created(record), record) for record in records]
            recent = [(at, record) for at, record in made if at is None or at >= oldest]
            for at, record in recent:
                one = _listed(record, at or datetime.now(UTC), self._sender)
                if one is not None and one.sid not in seen:
                    seen.add(one.sid)
                    found.append(one)
            following = page.get("next_page_uri")
            # Its query only: where the login goes is ours to say, not the answer's.
            query = _query(following) if recent and isinstance(following, str) and following else None
        return found[::-1]

    async def media(self, sid: str) -> list[Media]:
        """The message's attachments, as its webhook announced them. Raises SendError."""
        page = await self._page(f"{self._url}{self._path}/{sid}/Media.json", {"PageSize": "50"})
        listed = page.get("media_list")
        found = []
        for one in listed if isinstance(listed, list) else ():
            match one:
                case {"sid": str(media_sid), "content_type": str(content_type)} if media_sid.isalnum():
                    url = f"{self._url}{self._path}/{sid}/Media/{media_sid}"
                    found.append(Media(url=url, content_type=content_type))
        return found

    async def _page(self, url: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """One page; a limit of Twilio's and a broken connection are waited out, as reading twice does no harm."""
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                return await self._sender.ask("GET", url, params=dict(query))
            except SendError as error:
                if tries_left == 0 or error.error_class not in (ErrorClass.RETRY, ErrorClass.UNKNOWN):
                    raise
                pause_s = max(error.retry_after_s or 0.0, _PAUSE_S * 2.0 ** (_TRIES - 1 - tries_left))
            await asyncio.sleep(min(pause_s, _LONGEST_PAUSE_S))
        raise AssertionError("unreachable")


def as_posted(listed: Listed, media: Sequence[Media], *, account_sid: str) -> list[tuple[str, str]]:
    """The parameters of a webhook for a contact's message that Twilio lists, marked as taken from there."""
    sender = canonical_address(listed.from_ or "")
    parameters = [
        ("AccountSid", account_sid),
        ("MessageSid", listed.sid),
        ("SmsStatus", "received"),
        ("From", listed.from_ or ""),
        ("To", listed.to),
        ("Body", listed.body),
        ("NumMedia", str(len(media))),
        (MARK, LIST),
    ]
    if not is_scoped_id(sender) and sender.startswith("whatsapp:+"):
        parameters.append(("WaId", sender.removeprefix("whatsapp:+")))
    if listed.messaging_service_sid:
        parameters.append(("MessagingServiceSid", listed.messaging_service_sid))
    for index, one in enumerate(media):
        parameters += [(f"MediaUrl{index}", one.url), (f"MediaContentType{index}", one.content_type)]
    return parameters


def _query(uri: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(uri).query).items()}


def _created(record: Any) -> datetime | None:
    try:
        at = parsedate_to_datetime(record["date_created"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _listed(record: Any, at: datetime, sender: TwilioSender) -> Listed | None:
    """The record as ours, its time by this machine's clock; None when it is none."""
    match record:
        case {"sid": str(sid), "status": str(status), "direction": str(direction)} if sid.isalnum():
            pass
        case _:
            return None
    code, files = record.get("error_code"), str(record.get("num_media") or "")
    service = record.get("messaging_service_sid")
    return Listed(
        sid=sid,
        inbound=direction == "inbound",
        status=status,
        created_at=at - sender.ahead,
        body=str(record.get("body") or ""),
        to=str(record.get("to") or ""),
        from_=str(record["from"]) if record.get("from") else None,
        num_media=int(files) if files.isdecimal() else 0,
        error_code=code if isinstance(code, int) else None,
        messaging_service_sid=service if isinstance(service, str) else None,
    )
