"""Sending through Twilio's REST API with the official client, over one shared pool of connections.

The client's own asynchronous transport is not used: it ignores the client's time-out, logs every request, and what it
raises quotes the contact's address. This one turns every failure into a `SendError` whose class says whether Twilio can
have taken the message, before the client sees it.
"""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from twilio.base.exceptions import TwilioException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from recado.channels.port import ErrorClass, Receipt, SendError, Sent
from recado.channels.twilio.addresses import forms_of
from recado.channels.twilio.codes import classify, owner_text
from recado.clock import uptime
from recado.errors import NotFound
from recado.hidden import status_of

API_URL = "https://api.twilio.com"
MESSAGING_URL = "https://messaging.twilio.com"

TOO_MANY = 20429
NOT_FOUND = 20404

_PAGE_SIZE = 100
_MAX_PAGES = 20
#: Clocks that differ by no more say the same: dates of HTTP are in whole seconds, and an answer takes its time.
_SAME_TIME = timedelta(seconds=10)
#: Until when a request of this task may leave, by `uptime`; the official client has no place for it.
_NOT_AFTER: ContextVar[float | None] = ContextVar("not_after", default=None)
_silent = logging.Logger("recado.silent", logging.CRITICAL + 1)


class _Punctual(BytesPayload):
    """A body that is not written after the moment in `_NOT_AFTER`, whatever the process has waited for until then.

    Looked at when the connection is there and the very next thing is to write: a process that was stopped meanwhile
    goes on here.
    """

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._not_after = _NOT_AFTER.get()
        self.is_late = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self._not_after is not None and uptime() > self._not_after:
            self.is_late = True
            raise TimeoutError
        await super().write_with_length(writer, content_length)


@contextmanager
def _leaving_by(not_after: float | None) -> Iterator[None]:
    token = _NOT_AFTER.set(not_after)
    try:
        yield
    finally:
        _NOT_AFTER.reset(token)


class TwilioHttp(AsyncHttpClient):  # type: ignore[misc]
    """The transport of the official client: explicit time-outs, no redirects, no cookies, nothing logged or kept.

    One may serve all accounts of a process; it belongs to the event loop that first sends through it. Time-outs are in
    seconds: `connect_s` for reaching Twilio (nothing was sent yet), `timeout_s` for the whole call.
    """

    def __init__(self, *, timeout_s: float = 15.0, connect_s: float = 5.0, connections: int = 100) -> None:
        super().__init__(_silent, True, timeout_s)
        # The whole must be longer than the part, or its end would hide that nothing was sent.
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(connect_s, timeout_s * 0.8))
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._ahead = timedelta(0)

    @property
    def ahead(self) -> timedelta:
        """How far Twilio's clock was ahead of this machine's at the last answer; nothing where both say the same."""
        return self._ahead if abs(self._ahead) > _SAME_TIME else timedelta(0)

    async def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the official client's own signature
        allow_redirects: bool = False,
    ) -> Response:
        """The answer, if it is a JSON object with a 2xx status; raises `SendError` for everything else.

        `timeout` and `allow_redirects` are the official client's and change nothing.
        """
        failure: SendError
        all_headers = dict(headers or {})
        body: _Punctual | None = None
        if auth:
            all_headers["Authorization"] = "Basic " + b64encode(":".join(auth).encode("utf-8", "replace")).decode()
        try:
            body = _Punctual(_encoded(data, all_headers)) if data else None
            async with self._open().request(
                method,
                uri,
                params={name: str(value) for name, value in params.items()} if params else None,
                data=body,
                headers=all_headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                text = (await answer.read()).decode("utf-8", "replace")
                if (at := _moment(answer.headers.get("Date"))) is not None:
                    self._ahead = at - datetime.now(UTC)
                return _accepted(answer.status, text, answer.headers)
        except SendError as error:
            failure = error
        except UnicodeEncodeError:
            failure = SendError(ErrorClass.CONTENT, "The message holds characters that can't be sent.")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            failure = SendError(ErrorClass.RETRY, "Twilio could not be reached.")
        except aiohttp.InvalidURL:
            failure = SendError(ErrorClass.CONFIGURATION, "The address of Twilio's API is not a valid URL.")
        except (TimeoutError, aiohttp.ClientError, OSError):
            # Too late nothing of the body has left: Twilio has no message then.
            late = body is not None and body.is_late
            failure = (
                SendError(ErrorClass.RETRY, "It could not be sent in its time.")
                if late
                else SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
            )
        # Raised out here so that no cause hangs on it: those errors hold addresses and what people wrote.
        raise failure

    def log_request(self, kwargs: dict[str, Any]) -> None:
        """Nothing: a request holds addresses and what people wrote."""

    def log_response(self, status_code: int, response: Any) -> None:
        """Nothing, likewise."""

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class TwilioSender:
    """A `Sender` for one Twilio account. `username` is the account's SID with its auth token, or an API key's.

    With `http` the connections are shared, and closing them is for who made it; without, they are the sender's own.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        username: str,
        password: str,
        api_url: str | None = None,
        messaging_url: str | None = None,
        http: TwilioHttp | None = None,
    ) -> None:
        self._account_sid = account_sid
        self._http = http or TwilioHttp()
        self._owns_http = http is None
        # The environment is replaced: TWILIO_EDGE or TWILIO_REGION would change the host behind the settings' back.
        self._client = Client(
            username, password, account_sid, http_client=self._http, environment={"TWILIO_ACCOUNT_SID": account_sid}
        )
        self._client.api.base_url = (api_url or API_URL).rstrip("/")
        self._typing_url = (messaging_url or MESSAGING_URL).rstrip("/") + "/v2/Indicators/Typing.json"

    def __repr__(self) -> str:
        return f"TwilioSender({self._account_sid})"

    @property
    def ahead(self) -> timedelta:
        """How far Twilio's clock was ahead at its last answer (`TwilioHttp.ahead`)."""
        return self._http.ahead

    async def send(
        self,
        *,
        to: str,
        from_: str | None = None,
        messaging_service_sid: str | None = None,
        body: str,
        media_url: str | None = None,
        content_sid: str | None = None,
        content_variables: Mapping[str, str] | None = None,
        status_callback: str | None,
        not_after: float | None = None,
    ) -> Sent:
        """Post the message once. Raises `SendError`; its class UNKNOWN means that Twilio may have taken it."""
        optional = {
            "from_": from_,
            "messaging_service_sid": messaging_service_sid,
            "status_callback": status_callback,
            "body": None if content_sid or (media_url and not body) else body,
            "media_url": [media_url] if media_url else None,
            "content_sid": content_sid,
            "content_variables": json.dumps(dict(content_variables)) if content_variables else None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        with _leaving_by(not_after):
            sent = _sent(await self._call(self._client.messages.create_async(to=to, **given)))
        if sent is None:
            raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
        return sent

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        """What Twilio holds for that address since then, newest first; UTC or any aware time.

        Not filtered by DateSent: a message that is still queued has none, and missing it would send it twice. Where
        nothing is listed under an address whose number has another form too, that one is asked for: Twilio may have
        corrected ours to it.
        """
        found: list[Sent] = []
        for form in forms_of(to):
            found = found or await self._find(form, from_, since.astimezone(UTC))
        return sorted(found, key=lambda sent: sent.date_created or since, reverse=True)

    async def _find(self, to: str, from_: str | None, since: datetime) -> list[Sent]:
        """Twilio lists the newest first, so the first page that is older as a whole ends the search.

        Its clock may be another than ours: what it says when it lists tells how far they are apart.
        """
        addresses = {"to": to} if from_ is None else {"to": to, "from_": from_}
        found: list[Sent] = []
        page = await self._call(self._client.messages.page_async(page_size=_PAGE_SIZE, **addresses))
        ahead = self._http.ahead
        oldest = (since + ahead).replace(microsecond=0)
        for _ in range(_MAX_PAGES):
            records = await self._call(_records(page))
            recent = [record for record in records if record.date_created is None or record.date_created >= oldest]
            for record in recent:
                sent = _sent(record)
                if sent is not None and str(record.direction).startswith("outbound"):
                    made_at = sent.date_created
                    found.append(sent if made_at is None else replace(sent, date_created=made_at - ahead))
            page = await self._call(page.next_page_async()) if recent else None
            if page is None:
                return found
        raise SendError(ErrorClass.UNKNOWN, "Twilio lists more messages to this contact than can be searched.")

    async def fetch(self, sid: str) -> Receipt:
        """The message's present status. Raises `NotFound` or `SendError`."""
        missing = False
        try:
            message = await self._call(self._client.messages(sid).fetch_async())
        except SendError as error:
            if error.code != NOT_FOUND:
                raise
            missing = True
        if missing:
            raise NotFound("Twilio does not know this message")
        if _sent(message) is None:
            raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
        return Receipt(
            account_sid=str(message.account_sid or self._account_sid),
            message_sid=str(message.sid),
            status=str(message.status),
            error_code=message.error_code if isinstance(message.error_code, int) else None,
            error_text=message.error_message or None,
        )

    async def typing(self, message_sid: str) -> None:
        """Show that an answer is being written; for up to 25 s. Raises `SendError`.

        Not in the official client: https://www.twilio.com/docs/whatsapp/api/typing-indicators-resource.
        """
        data = {"messageId": message_sid, "channel": "whatsapp"}
        await self._call(self._client.request_async("POST", self._typing_url, data=data))

    async def ask(self, method: str, url: str, **more: Any) -> Mapping[str, Any]:
        """A JSON call to another API of Twilio's with this account's login; the answer's object. Raises `SendError`."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = await self._call(self._client.request_async(method, url, headers=headers, **more))
        content = _json_object(answer.text)
        if content is None:
            raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))
        return content

    async def delete(self, url: str) -> bool:
        """Delete what is there; whether it was. Raises `SendError`."""
        try:
            await self._call(self._client.request_async("DELETE", url))
        except SendError as error:
            if error.code != NOT_FOUND:
                raise
            return False
        return True

    def account_url(self, path: str) -> str:
        """Where something of this account is in the API of 2010."""
        return f"{self._client.api.base_url}/2010-04-01/Accounts/{self._account_sid}/{path}"

    async def aclose(self) -> None:
        """Close the connections, if they are this sender's own."""
        if self._owns_http:
            await self._http.aclose()

    async def _call(self, awaitable: Any) -> Any:
        """What the official client gives; its own exceptions become an unknown outcome, as they mean an odd answer."""
        try:
            return await awaitable
        except (TwilioException, ValueError, TypeError, KeyError, AttributeError):
            pass
        raise SendError(ErrorClass.UNKNOWN, owner_text(None, ErrorClass.UNKNOWN))


def _encoded(data: Mapping[str, object], headers: Mapping[str, str]) -> bytes:
    """The body in the form that the request's headers announce."""
    if headers.get("Content-Type") == "application/json":
        return json.dumps(data).encode()
    return urlencode(data, doseq=True).encode()


async def _records(page: Any) -> list[Any]:
    """The page's messages; awaitable because reading them fails in the same ways as fetching them."""
    return list(page)


def _sent(message: Any) -> Sent | None:
    """The official client's message as ours, or None when it is not one (an answer from something else)."""
    if not isinstance(message.sid, str) or not message.sid or not isinstance(message.status, str):
        return None
    return Sent(
        sid=message.sid,
        status=message.status,
        date_created=message.date_created,
        body=str(message.body or ""),
        to=str(message.to or ""),
        from_=str(message.from_) if message.from_ else None,
        num_media=int(message.num_media) if str(message.num_media or "").isdecimal() else 0,
        error_code=message.error_code if isinstance(message.error_code, int) else None,
    )


def _accepted(status: int, text: str, headers: Mapping[str, str]) -> Response:
    """The answer, if it says yes; raises the `SendError` that it stands for otherwise.

    Twilio's own message is left out of that, as it may quote the contact's address.
    """
    if status == 204 and not text:
        return Response(status, text, headers)
    content = _json_object(text)
    code = _code(content)
    if 200 <= status < 300 and content is not None:
        hidden = status_of(content.get("status"))
        if hidden is None and (code is None or "sid" in content):
            return Response(status, text, headers)
        # An error in a good answer's clothes: what it says counts. A code alone is of a request that was refused.
        status = hidden or (429 if code == TOO_MANY else 400)
    error_class = classify(status, code)
    raise SendError(error_class, owner_text(code, error_class), code, _retry_after_s(headers.get("Retry-After")))


def _code(content: Mapping[str, Any] | None) -> int | None:
    """Twilio's own code of an error; five digits, as no status of HTTP has."""
    code = content.get("code") if content else None
    if isinstance(code, str) and code.isascii() and code.isdecimal() and len(code) == 5:
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _retry_after_s(value: str | None) -> float | None:
    """Seconds from now of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    at = _moment(value)
    return None if at is None else max(0.0, (at - datetime.now(UTC)).total_seconds())


def _moment(value: str | None) -> datetime | None:
    """A date of HTTP."""
    try:
        at = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    # "-0000" says UTC of a clock of unknown zone, and gives a naive time.
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
