"""Files of the control API: what contacts are about to send, and what the phone shows."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, HTTPException, Request, Response

from recado.simulator import inbound, kinds, voice
from recado.simulator.control.found import account_of, file_of
from recado.simulator.engine import Engine

#: Shown in the page; everything else is only ever downloaded, so that no file becomes a page of the phone's own.
_SHOWN = re.compile(r"(?:image/(?:jpeg|png|webp|gif)|audio/[\w.+-]+|video/[\w.+-]+)")
_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(?:\s*;.{0,100})?", re.ASCII)


def add_files(router: APIRouter, engine: Engine) -> None:
    """Add the routes of files."""

    @router.post("/files", status_code=201)
    async def keep(
        request: Request,
        account_sid: str,
        content_type: Annotated[str, Header()],
        file_name: str = "",
        *,
        recording: bool = False,
    ) -> dict[str, Any]:
        account = account_of(engine, account_sid)
        if not _TYPE.fullmatch(content_type):
            raise HTTPException(415, "Content-Type is no type of a file")
        data = await _body(request)
        if recording:
            try:
                data = await asyncio.to_thread(voice.to_ogg, data)
            except voice.NotAudio as error:
                raise HTTPException(415, f"not a recording: {error}") from None
            content_type = voice.VOICE_TYPE
        if limit := kinds.too_large(content_type, len(data)):
            raise HTTPException(413, f"WhatsApp takes {limit} bytes of {content_type} at most")
        media = inbound.keep_file(engine, account.sid, data, content_type=content_type, file_name=file_name)
        return {"sid": media.sid, "content_type": media.content_type, "size_bytes": len(data)}

    @router.get("/media/{sid}")
    async def show(sid: str) -> Response:
        media = file_of(engine, sid)
        shown = _SHOWN.fullmatch(media.content_type.partition(";")[0].strip())
        name = quote(media.file_name or media.sid)
        headers = {
            "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{name}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, max-age=3600",
        }
        return Response(
            media.data, media_type=media.content_type if shown else "application/octet-stream", headers=headers
        )


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > kinds.MAX_BYTES:
            raise HTTPException(413, f"WhatsApp takes {kinds.MAX_BYTES} bytes at most")
    return bytes(data)
