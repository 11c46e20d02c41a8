"""Contacts: who they are, what they speak, and whether they want messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import READ, WRITE, GuardedRoute, Who
from recado.api.shared.forms import Given
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.conversations import contacts
from recado.identity import audit


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
