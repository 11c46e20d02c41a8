"""Routes that set up what answers: assistants and knowledge."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from recado.api.forms import AssistantChange, KnowledgeText, NewAssistant
from recado.api.shared.door import GuardedRoute, Visit, needs, visit
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.api.views import AssistantView, SourceView
from recado.assistants import assistant, knowledge
from recado.db.scope import Scope
from recado.errors import NotFound, UsageError
from recado.identity import audit

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
ADMIN = needs("admin")
Who = Annotated[Visit, Depends(visit)]
Source = Annotated[
    str,
    Path(
        pattern=r"^[^/\\\x00-\x1f\x7f]{1,120}\.([mM][dD]|[mM][aA][rR][kK][dD][oO][wW][nN]|[tT][xX][tT]|[cC][sS][vV])$",
        description="The source's name, as of a file: its ending says how the text is read.",
        examples=["faq.md"],
    ),
]


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
        return AssistantView.model_validate(await assistant.look(scope, made.id), from_attributes=True)

    return await once(request, who, idempotency_key, make, status=201, location="/v1/assistants/{id}")


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
        found = await assistant.look(scope, assistant_id, lock=True)
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
        after = await assistant.look(scope, assistant_id)
        if after.version != found.version:
            # What changed, not what it says now: instructions are the owner's text.
            changed = sorted(name for name in given.model_fields_set if getattr(after, name) != getattr(found, name))
            await audit.record(scope, who.caller, "change", "assistant", str(assistant_id), {"changed": changed})
    response.headers["ETag"] = etag(after.version)
    return AssistantView.model_validate(after, from_attributes=True)


@router.put(
    "/knowledge/sources/{source}",
    tags=["Knowledge"],
    operation_id="put_knowledge",
    responses=describe(),
    openapi_extra=needs("write"),
)
async def put_knowledge(who: Who, source: Source, given: KnowledgeText) -> SourceView:
    """Make a text all that is known from a source; entries that were there keep their ids."""
    entries, told = await asyncio.to_thread(_read, source, given.text)
    spoken = given.language or told
    if spoken is None:
        async with who.scope() as scope:
            spoken = (await assistant.ensure_default(scope)).language
    # Before the transaction: it would hold its connection, and its locks, all the while.
    analysed = await knowledge.analyse(entries, spoken)
    async with who.scope() as scope:
        known = await knowledge.replace(scope, source=source, entries=entries, language=spoken, analysed=analysed)
        if known.changed:
            data = {"entries": known.entries, "language": spoken}
            await audit.record(scope, who.caller, "add", "knowledge", source, data)
    return SourceView(source=source, entries=known.entries, language=spoken)


def _read(source: str, text: str) -> tuple[list[knowledge.Entry], str | None]:
    """The entries of a text, and their language if it can be told; in a thread, long texts take their time."""
    try:
        entries = knowledge.read(source, text.encode())
    except UsageError as error:
        # The words are ours, the name before them is the caller's.
        raise wrong("text", str(error).removeprefix(f"{source}: ")) from None
    return entries, knowledge.language_of(entries)


@router.delete(
    "/knowledge/sources/{source}",
    tags=["Knowledge"],
    operation_id="forget_knowledge",
    responses=describe(404),
    openapi_extra=needs("write"),
)
async def forget_knowledge(who: Who, source: Source) -> SourceView:
    """Forget all that is known from a source."""
    async with who.scope() as scope:
        entries = await knowledge.forget(scope, source)
        if not entries:
            raise NotFound("nothing is known from this source")
        await audit.record(scope, who.caller, "remove", "knowledge", source, {"entries": entries})
    return SourceView(source=source, entries=entries, language=None)
