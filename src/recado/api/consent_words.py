"""Consent words: the owner's own, by which contacts opt out and in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import ADMIN, READ, GuardedRoute, Who
from recado.api.shared.forms import NO_NUL, Given, Language
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import FieldError, Problem, describe
from recado.conversations import consent_words
from recado.db.scope import Scope
from recado.identity import audit


class ConsentWordView(BaseModel):
    """A word of the owner's own by which contacts opt out or in, as it is compared."""

    id: UUID
    word: Annotated[str, Field(examples=["chega de mensagens"])]
    action: Literal["stop", "start"]
    language: Language | None
    created_at: datetime


class NewConsentWord(Given):
    """A word or short phrase that opts out (`stop`) or in (`start`) when it is the whole message."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"word": "Chega de mensagens", "action": "stop"}]}
    )

    word: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=NO_NUL, description="Case, accents and punctuation are nothing."),
    ]
    action: Literal["stop", "start"]
    language: Annotated[Language | None, Field(description="Of the word, which the confirmation is then in.")] = None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get(
    "/consent-words", tags=["Consent"], operation_id="list_consent_words", responses=describe(), openapi_extra=READ
)
async def list_consent_words(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[ConsentWordView]:
    """The words that the owner added, oldest first; those that all owners have are not among them."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(ConsentWordView, pages.cut(await consent_words.words(scope), after, limit), limit)


@router.post(
    "/consent-words",
    tags=["Consent"],
    operation_id="add_consent_word",
    status_code=201,
    response_model=ConsentWordView,
    responses=describe(409),
    openapi_extra=ADMIN,
)
async def add_consent_word(
    request: Request, who: Who, given: NewConsentWord, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add a word, or change what one does; it counts from the next message on. 409 for one that all owners have."""
    if consent_words.normal(given.word) is None:
        raise Problem(
            422, "the word has no letter or digit", errors=[FieldError(where="body.word", detail="holds no word")]
        )

    async def add(scope: Scope) -> ConsentWordView:
        made = await consent_words.add_word(scope, given.word, given.action, language=given.language)
        await audit.record(scope, who.caller, "add", "consent_word", str(made.id), {"action": made.action})
        return ConsentWordView.model_validate(made, from_attributes=True)

    return await once(request, who, idempotency_key, add, status=201)


@router.delete(
    "/consent-words/{word_id}",
    tags=["Consent"],
    operation_id="remove_consent_word",
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def remove_consent_word(who: Who, word_id: UUID) -> ConsentWordView:
    """Take a word of the owner's away; who opted out by it stays so."""
    async with who.scope() as scope:
        gone = await consent_words.remove_word(scope, word_id)
        await audit.record(scope, who.caller, "remove", "consent_word", str(word_id))
    return ConsentWordView.model_validate(gone, from_attributes=True)
