"""Routes that act on conversations and assistants: send, take, give back, close, change."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Request, Response

from recado.api.acting import IdempotencyKey, IfMatch, check_version, etag, once
from recado.api.door import GuardedRoute, Visit, needs, visit
from recado.api.problems import Problem, describe
from recado.api.views import AssistantChange, AssistantView, ConversationView, MessageView, NewMessage, Reason
from recado.assistants import assistant
from recado.conversations import consent, conversations, messages
from recado.conversations.states import Action
from recado.db.scope import Scope
from recado.errors import Conflict
from recado.identity import audit, owners
from recado.ids import new_id

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
WRITE = needs("write")
ADMIN = needs("admin")
Who = Annotated[Visit, Depends(visit)]


@router.post(
    "/conversations/{conversation_id}/messages",
    tags=["Messages"],
    operation_id="send_message",
    status_code=201,
    response_model=MessageView,
    responses=describe(404, 409),
    openapi_extra=WRITE,
)
async def send_message(
    request: Request, who: Who, conversation_id: UUID, given: NewMessage, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a text to the conversation's contact: 201 means it is stored and will be sent, in order.

    What becomes of it shows in its `status`: outside WhatsApp's 24 hours it is not sent. 409 when the conversation is
    closed, or its contact wants no messages.
    """

    async def send(scope: Scope) -> MessageView:
        found = await conversations.look(scope, conversation_id, lock=True)
        if found.status == "closed":
            raise Conflict("the conversation is closed: nothing can be sent in it")
        if (await owners.get(scope.conn, scope.owner_id)).status != "active":
            raise Conflict("the owner is suspended: nothing is sent")
        await consent.demand(scope, conversation_id)
        message_id = await messages.enqueue_outbound(
            scope,
            conversation_id=conversation_id,
            author="api",
            body=given.body,
            correlation_id=new_id(),
            now=who.wiring.clock.now(),
        )
        await audit.record(scope, who.caller, "send", "message", str(message_id))
        return MessageView.model_validate(await messages.get(scope, message_id), from_attributes=True)

    return await once(request, who, idempotency_key, send, status=201)


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
        moved = await conversations.move(scope, found, action, reason=reason, now=who.wiring.clock.now())
        await audit.record(
            scope, who.caller, action, "conversation", str(conversation_id), {"reason": reason} if reason else None
        )
        return ConversationView.model_validate(moved, from_attributes=True)

    return await once(request, who, idempotency_key, move, status=200)


Why = Annotated[Reason | None, Body()]
_MOVING: dict[str, Any] = {
    "tags": ["Conversations"],
    "response_model": ConversationView,
    "responses": describe(404, 409, 412),
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


@router.patch(
    "/assistants/{assistant_id}",
    tags=["Assistants"],
    operation_id="change_assistant",
    responses=describe(404, 412, 428),
    openapi_extra=ADMIN,
)
async def change_assistant(
    who: Who, assistant_id: UUID, given: AssistantChange, response: Response, if_match: IfMatch = None
) -> AssistantView:
    """Change an assistant, from its next turn on. Needs `If-Match`: two people may be editing."""
    if if_match is None:
        raise Problem(428, "a change needs the header If-Match, with the ETag of what you read")
    async with who.scope() as scope:
        found = await assistant.look(scope, assistant_id, lock=True)
        check_version(if_match, found.version)
        await assistant.set(
            scope,
            found.name,
            instructions=given.instructions,
            model=given.model,
            language=given.language,
            apology=given.apology,
        )
        changed = sorted(name for name in given.model_fields_set if getattr(given, name) is not None)
        await audit.record(scope, who.caller, "change", "assistant", str(assistant_id), {"changed": changed})
        found = await assistant.look(scope, assistant_id)
    response.headers["ETag"] = etag(found.version)
    return AssistantView.model_validate(found, from_attributes=True)
