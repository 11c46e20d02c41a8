"""Knowledge: what an owner's company knows, and from which sources."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import READ, WRITE, GuardedRoute, Who
from recado.api.shared.forms import NO_NUL, Given, Language
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.assistants import assistant, knowledge
from recado.errors import NotFound, UsageError
from recado.identity import audit

Source = Annotated[
    str,
    Path(
        pattern=r"^[^/\\\x00-\x1f\x7f]{1,120}\.([mM][dD]|[mM][aA][rR][kK][dD][oO][wW][nN]|[tT][xX][tT]|[cC][sS][vV])$",
        description="The source's name, as of a file: its ending says how the text is read.",
        examples=["faq.md"],
    ),
]


class KnowledgeView(BaseModel):
    """One thing the company knows."""

    id: UUID
    source: Annotated[str, Field(examples=["faq.md"])]
    title: Annotated[str, Field(examples=["Qual o horário?"])]
    content: Annotated[str, Field(examples=["Abrimos das 7h às 20h."])]
    language: Annotated[str, Field(examples=["pt"])]
    created_at: datetime


class SourceView(BaseModel):
    """What is known from one source."""

    source: Annotated[str, Field(examples=["faq.md"])]
    entries: Annotated[int, Field(description="How many; of a source that was deleted, how many there were.")]
    language: Annotated[str | None, Field(examples=["pt"])]


class KnowledgeText(Given):
    """All that is known from a source."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"text": "# Qual o horário?\nAbrimos das 7h às 20h.\n", "language": "pt"}]},
    )

    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=250_000,
            pattern=NO_NUL,
            description="Markdown, each heading with its text an entry; of a .csv source rows of question and answer.",
        ),
    ]
    language: Annotated[Language | None, Field(description="Null: told from the text.")] = None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/knowledge", tags=["Knowledge"], operation_id="list_knowledge", responses=describe(), openapi_extra=READ)
async def list_knowledge(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[KnowledgeView]:
    """What the owner's company knows, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(KnowledgeView, await knowledge.page(scope, after=after, limit=limit), limit)


@router.get(
    "/knowledge/{entry_id}",
    tags=["Knowledge"],
    operation_id="get_knowledge",
    responses=describe(404),
    openapi_extra=READ,
)
async def get_knowledge(who: Who, entry_id: UUID) -> KnowledgeView:
    """One thing that the owner's company knows."""
    async with who.scope() as scope:
        return KnowledgeView.model_validate(await knowledge.listed(scope, entry_id), from_attributes=True)


@router.put(
    "/knowledge/sources/{source}",
    tags=["Knowledge"],
    operation_id="put_knowledge",
    responses=describe(),
    openapi_extra=WRITE,
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
    openapi_extra=WRITE,
)
async def forget_knowledge(who: Who, source: Source) -> SourceView:
    """Forget all that is known from a source."""
    async with who.scope() as scope:
        entries = await knowledge.forget(scope, source)
        if not entries:
            raise NotFound("nothing is known from this source")
        await audit.record(scope, who.caller, "remove", "knowledge", source, {"entries": entries})
    return SourceView(source=source, entries=entries, language=None)
