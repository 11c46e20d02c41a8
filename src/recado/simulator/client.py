"""The simulator from Python: what the demo, tests and benchmarks use to be contacts, to cause faults, and to look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp

from recado.errors import RecadoError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble:
    """A message on a contact's phone; `status` is Twilio's word, times are seconds since the epoch."""

    seq: int
    sid: str
    account_sid: str
    number: str
    contact: str
    direction: str
    body: str
    media_urls: list[str]
    status: str
    error_code: int | None
    created_at: float
    sent_at: float | None
    delivered_at: float | None
    read_at: float | None
    webhook_statuses: list[int | None]
    acknowledged: bool

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAttempt:
    """One POST to a webhook; `error` is `ct` or `rt` when no answer came."""

    status: int | None
    error: str | None
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A contact's message and what its webhook answered; no attempts when the call did not wait."""

    sid: str
    attempts: tuple[WebhookAttempt, ...]

    @property
    def statuses(self) -> list[int | None]:
        return [attempt.status for attempt in self.attempts]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestCall:
    """A call of Twilio's REST API; `status` 0 means that the connection was cut, `faulted` names the faults."""

    seq: int
    at: float
    method: str
    path: str
    form: dict[str, str]
    operation: str
    status: int
    sid: str | None
    faulted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPost:
    """A webhook as it was posted; `kind` is `inbound` or `callback`; no attempts when a fault lost it."""

    at: float
    kind: str
    sid: str
    url: str
    params: dict[str, str]
    attempts: tuple[WebhookAttempt, ...]


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

    async def call(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """One call of the control API.

        Raises:
            SimulatorError: it was refused.
            aiohttp.ClientError: nothing listens there.

        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        async with self._session.request(method, f"{self.base_url}/sim{path}", json=body, params=given) as response:
            if response.status >= 400:
                raise SimulatorError(f"{method} /sim{path}: {response.status} {await response.text()}")
            return None if response.status == 204 else await response.json()

    async def wait_until_up(self, timeout_s: float = 10.0) -> None:
        """Return when the simulator answers.

        Raises:
            TimeoutError: it does not, within `timeout_s`.

        """

        async def up() -> bool:
            try:
                return bool((await self.call("GET", "/health"))["ok"])
            except (aiohttp.ClientError, OSError):
                return False

        await self.wait_for(up, timeout_s)

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
    ) -> None:
        """Add a number to an account, or replace its webhooks."""
        body = {
            "account_sid": account_sid,
            "address": address,
            "webhook_url": webhook_url,
            "status_callback_url": status_callback_url,
            "messaging_service_sid": messaging_service_sid,
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
    ) -> Sent:
        """A contact writes; with `wait`, returns after the webhook was answered (and retried)."""
        form = {
            "account_sid": account_sid,
            "from": from_,
            "to": to,
            "body": body,
            "profile_name": profile_name,
            "params": dict(params or {}),
            "message_sid": message_sid,
            "wait": wait,
        }
        return _sent(await self.call("POST", "/messages", form))

    async def resend(self, message_sid: str, *, times: int = 1, wait: bool = True) -> Sent:
        """Post the same inbound webhook again, `times` at once."""
        return _sent(await self.call("POST", f"/messages/{message_sid}/resend", {"times": times, "wait": wait}))

    async def threads(self) -> list[dict[str, Any]]:
        """The contact list, latest first: account_sid, number, contact, name, unread, typing_s, messages, last."""
        answer = await self.call("GET", "/threads")
        return list(answer["threads"])

    async def thread(self, contact: str, *, account_sid: str | None = None, number: str | None = None) -> list[Bubble]:
        """All that this contact wrote and was sent, in the order in which Twilio took it."""
        query = {"account_sid": account_sid, "number": number}
        answer = await self.call("GET", f"/threads/{quote(contact, safe='')}", query=query)
        return [_of(Bubble, item) for item in answer["messages"]]

    async def replies(self, contact: str, *, account_sid: str | None = None, number: str | None = None) -> list[Bubble]:
        """What this contact was sent, in the order in which Twilio took it."""
        thread = await self.thread(contact, account_sid=account_sid, number=number)
        return [bubble for bubble in thread if not bubble.inbound]

    async def read(self, contact: str, *, account_sid: str, number: str) -> int:
        """The contact looks at the thread: delivered messages become read; how many."""
        body = {"account_sid": account_sid, "number": number, "contact": contact}
        return int((await self.call("POST", "/read", body))["read"])

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
        return [_of(RestCall, item) for item in answer["calls"]]

    async def webhooks(self, *, kind: str | None = None, sid: str | None = None) -> list[WebhookPost]:
        """The webhooks posted so far, of this kind and about this message where given."""
        answer = await self.call("GET", "/webhooks", query={"kind": kind, "sid": sid})
        return [_of(WebhookPost, {**item, "attempts": _attempts(item)}) for item in answer["webhooks"]]

    async def pace(self, **changes: float | bool) -> dict[str, Any]:
        """Change `sent_ms`, `delivered_ms`, `read_ms`, `auto_read`; returns all four."""
        return dict(await self.call("POST", "/pace", changes))

    async def reset(self) -> None:
        """Drop messages, threads, faults and logs; accounts, numbers and the pace stay."""
        await self.call("POST", "/reset")


def _attempts(item: Mapping[str, Any]) -> tuple[WebhookAttempt, ...]:
    return tuple(_of(WebhookAttempt, attempt) for attempt in item["attempts"])


def _sent(item: Mapping[str, Any]) -> Sent:
    return Sent(sid=item["sid"], attempts=_attempts(item))


def _of(kind: type[T], item: Mapping[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in item.items() if name in known})
