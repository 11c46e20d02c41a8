"""Routes that act on conversations (take, give back, close, assign) and on contacts."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Request, Response

from recado.api.forms import Assignment, ContactChange
from recado.api.shared.door import GuardedRoute, Visit, needs, visit
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.api.views import ContactView, ConversationView, Reason
from recado.conversations import contacts, conversations
from recado.conversations.states import Action
from recado.db.scope import Scope
from recado.errors import NotFound
from recado.identity import audit, users

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
WRITE = needs("write")
Who = Annotated[Visit, Depends(visit)]


async def _move(
    request: Request,
    who: Visit,
    conversation_id: UUID,
    action: Action,
    given: Reason | None,
    idempotency_key: str | None,
    if_match: str | None,
) -> Response:
    reason = given.reason if given else None

    async def move(scope: Scope) -> ConversationView:
        found = await conversations.look(scope, conversation_id, lock=True)
        check_version(if_match, found.version)
        by = who.caller.id if who.caller.kind == "user" else None
        moved = await conversations.move(scope, found, action, reason=reason, by=by, now=who.wiring.clock.now())
        await audit.record(
            scope, who.caller, action, "conversation", str(conversation_id), {"reason": reason} if reason else None
        )
        return ConversationView.of(moved, who.wiring.clock.now())

    return await once(request, who, idempotency_key, move, status=200)


Why = Annotated[Reason | None, Body()]
_MOVING: dict[str, Any] = {
    "tags": ["Conversations"],
    "response_model": ConversationView,
    "responses": describe(404, 409, 412, sends={200: ["ETag"]}),
    "openapi_extra": WRITE,
}


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
    return await _move(request, who, conversation_id, "take", given, idempotency_key, if_match)


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
    return await _move(request, who, conversation_id, "give_back", given, idempotency_key, if_match)


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
    return await _move(request, who, conversation_id, "close", given, idempotency_key, if_match)


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
        found = await conversations.look(scope, conversation_id, lock=True)
        check_version(version, found.version)
        await _check_assignee(scope, given.assignee_id)
        assigned = await conversations.assign(scope, found, assignee_id=given.assignee_id)
        if assigned != found:
            data = {"assignee_id": str(given.assignee_id) if given.assignee_id else None}
            await audit.record(scope, who.caller, "assign", "conversation", str(conversation_id), data)
        return ConversationView.of(assigned, who.wiring.clock.now())

    return await once(request, who, idempotency_key, assign, status=200)


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


async def _check_assignee(scope: Scope, assignee_id: UUID | None) -> None:
    if assignee_id is None:
        return
    try:
        user = await users.get(scope, assignee_id)
    except NotFound:
        user = None
    if user is None or user.status != "active" or user.role == "viewer":
        raise wrong("assignee_id", "is no active admin or operator of this owner")
