"""Contacts: who they are, what they speak, whether they want messages; a copy of their data, and its erasure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from recado.api.erasures import ErasureView, shown
from recado.api.shared import pages
from recado.api.shared.door import ADMIN, READ, WRITE, GuardedRoute, Who
from recado.api.shared.forms import Given
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.conversations import contacts, erasures
from recado.identity import audit
from recado.ops.privacy import export


class ContactView(BaseModel):
    """A person on WhatsApp. `suppressed`: nothing is sent to them, by whomever, until they opt in again.

    `version` is its ETag, and grows with what people change.
    """

    id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+5511999990000"])]
    profile_name: str | None
    language: Annotated[
        str | None,
        Field(description="What their voice notes are listened for in; null: the assistant's.", examples=["pt"]),
    ]
    language_why: Annotated[
        Literal["people", "written"] | None,
        Field(description="`people` said so; `written`: told by what the contact writes."),
    ]
    suppressed: bool
    suppressed_since: datetime | None
    suppressed_why: Annotated[
        str | None,
        Field(description="`word`: they wrote so; `twilio` and its code; `people`: the owner's.", examples=["word"]),
    ]
    version: int
    created_at: datetime


class ContactChange(Given):
    """What people know of a contact."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"language": "en"}]})

    language: Annotated[
        Annotated[str, Field(pattern=r"^[a-z]{2}$")] | None,
        Field(description="By its two letters (ISO 639-1); null: what the contact writes tells it again."),
    ]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
_ZIP: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A ZIP archive: a file of JSON lines for each table, `media/`, and `manifest.json` with the "
        "size and SHA-256 of each file. One without a manifest broke off.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/contacts", tags=["Contacts"], operation_id="list_contacts", responses=describe(), openapi_extra=READ)
async def list_contacts(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[ContactView]:
    """The owner's contacts, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(ContactView, await contacts.page(scope, after=after, limit=limit), limit)


@router.get(
    "/contacts/{contact_id}",
    tags=["Contacts"],
    operation_id="get_contact",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_contact(who: Who, contact_id: UUID, response: Response) -> ContactView:
    """A contact, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await contacts.get(scope, contact_id)
    response.headers["ETag"] = etag(found.version)
    return ContactView.model_validate(found, from_attributes=True)


@router.patch(
    "/contacts/{contact_id}",
    tags=["Contacts"],
    operation_id="change_contact",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=WRITE,
)
async def change_contact(
    who: Who, contact_id: UUID, given: ContactChange, response: Response, if_match: IfMatch = None
) -> ContactView:
    """Say which language a contact speaks: nothing that they write changes it then. Needs `If-Match`."""
    version = demand(if_match)
    async with who.scope() as scope:
        found = await contacts.get(scope, contact_id, lock=True)
        check_version(version, found.version)
        changed = await contacts.set_language(scope, found, given.language)
        if changed != found:
            await audit.record(
                scope, who.caller, "set_language", "contact", str(contact_id), {"language": given.language}
            )
    response.headers["ETag"] = etag(changed.version)
    return ContactView.model_validate(changed, from_attributes=True)


@router.get(
    "/contacts/{contact_id}/export",
    tags=["Contacts"],
    operation_id="export_contact",
    response_class=Response,
    responses=describe(404) | _ZIP,
    openapi_extra=ADMIN,
)
async def export_contact(who: Who, contact_id: UUID) -> Response:
    """A copy of everything that is kept of a person, under whichever number they wrote."""
    made_at = who.wiring.clock.now()
    found = await export.copy(who.scope, who.wiring.storage, who.owner_id, contact_id, made_at=made_at)
    async with who.scope() as scope:
        await audit.record(scope, who.caller, "export", "contact", str(contact_id))
    pieces: AsyncIterator[bytes] = export.zipped(found.files(), made_at=made_at)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="contact-{contact_id}.zip"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(pieces, headers=headers, media_type="application/zip")


@router.delete(
    "/contacts/{contact_id}",
    tags=["Contacts"],
    operation_id="erase_contact",
    status_code=202,
    responses=describe(404, sends={202: ["Location"]}),
    openapi_extra=ADMIN,
)
async def erase_contact(who: Who, contact_id: UUID, response: Response) -> ErasureView:
    """Erase a person for good, here and at Twilio. Asked again it is the same erasure.

    Where Twilio let something not go, asking again tries that again.
    """
    async with who.scope() as scope:
        erasure, new = await erasures.request(scope, who.wiring.keyring, contact_id, now=who.wiring.clock.now())
        if new:
            data = {"erasure_id": str(erasure.id)}
            await audit.record(scope, who.caller, "erase", "contact", str(contact_id), data)
        view = await shown(scope, erasure)
    response.headers["Location"] = f"/v1/erasures/{erasure.id}"
    return view
