"""HTTP as Twilio speaks it: Basic credentials, form bodies, error objects, and connections that break on demand."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from functools import lru_cache
from typing import Any

from starlette.types import Receive, Scope, Send

MAX_REQUEST_BYTES = 256 * 1024


class Refused(Exception):
    """The call is answered with this error."""

    def __init__(self, status: int, code: int, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Cut(Exception):
    """The connection is cut instead of an answer, after `hold_s` seconds of silence."""

    def __init__(self, hold_s: float) -> None:
        super().__init__("cut")
        self.hold_s = hold_s


def error_json(refused: Refused) -> dict[str, Any]:
    """Twilio's error object."""
    return {
        "code": refused.code,
        "message": refused.message,
        "more_info": f"https://www.twilio.com/docs/errors/{refused.code}",
        "status": refused.status,
    }


@lru_cache(maxsize=1024)
def credentials(authorization: bytes) -> tuple[str, str]:
    """User and password of an Authorization header; empty ones when it holds none."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return "", ""
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, secret


def authorization(scope: Scope) -> bytes:
    """The Authorization header, empty when there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


async def read(receive: Receive) -> bytes:
    """The request's body; what is longer than MAX_REQUEST_BYTES is not read to its end."""
    body = b""
    while len(body) < MAX_REQUEST_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


async def reply(
    send: Send,
    status: int,
    answer: dict[str, Any] | None,
    *,
    retry_after_s: float | None = None,
    location: str | None = None,
) -> None:
    """Send a JSON answer; an empty one when there is nothing to say."""
    body = b"" if answer is None else json.dumps(answer, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", f"{retry_after_s:g}".encode()))
    if location is not None:
        headers.append((b"location", location.encode()))
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Twilio API"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def cut_off(closing: asyncio.Event, cut: Cut, receive: Receive, send: Send) -> None:
    """Keep silent, then close the socket without an answer.

    ASGI has no word for that: uvicorn's transport is reached through its `receive`. On another server the answer
    breaks off after its headers instead.
    """
    gone = asyncio.ensure_future(receive())
    close = asyncio.ensure_future(closing.wait())
    await asyncio.wait({gone, close}, timeout=cut.hold_s, return_when=asyncio.FIRST_COMPLETED)
    close.cancel()
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if gone.done():
        return
    if transport is None:
        gone.cancel()
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"1")]})
        return
    transport.abort()
    await gone
