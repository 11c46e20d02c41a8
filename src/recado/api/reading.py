"""Routes that read: what belongs to the owner of the key."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from recado.api.shared import pages
from recado.api.shared.door import GuardedRoute, Visit, needs, visit
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.api.shared.versions import etag
from recado.api.showing import shown
from recado.api.views import (
    AssistantView,
    ContactView,
    ConversationView,
    EventView,
    KnowledgeView,
    MessageView,
    NumberView,
    OwnerView,
    TwilioAccountView,
    WholeMessageView,
)
from recado.assistants import assistant, knowledge
from recado.channels.twilio import listing, numbers
from recado.conversations import contacts, conversations, events, messages
from recado.identity import owners

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
READ = needs("read")
Who = Annotated[Visit, Depends(visit)]


@router.get(
    "/owners/me",
    tags=["Owners"],
    operation_id="get_owner",
    responses=describe(sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_owner(who: Who, response: Response) -> OwnerView:
    """The owner of this key."""
    async with who.scope() as scope:
        found = await owners.get(scope.conn, scope.owner_id)
    response.headers["ETag"] = etag(found.version)
    return OwnerView.model_validate(found, from_attributes=True)


@router.get(
    "/twilio-accounts",
    tags=["Twilio accounts"],
    operation_id="list_twilio_accounts",
    responses=describe(),
    openapi_extra=READ,
)
async def list_twilio_accounts(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[TwilioAccountView]:
    """The owner's Twilio accounts, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(TwilioAccountView, await listing.accounts(scope, after=after, limit=limit), limit)


@router.get(
    "/twilio-accounts/{account_id}",
    tags=["Twilio accounts"],
    operation_id="get_twilio_account",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_twilio_account(who: Who, account_id: UUID, response: Response) -> TwilioAccountView:
    """A Twilio account, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await listing.account(scope, account_id)
    response.headers["ETag"] = etag(found.version)
    return TwilioAccountView.model_validate(found, from_attributes=True)


@router.get("/numbers", tags=["Numbers"], operation_id="list_numbers", responses=describe(), openapi_extra=READ)
async def list_numbers(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[NumberView]:
    """The owner's numbers, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(NumberView, await numbers.page(scope, after=after, limit=limit), limit)


@router.get(
    "/numbers/{number_id}",
    tags=["Numbers"],
    operation_id="get_number",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_number(who: Who, number_id: UUID, response: Response) -> NumberView:
    """A number, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await numbers.look(scope, number_id)
    response.headers["ETag"] = etag(found.version)
    return NumberView.model_validate(found, from_attributes=True)


@router.get(
    "/assistants", tags=["Assistants"], operation_id="list_assistants", responses=describe(), openapi_extra=READ
)
async def list_assistants(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[AssistantView]:
    """The owner's assistants, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(AssistantView, await assistant.page(scope, after=after, limit=limit), limit)


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
        found = await assistant.look(scope, assistant_id)
    response.headers["ETag"] = etag(found.version)
    return AssistantView.model_validate(found, from_attributes=True)


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
        return KnowledgeView.model_validate(await knowledge.look(scope, entry_id), from_attributes=True)


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
        found = await conversations.look(scope, conversation_id)
    response.headers["ETag"] = etag(found.version)
    return ConversationView.of(found, who.wiring.clock.now())


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
        await conversations.look(scope, conversation_id)
        found = await messages.page(scope, conversation_id, before=before, limit=limit)
        return pages.page(MessageView, await shown(scope, found), limit)


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


@router.get("/events", tags=["Events"], operation_id="list_events", responses=describe(), openapi_extra=READ)
async def list_events(
    who: Who,
    after: Annotated[
        str, Query(pattern=r"^[0-9]{1,18}$", description="The id of the last event that you have; 0 for all.")
    ] = "0",
    limit: Limit = pages.LIMIT,
) -> Page[EventView]:
    """What happened after an event, oldest first; none is missed, however long it took to be committed.

    An event shows once nothing that is being written any more can come to stand before it: mostly at once.

    `next` is what to ask `after` next, whether or not there is anything yet.
    """
    async with who.scope() as scope:
        found = await events.page(scope, after=int(after), limit=limit)
    items = [
        EventView(
            id=str(event.id),
            at=event.at,
            step=event.step,
            what=event.what,
            conversation_id=event.conversation_id,
            message_id=event.message_id,
            correlation_id=event.correlation_id,
            data=event.data,
        )
        for event in found
    ]
    return Page[EventView](items=items, next=items[-1].id if items else after)
