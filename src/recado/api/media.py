"""Attachments: uploading one to send, looking at one, and the links that open one without a key."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from recado.api.shared.door import READ, WRITE, GuardedRoute, UploadRoute, Visit, Who
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.problems import Problem, describe
from recado.conversations import media
from recado.conversations.media import STORED, Media
from recado.db.scope import Scope, scoped
from recado.delivery import content
from recado.delivery.file_names import file_name as named
from recado.errors import Conflict, NotFound
from recado.identity import audit, plans
from recado.ids import new_id
from recado.media import links, sniff
from recado.media.scratch import scratch
from recado.media.storage import Storage, StorageUnavailable, key_of, new_file
from recado.wiring import Wiring


class MediaView(BaseModel):
    """An attachment. Its content is what `GET /v1/media/{media_id}/link` leads to, once it is `stored`."""

    id: UUID
    message_id: UUID | None
    status: Annotated[
        Literal["waiting", "stored", "refused", "failed"],
        Field(description="`refused`: it may not be kept, and is not asked for again. `failed`: it could not be had."),
    ]
    reason: Annotated[
        str | None, Field(description="Why it was refused, could not be had, or could not be made text, in a word.")
    ]
    content_type: Annotated[str | None, Field(description="What it is, by its content.", examples=["image/jpeg"])]
    announced_type: Annotated[str, Field(description="What its sender says it is.")]
    file_name: Annotated[
        str | None, Field(description="As its sender named it, with an ending of its type and nothing invisible.")
    ]
    size_bytes: int | None
    duration_s: float | None
    width: int | None
    height: int | None
    pages: int | None
    text: Annotated[str | None, Field(description="What a document says, as far as it was read.")]


class MediaLinkView(BaseModel):
    """A link to an attachment's content; whoever has it needs no key."""

    url: str
    expires_at: datetime


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
public = APIRouter()
LINK: Final = timedelta(minutes=15)
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
#: A browser shows these and runs nothing of them; everything else is for saving.
_SHOWN: Final = ("image/", "audio/", "video/")
#: For whoever gets the link and whatever the file is: nobody keeps it, guesses its type, or runs it on our site.
_HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Accept-Ranges": "bytes",
}
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The file itself. Its `Content-Type` may be left to the server; what counts is the content.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/media/{media_id}", tags=["Media"], operation_id="get_media", responses=describe(404), openapi_extra=READ)
async def get_media(who: Who, media_id: UUID) -> MediaView:
    """An attachment: what it is, and what became of fetching it."""
    async with who.scope() as scope:
        return _view(await media.get(scope, media_id))


@router.get(
    "/media/{media_id}/link",
    tags=["Media"],
    operation_id="link_media",
    responses=describe(404, 409),
    openapi_extra=READ,
)
async def link_media(request: Request, who: Who, media_id: UUID) -> MediaLinkView:
    """A link that opens the attachment for a quarter of an hour, for whoever has it."""
    async with who.scope() as scope:
        found = await media.get(scope, media_id)
    if found.status != STORED:
        raise Conflict("the attachment is not stored: there is nothing to open")
    expires_at = who.wiring.clock.now() + LINK
    token = links.sign(who.wiring.keyring, who.owner_id, media_id, expires_at=expires_at)
    base = who.wiring.settings.public_url or str(request.base_url)
    return MediaLinkView(url=links.link(base, token), expires_at=expires_at)


async def upload_media(
    request: Request,
    who: Who,
    content_type: Annotated[str, Header(max_length=200, include_in_schema=False)] = "",
    content_disposition: Annotated[
        str, Header(max_length=1000, description='The name that the file gets: `attachment; filename="menu.pdf"`.')
    ] = "",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Upload a file to send; its body is the file. 415 for a type that WhatsApp does not carry, 413 for too much.

    413 as well where the owner's plan has no room for it.
    """
    uploaded = await _store(request, who, content_type)
    used = False

    async def keep(scope: Scope) -> MediaView:
        nonlocal used
        if not await plans.has_room(scope, uploaded.size):
            raise Problem(413, "the plan has no room for it: so much of attachments is kept already")
        used = True  # from here on there may be a row; the file of one that is rolled back is swept
        return await _add(scope, who, uploaded, content_disposition)

    asked = f"{uploaded.kind}\n{content_disposition}\n".encode() + uploaded.digest
    try:
        return await once(request, who, idempotency_key, keep, status=201, location="/v1/media/{id}", asked=asked)
    finally:
        if not used:  # the request was here before, or is refused
            await who.wiring.storage.delete(uploaded.key)


router.add_api_route(
    "/media",
    upload_media,
    methods=["POST"],
    tags=["Media"],
    operation_id="upload_media",
    status_code=201,
    response_model=MediaView,
    responses=describe(400, 415),
    openapi_extra=WRITE | _FILE,
    route_class_override=UploadRoute,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uploaded:
    """A file that is stored, and of which there is no row yet."""

    id: UUID
    key: str
    kind: str
    size: int
    digest: bytes


async def _store(request: Request, who: Visit, announced: str) -> _Uploaded:
    """Store the body. Raises Problem (413, 415) for what WhatsApp does not carry."""
    media_id = new_id()
    key = key_of(who.owner_id, media_id)
    with scratch(who.wiring.settings.home) as folder:
        path = folder / "upload"
        digest, size = await _receive(request, path)
        kind = await asyncio.to_thread(sniff.settle, path, announced)
        if kind is None:
            raise Problem(415, "WhatsApp does not carry files of this type, or it is not what its Content-Type says")
        match content.unsendable(kind, size):
            case "type":
                raise Problem(415, f"WhatsApp does not carry files of the type {kind}")
            case "size":
                raise Problem(413, f"WhatsApp carries {content.most_bytes(kind)} bytes of this type at most")
        await who.wiring.storage.put(key, path, content_type=kind)
    return _Uploaded(id=media_id, key=key, kind=kind, size=size, digest=digest)


async def _add(scope: Scope, who: Visit, uploaded: _Uploaded, disposition: str) -> MediaView:
    await media.add_upload(
        scope,
        uploaded.id,
        content_type=uploaded.kind,
        file_name=_file_name(disposition, uploaded.kind),
        size_bytes=uploaded.size,
        sha256=uploaded.digest,
        storage_key=uploaded.key,
        now=who.wiring.clock.now(),
    )
    await audit.record(scope, who.caller, "upload", "media", str(uploaded.id))
    return _view(await media.get(scope, uploaded.id))


async def _receive(request: Request, path: Path) -> tuple[bytes, int]:
    """Write the body to a new file, as it comes; answers its digest and size."""
    digest, size = hashlib.sha256(), 0
    try:
        with await asyncio.to_thread(new_file, path) as file:
            async for piece in request.stream():
                digest.update(piece)
                size += len(piece)
                file.write(piece)
    except ClientDisconnect:
        raise Problem(400, "the body broke off") from None
    return digest.digest(), size


def _view(found: Media) -> MediaView:
    return MediaView.model_validate(found, from_attributes=True)


def _file_name(disposition: str, kind: str) -> str | None:
    """The file's name in a Content-Disposition (RFC 6266), as a file of this type may be named."""
    if not disposition:
        return None
    said = Message()
    # The library goes over the whole of it again for each of its parameters.
    said["Content-Disposition"] = disposition[:1_000]
    try:
        given = said.get_filename()
    except (ValueError, TypeError, LookupError):
        # What it makes of mixed up parts of a name, and of some character sets. A file without a name is a file.
        return None
    return named(given, kind)


@public.head("/media/{token}", include_in_schema=False)
@public.get(
    "/media/{token}",
    tags=["Media"],
    operation_id="open_media",
    response_class=Response,
    responses={200: {"description": "The file.", "content": {"*/*": {}}}, 404: {"description": "No such link."}},
)
async def open_media(request: Request, token: str) -> Response:
    """The attachment of a link, to whoever has it; 404 for a link that is wrong or has expired."""
    wiring = cast(Wiring, request.app.state.wiring)
    owner_id, media_id = links.read(wiring.keyring, token, now=wiring.clock.now())
    async with scoped(wiring.pool, owner_id) as scope:
        found = await media.get(scope, media_id)
    if found.status != STORED or found.storage_key is None or found.size_bytes is None:
        raise NotFound("no such link")
    start, length, status = _wanted(request.headers.get("range", ""), found.size_bytes)
    headers = _HEADERS | {"Content-Length": str(length), "Content-Disposition": _disposition(found)}
    if status == 416:
        return Response(status_code=416, headers=_HEADERS | {"Content-Range": f"bytes */{found.size_bytes}"})
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.size_bytes}"
    media_type = found.content_type or "application/octet-stream"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    body = await _opened(wiring.storage, found.storage_key, start, length)
    return StreamingResponse(body, status, headers=headers, media_type=media_type)


async def _opened(storage: Storage, key: str, start: int, length: int) -> AsyncIterator[bytes]:
    """The pieces. The first is there before anything is answered, so that a failure still has a status of its own."""
    pieces = storage.read(key, start=start, length=length)
    try:
        first = await anext(pieces, b"")
    except StorageUnavailable:
        raise Problem(503, "the storage does not answer", headers={"Retry-After": "5"}) from None

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_it()


def _wanted(header: str, size: int) -> tuple[int, int, int]:
    """Start, length and status for a Range (RFC 9110); what is no single range of bytes gets the whole."""
    asked = _RANGE.fullmatch(header.strip())
    if asked is None or asked[1] == asked[2] == "":
        return 0, size, 200
    if asked[1] == "":
        length = min(int(asked[2]), size)
        return (size - length, length, 206) if length else (0, 0, 416)
    start, end = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
    if asked[2] and int(asked[2]) < start:
        return 0, size, 200
    return (start, end - start + 1, 206) if start < size else (0, 0, 416)


def _disposition(found: Media) -> str:
    how = "inline" if (found.content_type or "").startswith(_SHOWN) else "attachment"
    return f"{how}; filename*=UTF-8''{quote(found.file_name, safe='')}" if found.file_name else how
