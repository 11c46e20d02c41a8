"""Assistants: what they were told, which is the default one, and which template carries their late replies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import ADMIN, READ, GuardedRoute, Who
from recado.api.shared.forms import NO_NUL, NOT_BLANK, SID, Given, Language
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.assistants import assistant
from recado.conversations import templates
from recado.conversations.templates import Fallback
from recado.db.scope import Scope
from recado.identity import audit

Instructions = Annotated[str, Field(max_length=20_000, pattern=NO_NUL)]
Model = Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Empty: the installation's model.")]
Apology = Annotated[str, Field(max_length=1_000, pattern=NO_NUL, description="Empty: recado's own words.")]
Sees = Annotated[
    bool | Literal["auto"],
    Field(description="Whether the model is given pictures; auto: by what is known of the model."),
]
Templates = Annotated[bool, Field(description="Whether it may send the owner's approved templates by itself.")]


class AssistantView(BaseModel):
    """What an assistant was told. `version` is its ETag."""

    id: UUID
    name: str
    is_default: bool
    instructions: str
    model: Annotated[str | None, Field(description="Null: the installation's model.")]
    language: str
    apology: Annotated[str | None, Field(description="Null: recado's own words.")]
    sees: Annotated[
        bool | None, Field(description="Whether the model is given pictures. Null: by what is known of the model.")
    ]
    templates: Annotated[bool, Field(description="Whether it may send the owner's approved templates by itself.")]
    version: int
    created_at: datetime
    updated_at: datetime


class FallbackView(BaseModel):
    """The template that carries an assistant's late replies; without one they are held."""

    content_sid: str | None
    variables: dict[str, str]


class NewAssistant(Given):
    """An assistant to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "night", "instructions": "Answer briefly.", "language": "pt"}]},
    )

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NOT_BLANK)]
    instructions: Instructions = ""
    model: Model | None = None
    language: Language = "pt"
    apology: Apology | None = None
    sees: Sees | None = None
    templates: Templates = False
    is_default: Annotated[bool, Field(description="Whether it answers where a number names no assistant.")] = False


class AssistantChange(Given):
    """What of an assistant changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"instructions": "Answer briefly.", "language": "pt"}]}
    )

    instructions: Instructions | None = None
    model: Model | None = None
    language: Language | None = None
    apology: Apology | None = None
    sees: Sees | None = None
    templates: Templates | None = None
    is_default: Annotated[
        Literal[True] | None, Field(description="It answers where a number names none, instead of the one that did.")
    ] = None


class NewFallback(Given):
    """Which template, and what its variables hold; `{text}` stands for the reply, `{contact_name}` for the name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"content_sid": "HX" + "0" * 32, "variables": {"1": "{contact_name}", "2": "{text}"}}]
        },
    )

    content_sid: Annotated[
        Annotated[str, SID, Field(pattern=r"^HX[0-9a-f]{32}$")] | None,
        Field(description="Null: none, late replies are held."),
    ]
    variables: Annotated[dict[str, Annotated[str, Field(max_length=1_000, pattern=NO_NUL)]], Field(max_length=50)] = (
        Field(default_factory=dict)
    )


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get(
    "/assistants", tags=["Assistants"], operation_id="list_assistants", responses=describe(), openapi_extra=READ
)
async def list_assistants(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[AssistantView]:
    """The owner's assistants, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(AssistantView, await assistant.page(scope, after=after, limit=limit), limit)


@router.post(
    "/assistants",
    tags=["Assistants"],
    operation_id="make_assistant",
    status_code=201,
    response_model=AssistantView,
    responses=describe(409, sends={201: ["ETag", "Location"]}),
    openapi_extra=ADMIN,
)
async def make_assistant(
    request: Request, who: Who, given: NewAssistant, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make an assistant; the owner's first default one answers until another is made the default."""

    async def make(scope: Scope) -> AssistantView:
        await assistant.hold_default(scope)
        await assistant.ensure_default(scope)
        made = await assistant.make(scope, given.name)
        await assistant.set(
            scope,
            made.name,
            instructions=given.instructions,
            model=given.model,
            language=given.language,
            apology=given.apology,
            sees=given.sees,
            templates=given.templates,
        )
        if given.is_default:
            await assistant.make_default(scope, made.id)
        await audit.record(scope, who.caller, "add", "assistant", str(made.id), {"is_default": given.is_default})
        return AssistantView.model_validate(await assistant.listed(scope, made.id), from_attributes=True)

    return await once(request, who, idempotency_key, make, status=201, location="/v1/assistants/{id}")


@router.get(
    "/assistants/{assistant_id}",
    tags=["Assistants"],
    operation_id="get_assistant",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_assistant(who: Who, assistant_id: UUID, response: Response) -> AssistantView:
    """An assistant, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await assistant.listed(scope, assistant_id)
    response.headers["ETag"] = etag(found.version)
    return AssistantView.model_validate(found, from_attributes=True)


@router.patch(
    "/assistants/{assistant_id}",
    tags=["Assistants"],
    operation_id="change_assistant",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def change_assistant(
    who: Who, assistant_id: UUID, given: AssistantChange, response: Response, if_match: IfMatch = None
) -> AssistantView:
    """Change an assistant, from its next turn on, or make it the default one. Needs `If-Match`."""
    version = demand(if_match)
    async with who.scope() as scope:
        if given.is_default:
            await assistant.hold_default(scope)
        found = await assistant.listed(scope, assistant_id, lock=True)
        check_version(version, found.version)
        await assistant.set(
            scope,
            found.name,
            instructions=given.instructions,
            model=given.model,
            language=given.language,
            apology=given.apology,
            sees=given.sees,
            templates=given.templates,
        )
        if given.is_default and not found.is_default:
            await assistant.make_default(scope, assistant_id)
        after = await assistant.listed(scope, assistant_id)
        if after.version != found.version:
            # What changed, not what it says now: instructions are the owner's text.
            changed = sorted(name for name in given.model_fields_set if getattr(after, name) != getattr(found, name))
            await audit.record(scope, who.caller, "change", "assistant", str(assistant_id), {"changed": changed})
    response.headers["ETag"] = etag(after.version)
    return AssistantView.model_validate(after, from_attributes=True)


@router.put(
    "/assistants/{assistant_id}/fallback-template",
    tags=["Templates"],
    operation_id="set_fallback_template",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def set_fallback_template(
    who: Who, assistant_id: UUID, given: NewFallback, response: Response, if_match: IfMatch = None
) -> FallbackView:
    """Choose what carries the assistant's replies once WhatsApp's 24 hours are over, or nothing. Needs `If-Match`."""
    version = demand(if_match)
    async with who.scope() as scope:
        check_version(version, (await assistant.listed(scope, assistant_id, lock=True)).version)
        chosen = (
            None if given.content_sid is None else Fallback(content_sid=given.content_sid, variables=given.variables)
        )
        await templates.set_fallback(scope, assistant_id, chosen)
        data = {"changed": ["fallback_template"], "content_sid": given.content_sid}
        await audit.record(scope, who.caller, "change", "assistant", str(assistant_id), data)
        response.headers["ETag"] = etag((await assistant.listed(scope, assistant_id)).version)
    return FallbackView(content_sid=given.content_sid, variables=given.variables if chosen else {})
