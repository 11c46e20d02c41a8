"""Twilio's Content API: buttons and lists are made there before they are sent, templates are approved there.

Source: https://www.twilio.com/docs/content/content-api-resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recado.channels.port import ErrorClass, SendError, Template
from recado.channels.twilio.client import TwilioSender
from recado.channels.twilio.codes import owner_text
from recado.text import all_storable

CONTENT_URL = "https://content.twilio.com"

_PAGE_SIZE = 500
_MAX_PAGES = 40


class ContentApi:
    """`Contents` of one Twilio account, with its sender's login and connections."""

    def __init__(self, sender: TwilioSender, *, content_url: str | None = None) -> None:
        self._sender = sender
        self._url = (content_url or CONTENT_URL).rstrip("/")

    async def create(self, definition: Mapping[str, Any]) -> str:
        """Have it made; answers its ContentSid. Raises `SendError`."""
        made = await self._sender.ask("POST", f"{self._url}/v1/Content", data=dict(definition))
        sid = made.get("sid")
        if not isinstance(sid, str) or not sid.startswith("HX"):
            raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
        return sid

    async def templates(self) -> list[Template]:
        """Every content of the account with its approval, over all pages. Raises `SendError`."""
        found: list[Template] = []
        query: dict[str, str] = {"PageSize": str(_PAGE_SIZE)}
        for _ in range(_MAX_PAGES):
            page = await self._sender.ask("GET", f"{self._url}/v1/ContentAndApprovals", params=query)
            found += [made for made in map(_template, page.get("contents") or []) if made is not None]
            meta = page.get("meta")
            following = meta.get("next_page_url") if isinstance(meta, dict) else None
            if not isinstance(following, str) or not following:
                return found
            # Its query only: where the login goes is ours to say, not the answer's.
            query = {name: values[-1] for name, values in parse_qs(urlsplit(following).query).items()}
        raise SendError(ErrorClass.UNKNOWN, "Twilio lists more templates than can be read.")


def _template(listed: Any) -> Template | None:
    """One entry of the list, or None when it is none."""
    content = all_storable(listed)
    match content:
        case {"sid": str(sid), "language": str(language), "types": dict(types)} if types:
            pass
        case _:
            return None
    approval = content.get("approval_requests")
    approval = approval if isinstance(approval, dict) else {}
    content_type = str(approval.get("content_type") or next(iter(types)))
    bodies = (one.get("body") for one in types.values() if isinstance(one, dict))
    return Template(
        content_sid=sid,
        name=str(content.get("friendly_name") or approval.get("name") or sid),
        language=language,
        category=str(approval["category"]) if approval.get("category") else None,
        status=str(approval.get("status") or "unsubmitted"),
        rejection_reason=str(approval["rejection_reason"]) if approval.get("rejection_reason") else None,
        content_type=content_type,
        body=next((body for body in bodies if isinstance(body, str)), ""),
        types=types,
        mended=tuple(sorted(name for name, value in content.items() if listed.get(name) != value)),
    )
