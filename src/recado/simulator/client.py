"""The simulator from Python: what the demo, tests and benchmarks use to be contacts, to cause faults, and to look."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp

from recado.errors import RecadoError
from recado.simulator.views import (
    Bubble,
    RestCall,
    Sent,
    Template,
    Violation,
    WebhookPost,
    attempts_of,
    bubble_of,
    of,
    sent_of,
)

T = TypeVar("T")


class SimulatorError(RecadoError):
    """The control API refused a call; the text says why."""


class SimulatorClient:
    """The control API of one simulator; use it as an async context manager, or call `close`."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        *,
        data: bytes | None = None,
        content_type: str | None = None,
    ) -> Any:
        """One call of the control API, with JSON or, where given, with `data` as its body.

        Raises:
            SimulatorError: it was refused.
            aiohttp.ClientError: nothing listens there.

        """
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        headers = {"Content-Type": content_type} if content_type is not None else None
        sent = {"json": body} if data is None else {"data": io.BytesIO(data)}
        url = f"{self.base_url}/sim{path}"
        async with self._open().request(method, url, params=given, headers=headers, **sent) as response:
            if response.status >= 400:
                raise SimulatorError(f"{method} /sim{path}: {response.status} {await response.text()}")
            return None if response.status == 204 else await response.json()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        return self._session

    async def add_account(
        self, account_sid: str, auth_tokens: str | Sequence[str], *, api_keys: Mapping[str, str] | None = None
    ) -> None:
        """Add an account or replace its secrets; the first token is the primary one, which signs webhooks."""
        tokens = [auth_tokens] if isinstance(auth_tokens, str) else list(auth_tokens)
        body = {"account_sid": account_sid, "auth_tokens": tokens, "api_keys": dict(api_keys or {})}
        await self.call("POST", "/accounts", body)

    async def add_number(
        self,
        account_sid: str,
        address: str,
        webhook_url: str | None = None,
        *,
        status_callback_url: str | None = None,
        messaging_service_sid: str | None = None,
        status: str = "ONLINE",
    ) -> None:
        """Add a number to an account, or replace its webhooks; `status` is what the Senders API says of it."""
        body = {
            "account_sid": account_sid,
            "address": address,
            "webhook_url": webhook_url,
            "status_callback_url": status_callback_url,
            "messaging_service_sid": messaging_service_sid,
            "status": status,
        }
        await self.call("POST", "/numbers", body)

    async def send(
        self,
        body: str,
        *,
        account_sid: str,
        from_: str,
        to: str,
        profile_name: str | None = None,
        params: Mapping[str, str | None] | None = None,
        message_sid: str | None = None,
        wait: bool = True,
        **writing: Any,
    ) -> Sent:
        """A contact writes; with `wait`, returns after the webhook was answered (and retried).

        `writing` are fields of `kinds.Writing`, for what is more than words, and `files`; `handset.Phone` names them.
        """
        form = {
            "account_sid": account_sid,
            "from": from_,
            "to": to,
            "body": body,
            "profile_name": profile_name,
            "params": dict(params or {}),
            "message_sid": message_sid,
            "wait": wait,
            **writing,
        }
        return sent_of(await self.call("POST", "/messages", form))

    async def keep_file(
        self, data: bytes, *, account_sid: str, content_type: str, file_name: str = "", recording: bool = False
    ) -> str:
        """Hand over a file that a contact is about to send; its sid. A recording becomes Ogg with Opus.

        Raises:
            SimulatorError: WhatsApp would not take it.

        """
        query = {"account_sid": account_sid, "file_name": file_name}
        if recording:
            query["recording"] = "true"
        answer = await self.call("POST", "/files", query=query, data=data, content_type=content_type)
        return str(answer["sid"])

    async def file(self, sid: str) -> bytes:
        """The bytes of a file, as the phone gets them."""
        async with self._open().get(f"{self.base_url}/sim/media/{sid}") as response:
            if response.status >= 400:
                raise SimulatorError(f"GET /sim/media/{sid}: {response.status}")
            return await response.read()

    async def tap(self, message_sid: str, choice: str, *, wait: bool = True) -> Sent:
        """Tap a button or choose an item of a list, by its id or title, on a message that the contact got."""
        return sent_of(await self.call("POST", f"/messages/{message_sid}/tap", {"choice": choice, "wait": wait}))

    async def resend(self, message_sid: str, *, times: int = 1, wait: bool = True) -> Sent:
        """Post the same inbound webhook again, `times` at once."""
        return sent_of(await self.call("POST", f"/messages/{message_sid}/resend", {"times": times, "wait": wait}))

    async def threads(self) -> list[dict[str, Any]]:
        """The contact list, latest first: account_sid, number, contact, name, unread, typing_s, messages, last."""
        answer = await self.call("GET", "/threads")
        return list(answer["threads"])

    async def thread(self, contact: str, *, account_sid: str | None = None, number: str | None = None) -> list[Bubble]:
        """All that this contact wrote and was sent, in the order in which Twilio took it."""
        query = {"account_sid": account_sid, "number": number}
        answer = await self.call("GET", f"/threads/{quote(contact, safe='')}", query=query)
        return [bubble_of(item) for item in answer["messages"]]

    async def replies(self, contact: str, *, account_sid: str | None = None, number: str | None = None) -> list[Bubble]:
        """What this contact was sent, in the order in which Twilio took it."""
        thread = await self.thread(contact, account_sid=account_sid, number=number)
        return [bubble for bubble in thread if not bubble.inbound]

    async def read(self, contact: str, *, account_sid: str, number: str) -> int:
        """The contact looks at the thread: delivered messages become read; how many."""
        body = {"account_sid": account_sid, "number": number, "contact": contact}
        return int((await self.call("POST", "/read", body))["read"])

    async def window(self, contact: str, left_s: float, *, account_sid: str, number: str) -> None:
        """Let the 24-hour window end in `left_s` seconds; 0 closes it now, and the next message opens it again."""
        body = {"account_sid": account_sid, "number": number, "contact": contact, "left_s": left_s}
        await self.call("POST", "/window", body)

    async def wait_for(
        self, predicate: Callable[[], Awaitable[T]], timeout_s: float = 10.0, *, every_s: float = 0.02, what: str = ""
    ) -> T:
        """Ask again and again until the predicate gives something true, and return that.

        Raises:
            TimeoutError: it did not, within `timeout_s`; says `what` was waited for and what it gave last.

        """
        ends = time.monotonic() + timeout_s
        while True:
            given = await predicate()
            if given:
                return given
            if time.monotonic() >= ends:
                raise TimeoutError(f"not within {timeout_s:g} s: {what or predicate!r}; last: {given!r}")
            await asyncio.sleep(every_s)

    async def wait_for_replies(
        self, contact: str, count: int, timeout_s: float = 10.0, *, status: str | Sequence[str] | None = None
    ) -> list[Bubble]:
        """The contact's replies, once there are `count` at least and, where given, all have (one of) this status.

        Raises:
            TimeoutError: that did not happen within `timeout_s`.

        """
        statuses = {status} if isinstance(status, str) else set(status or ())

        async def there() -> list[Bubble] | None:
            replies = await self.replies(contact)
            fits = len(replies) >= count and (not statuses or all(reply.status in statuses for reply in replies))
            return replies if fits else None

        found = await self.wait_for(there, timeout_s, what=f"{count} replies to {contact} {sorted(statuses)}")
        return found or []

    async def add_fault(self, preset: str | None = None, **fault: Any) -> str:
        """Put a fault in force and return its id: a preset's name, the fields of `faults.Fault`, or both."""
        if "from_" in fault:
            fault["from"] = fault.pop("from_")
        answer = await self.call("POST", f"/faults/{preset}" if preset else "/faults", fault)
        return str(answer["id"])

    async def faults(self) -> list[dict[str, Any]]:
        """The faults in force, with id, hits and spent."""
        return list((await self.call("GET", "/faults"))["faults"])

    async def remove_fault(self, fault_id: str) -> None:
        """End one fault."""
        await self.call("DELETE", f"/faults/{fault_id}")

    async def clear_faults(self) -> None:
        """End all faults."""
        await self.call("DELETE", "/faults")

    async def calls(self, *, after: int = 0) -> list[RestCall]:
        """The REST calls after that `seq`, in the order in which they were answered."""
        answer = await self.call("GET", "/calls", query={"after": after})
        return [of(RestCall, item) for item in answer["calls"]]

    async def webhooks(self, *, kind: str | None = None, sid: str | None = None) -> list[WebhookPost]:
        """The webhooks posted so far, of this kind and about this message where given."""
        answer = await self.call("GET", "/webhooks", query={"kind": kind, "sid": sid})
        return [of(WebhookPost, {**item, "attempts": attempts_of(item)}) for item in answer["webhooks"]]

    async def violations(self) -> list[Violation]:
        """The credentials that the host of files has seen: none, if all is well."""
        return [of(Violation, item) for item in (await self.call("GET", "/violations"))["violations"]]

    async def templates(self, *, account_sid: str | None = None) -> list[Template]:
        """The contents of this account, or of all."""
        answer = await self.call("GET", "/templates", query={"account_sid": account_sid})
        return [of(Template, item) for item in answer["templates"]]

    async def decide(self, content_sid: str, status: str, *, rejection_reason: str = "") -> None:
        """WhatsApp decides about a template: approved, rejected, paused, ..."""
        body = {"status": status, "rejection_reason": rejection_reason}
        await self.call("POST", f"/templates/{content_sid}/approval", body)

    async def pace(self, **changes: float | bool) -> dict[str, Any]:
        """Change `sent_ms`, `delivered_ms`, `read_ms`, `auto_read`, `media_ms`, `approved_ms`; returns all."""
        return dict(await self.call("POST", "/pace", changes))

    async def reset(self) -> None:
        """Drop messages, threads, faults and logs; accounts, numbers and the pace stay."""
        await self.call("POST", "/reset")
