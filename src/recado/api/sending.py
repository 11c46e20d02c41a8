"""The routes that send: a text, an attachment, buttons, a list, or a template, in a conversation or to write first."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field

from recado.api.acting import IdempotencyKey, once
from recado.api.door import GuardedRoute, Visit, needs, visit
from recado.api.forms import CANONICAL, SID
from recado.api.problems import describe, wrong
from recado.api.showing import shown
from recado.api.views import NO_NUL, NOT_BLANK, Given, MessageView
from recado.channels.twilio import numbers
from recado.channels.twilio.addresses import PERSON, is_whatsapp
from recado.conversations import consent, contacts, conversations, media, messages, templates
from recado.conversations.conversations import Listed
from recado.db.scope import Scope
from recado.delivery import content as rules
from recado.delivery.content import Attachment, Button, Content, Item, ListPicker, QuickReplies
from recado.delivery.window import window
from recado.errors import Conflict, NotFound, UsageError
from recado.identity import audit, owners
from recado.ids import new_id

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
WRITE = needs("write")
Who = Annotated[Visit, Depends(visit)]

Title = Annotated[str, Field(min_length=1, max_length=rules.TITLE_CHARS, pattern=NOT_BLANK)]
ChoiceId = Annotated[
    str, Field(min_length=1, max_length=rules.ID_CHARS, pattern=NOT_BLANK, description="Comes back when it is tapped.")
]


class NewButton(Given):
    """A button to tap."""

    id: ChoiceId
    title: Annotated[str, Field(min_length=1, max_length=rules.BUTTON_CHARS, pattern=NOT_BLANK)]


class NewItem(Given):
    """A choice of a list."""

    id: ChoiceId
    title: Title
    description: Annotated[str, Field(min_length=1, max_length=rules.DESCRIPTION_CHARS, pattern=NOT_BLANK)] | None = (
        None
    )


class NewList(Given):
    """Choices behind a button."""

    button: Annotated[str, Field(min_length=1, max_length=rules.BUTTON_CHARS, pattern=NOT_BLANK)]
    items: Annotated[list[NewItem], Field(min_length=1, max_length=rules.ITEMS)]


class NewTemplate(Given):
    """An approved template with all its variables: each one line, without tabs or four spaces in a row."""

    content_sid: Annotated[str, SID, Field(pattern=r"^HX[0-9a-f]{32}$")]
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=rules.TEXT_CHARS, pattern=NO_NUL)]], Field(max_length=50)
    ] = Field(default_factory=dict)


class NewMessage(Given):
    """What to send: a text, and with it at most one of the others. A template says all by itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"body": "Seu pedido está pronto."},
                {"body": "Quer confirmar?", "quick_replies": [{"id": "yes", "title": "Sim"}]},
                {"template": {"content_sid": "HX" + "0" * 32, "variables": {"1": "Ana"}}},
            ]
        },
    )

    body: Annotated[str, Field(min_length=1, max_length=16_000, pattern=NOT_BLANK)] | None = None
    media_id: Annotated[UUID, Field(description="A stored attachment of the owner's.")] | None = None
    quick_replies: Annotated[list[NewButton], Field(min_length=1, max_length=rules.BUTTONS)] | None = None
    list_: Annotated[NewList | None, Field(alias="list")] = None
    template: NewTemplate | None = None


class NewMessageTo(NewMessage):
    """What to send, to whom, and from which number."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "number_id": "0199a5b1-7c2e-7d3f-8a4b-1c2d3e4f5a6b",
                    "to": "whatsapp:+5511987654321",
                    "template": {"content_sid": "HX" + "0" * 32, "variables": {"1": "Ana"}},
                },
            ]
        },
    )

    number_id: Annotated[UUID, Field(description="The owner's number that it comes from.")]
    to: Annotated[
        str,
        CANONICAL,
        Field(
            pattern=PERSON,
            description="`whatsapp:+` and the telephone number, or `whatsapp:` and a business-scoped id.",
        ),
    ]


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
            number = await numbers.look(scope, given.number_id)
        except NotFound:
            raise wrong("number_id", "is no number of this owner") from None
        if number.status != "active":
            raise wrong("number_id", "is not routed: nobody would answer what the contact writes back")
        contact_id = await contacts.with_address(scope, given.to)
        found = await conversations.with_contact(scope, number_id=number.id, contact_id=contact_id)
        return await _send(scope, who, found, given)

    return await once(request, who, idempotency_key, send, status=201, location="/v1/messages/{id}")


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
        found = await conversations.look(scope, conversation_id, lock=True)
        if found.status == "closed":
            raise Conflict("the conversation is closed: nothing can be sent in it")
        return await _send(scope, who, found, given)

    return await once(request, who, idempotency_key, send, status=201, location="/v1/messages/{id}")


async def _send(scope: Scope, who: Visit, found: Listed, given: NewMessage) -> MessageView:
    """Store the message in the conversation, which is locked, with its delivery. Raises Conflict, UsageError."""
    if (await owners.get(scope.conn, scope.owner_id)).status != "active":
        raise Conflict("the owner is suspended: nothing is sent")
    if not is_whatsapp((await conversations.get(scope, found.id)).contact_address):
        raise Conflict(numbers.OTHER_CHANNEL)
    await consent.demand(scope, found.id)
    now = who.wiring.clock.now()
    if given.template is None and not window(found.last_inbound_at, now).open:
        raise Conflict(
            "the contact has not written within the last 24 hours: WhatsApp takes only a template until they do, "
            "so give `template`"
        )
    body, content, kind = await _content(scope, found.id, given)
    message_id = await messages.enqueue_outbound(
        scope,
        conversation_id=found.id,
        author="api",
        body=body,
        correlation_id=new_id(),
        now=now,
        content=content,
        kind=kind,
    )
    await audit.record(scope, who.caller, "send", "message", str(message_id))
    [message] = await shown(scope, [await messages.get(scope, message_id)])
    return message


async def _content(scope: Scope, conversation_id: UUID, given: NewMessage) -> tuple[str, Content | None, str]:
    """What the contact reads, what goes with it, and the kind of message. Raises UsageError, Conflict."""
    body = given.body or ""
    if sum(one is not None for one in (given.media_id, given.quick_replies, given.list_, given.template)) > 1:
        raise UsageError("a message has one of media_id, quick_replies, list and template")
    if given.template is not None:
        if given.body is not None:
            raise UsageError("a template says all by itself: leave out body")
        conversation = await conversations.get(scope, conversation_id)
        use, says = await templates.use(
            scope, conversation.account_id, given.template.content_sid, given.template.variables
        )
        return says, use, "template"
    if given.media_id is not None:
        return body, Attachment(media_id=given.media_id), await _kind(scope, given.media_id)
    if given.quick_replies is not None:
        replies = QuickReplies(buttons=tuple(Button(id=one.id, title=one.title) for one in given.quick_replies))
        rules.check(replies, body)
        return body, replies, "quick_replies"
    if given.list_ is not None:
        items = (Item(id=one.id, title=one.title, description=one.description) for one in given.list_.items)
        picker = ListPicker(button=given.list_.button, items=tuple(items))
        rules.check(picker, body)
        return body, picker, "list"
    if not body:
        raise UsageError("nothing to send: give body, media_id or template")
    return body, None, "text"


async def _kind(scope: Scope, media_id: UUID) -> str:
    try:
        found = await media.get(scope, media_id)
    except NotFound:
        raise UsageError("there is no such attachment") from None
    if found.status != media.STORED:
        raise Conflict(f"the attachment is {found.status}: only a stored one can be sent")
    content_type = found.content_type or found.announced_type
    match rules.unsendable(content_type, found.size_bytes or 0):
        case "type":
            raise UsageError(f"WhatsApp brings files of the type {content_type}, and does not carry them")
        case "size":
            raise UsageError(f"WhatsApp carries {rules.most_bytes(content_type)} bytes of this type at most")
    return rules.kind_of(content_type)
