"""Stores what a caller gave to send, with its delivery, in a conversation."""

from __future__ import annotations

from uuid import UUID

from recado.api.messages.forms import NewMessage
from recado.api.messages.views import MessageView, shown
from recado.api.shared.door import Visit
from recado.channels.twilio import numbers
from recado.channels.twilio.addresses import is_whatsapp
from recado.conversations import conversations, media, messages, suppressions, templates
from recado.conversations.conversations import Listed
from recado.db.scope import Scope
from recado.delivery import content as rules
from recado.delivery.content import Attachment, Button, Content, Item, ListPicker, QuickReplies
from recado.delivery.window import window
from recado.errors import Conflict, NotFound, UsageError
from recado.identity import audit, owners
from recado.ids import new_id


async def store(scope: Scope, who: Visit, found: Listed, given: NewMessage) -> MessageView:
    """Store the message in the conversation, which is locked, with its delivery. Raises Conflict, UsageError."""
    if (await owners.get(scope.conn, scope.owner_id)).status != "active":
        raise Conflict("the owner is suspended: nothing is sent")
    if not is_whatsapp((await conversations.get(scope, found.id)).contact_address):
        raise Conflict(numbers.OTHER_CHANNEL)
    await suppressions.demand(scope, found.id)
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
