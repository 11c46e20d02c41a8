"""A message whose 24-hour window is closed: the owner's fallback template carries its text, or it is held and shown.

A held message is not sent by itself when the contact writes again: by then it may answer what nobody asks any more.
People send it with `recado failed retry`, or let it be.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from recado.conversations import parts, templates
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.parts import Part
from recado.db.scope import Scope
from recado.delivery import templates as rules
from recado.delivery.content import TemplateUse, to_json
from recado.errors import Conflict, NotFound, UsageError

#: Twilio's code for a message outside the window.
OUTSIDE = 63016
#: Who has no name is called so, in the language of the template: a variable can't be empty.
NAMELESS = {"pt": "cliente", "es": "cliente"}

Way = Literal["template", "hold"]


async def carry_or_hold(scope: Scope, message_id: UUID, correlation_id: UUID, conversation: Conversation) -> Way:
    """Have the template carry what waits of the message, or hold it; the timeline says which, and why.

    A template carries one text: what has more parts, attachments or buttons left to send is held.
    """
    found = await _carrier(scope, message_id, conversation)
    way: Way = "hold" if isinstance(found, str) else "template"
    if isinstance(found, str):
        await parts.hold(scope, message_id, held_for="window", error_code=OUTSIDE, reason=found)
        details: dict[str, Any] = {"why": found}
    else:
        part, use, says = found
        await parts.become(scope, message_id, part.part, [says], content=to_json(use))
        details = {"part": part.part, "content_sid": use.content_sid}
    await happened(
        scope,
        "deliver",
        "window_closed" if way == "hold" else "window_template",
        conversation_id=conversation.id,
        message_id=message_id,
        correlation_id=correlation_id,
        **details,
    )
    return way


async def _carrier(
    scope: Scope, message_id: UUID, conversation: Conversation
) -> tuple[Part, TemplateUse, str] | Literal["no_template", "template_unusable", "template_too_small"]:
    """The part to replace, by which template and what that says; or a word for why there is none."""
    fallback = await templates.fallback_for(scope, conversation.number_id)
    if fallback is None:
        return "no_template"
    waiting = [part for part in await parts.of_message(scope, message_id) if part.status == parts.WAITING]
    if len(waiting) != 1 or waiting[0].content is not None:
        return "template_too_small"
    try:
        template = await templates.get(scope, conversation.account_id, fallback.content_sid)
    except NotFound:
        return "template_unusable"
    variables = rules.fill(
        fallback.variables,
        contact_name=conversation.contact_name or NAMELESS.get(template.language[:2].lower(), "customer"),
        text=waiting[0].body,
    )
    try:
        use, says = await templates.use(scope, conversation.account_id, fallback.content_sid, variables)
    except Conflict:
        return "template_unusable"
    except UsageError:
        return "template_too_small"
    return waiting[0], use, says
