"""deliver, of what was in hand when a worker died: it is tried again by itself, and held for people after two deaths.

How often is counted at the death (`ops/executors`). What Twilio may have taken of it stays as it is: a retry by people
looks that up before it posts anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from recado.conversations import conversations, messages, parts
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.db.pool import Row
from recado.db.scope import Scope
from recado.journey.deliver.dispatch import Apology
from recado.journey.suspects import blamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An outbound message that was in hand at so many deaths."""

    id: UUID
    starts: int
    begun_at: datetime | None


async def hold_if_broken(
    scope: Scope, message: Row, conversation: Conversation, *, apology: Apology, now: datetime
) -> bool:
    """Hold the message if its workers die of it, and have people look; whether it was.

    The contact hears an apology in place of an answer. Nothing that anybody wrote is looked at. Raises Later while it
    can't be told what workers die of.
    """
    suspect = Suspect(id=message["id"], starts=message["starts"], begun_at=message["begun_at"])
    if not await blamed(scope, [suspect], now=now):
        return False
    await parts.hold(scope, suspect.id, held_for="broken", error_code=None, reason="died")
    await forgive(scope, suspect.id, now=now)
    await conversations.ask_for_people(scope, conversation.id, why="broken")
    await happened(
        scope,
        "deliver",
        "broken",
        conversation_id=conversation.id,
        message_id=suspect.id,
        correlation_id=message["correlation_id"],
        why="died",
    )
    words = await apology(scope, conversation) if message["author"] == "assistant" else None
    if words is not None:
        await messages.enqueue_outbound(
            scope,
            conversation_id=conversation.id,
            author="system",
            body=words,
            correlation_id=message["correlation_id"],
            reply_to=message["reply_to"],
            now=now,
        )
    return True


async def forgive(scope: Scope, message_id: UUID, *, now: datetime) -> None:
    """What was in hand at a death has come to an end: it is counted from the beginning."""
    await messages.count_starts(scope, {message_id: 0}, now=now)
