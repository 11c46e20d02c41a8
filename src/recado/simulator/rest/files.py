"""The second host: it serves files by signed, expiring links, and notes whoever shows it credentials.

Twilio redirects from its API to such a host. It is not Twilio's API, so an Authorization header that reaches it has
leaked; the request fails and is kept among the engine's violations, which tests want empty.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode

from starlette.types import Receive, Scope, Send

from recado.simulator import engine as twilio
from recado.simulator import faults as faulty
from recado.simulator.engine import Engine, Violation
from recado.simulator.faults import Effect
from recado.simulator.rest.call import refuse
from recado.simulator.rest.wire import Cut, Refused, authorization, cut_off
from recado.simulator.state import Media

EXPIRES_S = 300
CHUNK_BYTES = 65536
#: What an endless file holds at most, for the machine's sake.
ENDLESS_BYTES = 4 * 1024**3


def signed_url(engine: Engine, media: Media) -> str:
    """Where the file is for the next minutes; the link is all that is needed."""
    path, expires = f"/{media.account_sid}/{media.sid}", int(engine.now()) + EXPIRES_S
    query = urlencode({"Expires": expires, "Signature": _signature(engine, path, expires)})
    return f"{engine.files_url}{path}?{query}"


def _signature(engine: Engine, path: str, expires: int) -> str:
    return hmac.digest(engine.files_key, f"{path}?{expires}".encode(), "sha256").hex()


class FileHost:
    """The ASGI application of the second host."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one file; a fault may spoil it or cut the connection."""
        if scope["type"] != "http":
            return
        engine, path = self._engine, scope["path"]
        sid = path.rpartition("/")[2]
        effect, status = _effect(engine, sid), 0
        try:
            if effect.latency_ms:
                await asyncio.sleep(effect.latency_ms / 1000)
            media = _checked(engine, scope, sid)
            refuse(effect.refusal)
            status = 200
            await _serve(media, effect, receive, send, scope["method"])
        except Refused as refused:
            status = refused.status
            await _send_head(send, status, "application/xml", 0)
            await send({"type": "http.response.body", "body": b""})
        except Cut as cut:
            await cut_off(engine.feed.closing, cut, receive, send)
        finally:
            twilio.log_call(
                engine,
                method=scope["method"],
                path=path,
                form={},
                operation="file",
                status=status,
                sid=sid,
                faulted=effect.names,
            )


def _effect(engine: Engine, sid: str) -> Effect:
    media = engine.state.media.get(sid)
    message = engine.state.by_sid.get(media.message_sid or "") if media is not None else None
    to, from_ = (message.to, message.from_) if message is not None else ("", "")
    return faulty.strike(engine.faults, "file", to=to, from_=from_)


def _checked(engine: Engine, scope: Scope, sid: str) -> Media:
    """The file that the link is for; credentials are noted and refused."""
    if authorization(scope):
        engine.violations.append(Violation(at=engine.now(), what="authorization", path=scope["path"]))
        raise Refused(400, 400, "credentials")
    if scope["method"] not in ("GET", "HEAD"):
        raise Refused(405, 405, "method")
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    expires = query.get("Expires", "")
    signature = _signature(engine, scope["path"], int(expires)) if expires.isascii() and expires.isdigit() else ""
    good = bool(signature) and hmac.compare_digest(signature, query.get("Signature", ""))
    media = engine.state.media.get(sid)
    if not good or int(expires) < engine.now() or media is None:
        raise Refused(403, 403, "the link is wrong or has expired")
    return media


async def _serve(media: Media, effect: Effect, receive: Receive, send: Send, method: str) -> None:
    data = media.data if effect.instead is None else effect.instead.encode()
    length = None if effect.endless else len(data)
    await _send_head(send, 200, effect.content_type or media.content_type, length)
    if method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    gone = asyncio.ensure_future(_gone(receive))
    sent = 0
    try:
        async for chunk in _chunks(data, effect):
            if gone.done():
                return
            if effect.cut_at is not None and sent + len(chunk) >= effect.cut_at:
                await send({"type": "http.response.body", "body": chunk[: effect.cut_at - sent], "more_body": True})
                raise Cut(0)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent += len(chunk)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _chunks(data: bytes, effect: Effect) -> AsyncIterator[bytes]:
    size = 1024 if effect.chunk_ms else CHUNK_BYTES
    given, most = 0, ENDLESS_BYTES if effect.endless else len(data)
    while given < most:
        for start in range(0, len(data), size):
            if effect.chunk_ms:
                await asyncio.sleep(effect.chunk_ms / 1000)
            chunk = data[start : start + size]
            given += len(chunk)
            yield chunk
            if effect.endless:
                await asyncio.sleep(0)
        if not data:
            return


async def _send_head(send: Send, status: int, content_type: str, length: int | None) -> None:
    headers = [(b"content-type", content_type.encode("latin-1", "replace"))]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
