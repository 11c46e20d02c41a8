"""Messages: those of a conversation, each whole, and sending one, in a conversation or to write first."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from recado.api.messages.forms import NewMessage, NewMessageTo
from recado.api.messages.outgoing import store
from recado.api.messages.views import MessageView, WholeMessageView, shown
from recado.api.shared import pages
from recado.api.shared.door import READ, WRITE, GuardedRoute, Who
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.channels.twilio import numbers
from recado.conversations import contacts, conversations, messages
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound

router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get(
    "/conversations/{conversation_id}/messages",
    tags=["Messages"],
    operation_id="list_messages",
    responses=describe(404),
    openapi_extra=READ,
)
async def list_messages(
    who: Who, conversation_id: UUID, cursor: Cursor = None, limit: Limit = pages.LIMIT
) -> Page[MessageView]:
    """A conversation's messages, newest first."""
    before = pages.read(cursor)
    async with who.scope() as scope:
        await conversations.listed(scope, conversation_id)
        found = await messages.page(scope, conversation_id, before=before, limit=limit)
        return pages.page(MessageView, await shown(scope, found), limit)


@router.post(
    "/conversations/{conversation_id}/messages",
    tags=["Messages"],
    operation_id="send_message",
    status_code=201,
    response_model=MessageView,
    responses=describe(404, 409, sends={201: ["Location"]}),
    openapi_extra=WRITE,
)
async def send_message(
    request: Request, who: Who, conversation_id: UUID, given: NewMessage, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a message to the conversation's contact: 201 means it is stored and will be sent, in order.

    What becomes of it shows in its `status`. 409 when the conversation is closed, its contact wants no messages, or
    WhatsApp's 24 hours are over: then only a template is taken.
    """

    async def send(scope: Scope) -> MessageView:
        found = await conversations.listed(scope, conversation_id, lock=True)
        if found.status == "closed":
            raise Conflict("the conversation is closed: nothing can be sent in it")
        return await store(scope, who, found, given)

    return await once(request, who, idempotency_key, send, status=201, location="/v1/messages/{id}")


@router.get(
    "/messages/{message_id}",
    tags=["Messages"],
    operation_id="get_message",
    responses=describe(404),
    openapi_extra=READ,
)
async def get_message(who: Who, message_id: UUID) -> WholeMessageView:
    """A message whole, and what came of it."""
    async with who.scope() as scope:
        [message] = await shown(scope, [await messages.get(scope, message_id)])
        return WholeMessageView(**message.model_dump(), parameters=await messages.parameters(scope, message_id))


@router.post(
    "/messages",
    tags=["Messages"],
    operation_id="send_message_to",
    status_code=201,
    response_model=MessageView,
    responses=describe(409, sends={201: ["Location"]}),
    openapi_extra=WRITE,
)
async def send_message_to(
    request: Request, who: Who, given: NewMessageTo, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a message to an address, also as the first ever: contact and open conversation are found, or made.

    All else is as for a message in a conversation. To a contact who has not written to this number within 24 hours only
    a template is taken (409 for everything else).
    """

    async def send(scope: Scope) -> MessageView:
        try:
            number = await numbers.listed(scope, given.number_id)
        except NotFound:
            raise wrong("number_id", "is no number of this owner") from None
        if number.status != "active":
            raise wrong("number_id", "is not routed: nobody would answer what the contact writes back")
        contact_id = await contacts.with_address(scope, given.to)
        found = await conversations.with_contact(scope, number_id=number.id, contact_id=contact_id)
        return await store(scope, who, found, given)

    return await once(request, who, idempotency_key, send, status=201, location="/v1/messages/{id}")
