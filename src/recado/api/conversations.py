"""Conversations: listed, taken over, given back, assigned and closed. What is said in them is in `messages`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import examples, pages
from recado.api.shared.door import READ, WRITE, GuardedRoute, Visit, Who
from recado.api.shared.forms import NOT_BLANK, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.conversations import conversations
from recado.conversations.states import Action
from recado.db.scope import Scope
from recado.delivery.window import window
from recado.errors import NotFound
from recado.identity import audit, users


class WindowView(BaseModel):
    """While it is open anything may be sent, then only templates."""

    open: bool
    closes_at: Annotated[datetime | None, Field(description="Null while the contact has not written to this number.")]
    seconds_left: Annotated[int, Field(ge=0, le=86_400)]


class ConversationView(BaseModel):
    """A thread between a contact and a number. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[examples.ID])]
    number_id: Annotated[UUID, Field(examples=[examples.OTHER_ID])]
    contact_id: UUID
    status: Annotated[
        Literal["open", "handoff", "closed"], Field(description="In `handoff` people answer, the assistant is silent.")
    ]
    assignee_id: Annotated[UUID | None, Field(description="The user who sees to it.")]
    attention: Annotated[str | None, Field(description="Why people should look at it.")]
    close_reason: Annotated[str | None, Field(examples=["resolved"])]
    last_inbound_at: Annotated[
        datetime | None, Field(description="When the contact last wrote to this number; null if they never did.")
    ]
    opened_at: datetime
    closed_at: datetime | None
    version: int
    window: Annotated[WindowView, Field(description="WhatsApp's 24 hours, as they stand now.")]

    @classmethod
    def of(cls, found: conversations.Listed, now: datetime) -> ConversationView:
        """What is shown of a conversation at this moment."""
        as_it_stands = window(found.last_inbound_at, now)
        shown = WindowView(
            open=as_it_stands.open,
            closes_at=as_it_stands.closes_at,
            seconds_left=int(as_it_stands.left.total_seconds()),
        )
        return cls(**asdict(found), window=shown)


class Reason(Given):
    """Why; for the timeline and the reports."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "resolved"}]})

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=NOT_BLANK)] | None = None


class Assignment(Given):
    """Who is to see to a conversation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"assignee_id": examples.OTHER_ID}]})

    assignee_id: Annotated[UUID | None, Field(description="An active admin or operator; null: nobody.")]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
Why = Annotated[Reason | None, Body()]
_MOVING: dict[str, Any] = {
    "tags": ["Conversations"],
    "response_model": ConversationView,
    "responses": describe(404, 409, 412, sends={200: ["ETag"]}),
    "openapi_extra": WRITE,
}


@router.get(
    "/conversations",
    tags=["Conversations"],
    operation_id="list_conversations",
    responses=describe(),
    openapi_extra=READ,
)
async def list_conversations(
    who: Who,
    status: Literal["open", "handoff", "closed"] | None = None,
    contact_id: UUID | None = None,
    assignee_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = pages.LIMIT,
) -> Page[ConversationView]:
    """The owner's conversations, newest first."""
    before = pages.read(cursor)
    async with who.scope() as scope:
        found = await conversations.page(
            scope, status=status, contact_id=contact_id, assignee_id=assignee_id, before=before, limit=limit
        )
    now = who.wiring.clock.now()
    return pages.page(ConversationView, found, limit, show=lambda item: ConversationView.of(item, now))


@router.get(
    "/conversations/{conversation_id}",
    tags=["Conversations"],
    operation_id="get_conversation",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_conversation(who: Who, conversation_id: UUID, response: Response) -> ConversationView:
    """A conversation with its window, and its ETag."""
    async with who.scope() as scope:
        found = await conversations.listed(scope, conversation_id)
    response.headers["ETag"] = etag(found.version)
    return ConversationView.of(found, who.wiring.clock.now())


@router.post("/conversations/{conversation_id}/take", operation_id="take_conversation", **_MOVING)
async def take_conversation(
    request: Request,
    who: Who,
    conversation_id: UUID,
    given: Why = None,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Take an open conversation over: the assistant stays silent until it is given back."""
    return await _change_state(request, who, conversation_id, "take", given, idempotency_key, if_match)


@router.post("/conversations/{conversation_id}/give-back", operation_id="give_back_conversation", **_MOVING)
async def give_back_conversation(
    request: Request,
    who: Who,
    conversation_id: UUID,
    given: Why = None,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Give a conversation back to the assistant, which answers from the contact's next message on."""
    return await _change_state(request, who, conversation_id, "give_back", given, idempotency_key, if_match)


@router.post("/conversations/{conversation_id}/close", operation_id="close_conversation", **_MOVING)
async def close_conversation(
    request: Request,
    who: Who,
    conversation_id: UUID,
    given: Why = None,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Close a conversation; the contact's next message opens a new one."""
    return await _change_state(request, who, conversation_id, "close", given, idempotency_key, if_match)


async def _change_state(
    request: Request,
    who: Visit,
    conversation_id: UUID,
    action: Action,
    given: Reason | None,
    idempotency_key: str | None,
    if_match: str | None,
) -> Response:
    reason = given.reason if given else None

    async def change(scope: Scope) -> ConversationView:
        found = await conversations.listed(scope, conversation_id, lock=True)
        check_version(if_match, found.version)
        by = who.caller.id if who.caller.kind == "user" else None
        moved = await conversations.change_state(scope, found, action, reason=reason, by=by, now=who.wiring.clock.now())
        await audit.record(
            scope, who.caller, action, "conversation", str(conversation_id), {"reason": reason} if reason else None
        )
        return ConversationView.of(moved, who.wiring.clock.now())

    return await once(request, who, idempotency_key, change, status=200)


@router.post(
    "/conversations/{conversation_id}/assign",
    tags=["Conversations"],
    operation_id="assign_conversation",
    response_model=ConversationView,
    responses=describe(404, 409, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=WRITE,
)
async def assign_conversation(
    request: Request,
    who: Who,
    conversation_id: UUID,
    given: Assignment,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Say which user sees to a conversation; it changes nothing else. Needs `If-Match`."""
    version = demand(if_match)

    async def assign(scope: Scope) -> ConversationView:
        found = await conversations.listed(scope, conversation_id, lock=True)
        check_version(version, found.version)
        await _check_assignee(scope, given.assignee_id)
        assigned = await conversations.assign(scope, found, assignee_id=given.assignee_id)
        if assigned != found:
            data = {"assignee_id": str(given.assignee_id) if given.assignee_id else None}
            await audit.record(scope, who.caller, "assign", "conversation", str(conversation_id), data)
        return ConversationView.of(assigned, who.wiring.clock.now())

    return await once(request, who, idempotency_key, assign, status=200)


async def _check_assignee(scope: Scope, assignee_id: UUID | None) -> None:
    if assignee_id is None:
        return
    try:
        user = await users.get(scope, assignee_id)
    except NotFound:
        user = None
    if user is None or user.status != "active" or user.role == "viewer":
        raise wrong("assignee_id", "is no active admin or operator of this owner")
