"""Messages as the API shows them: their rows with all that is read from them."""

from __future__ import annotations

from collections.abc import Sequence

from recado.api.views import MessageView
from recado.conversations import reading
from recado.conversations.messages import Listed
from recado.conversations.reading import Reading
from recado.conversations.saying import says
from recado.db.scope import Scope


async def shown(scope: Scope, found: Sequence[Listed]) -> list[MessageView]:
    """The messages in the order in which they were given."""
    readings = await reading.of(scope, [message.id for message in found])
    return [_view(message, readings[message.id]) for message in found]


def _view(message: Listed, read: Reading) -> MessageView:
    return MessageView.model_validate(
        {
            **{name: getattr(message, name) for name in MessageView.model_fields if hasattr(message, name)},
            **{name: getattr(read, name) for name in MessageView.model_fields if hasattr(read, name)},
            "says": says(read),
            "contacts": read.cards,
        },
        from_attributes=True,
    )
