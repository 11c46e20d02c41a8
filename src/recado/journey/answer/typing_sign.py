"""answer, meanwhile: the contact is shown that an answer is being written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from recado.channels.port import Sender, SendError
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.messages import Message
from recado.journey.answer.desk import AnswerDesk

#: Twilio shows a typing indicator for 25 s.
TYPING_S: Final = 20.0
#: Calls for it that may be under way, for one owner and for all; nobody waits for one, so they could gather.
CALLS_EACH, CALLS = 8, 32

_SHOWING: set[asyncio.Task[None]] = set()
_CALLING: Counter[UUID] = Counter()


@asynccontextmanager
async def typing_shown(
    desk: AnswerDesk, owner_id: UUID, conversation: Conversation, newest: Message
) -> AsyncIterator[None]:
    """Show the contact that an answer is being written; whatever goes wrong with it, the turn goes on."""
    done = asyncio.Event()

    async def show() -> None:
        try:
            sender = await desk.sender_of(owner_id, conversation.account_id)
            while newest.provider_sid is not None and not done.is_set():
                await _show_typing(sender, owner_id, newest.provider_sid)
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), TYPING_S)
        except SendError as error:
            await happened(owner_id, "answer", "typing_failed", conversation_id=conversation.id, code=error.code)
        except Exception as error:
            await happened(
                owner_id, "answer", "typing_broke", conversation_id=conversation.id, error=type(error).__name__
            )

    # A call that is under way when the answer is there is left to end by itself: nobody waits for it.
    showing = asyncio.create_task(show())
    _SHOWING.add(showing)
    showing.add_done_callback(_SHOWING.discard)
    try:
        yield
    finally:
        done.set()


async def _show_typing(sender: Sender, owner_id: UUID, message_sid: str) -> None:
    """Have it shown, unless many such calls are under way: deliveries go by the same connections."""
    if _CALLING[owner_id] >= CALLS_EACH or _CALLING.total() >= CALLS:
        return
    _CALLING[owner_id] += 1
    try:
        await sender.typing(message_sid)
    finally:
        _CALLING[owner_id] -= 1
        if not _CALLING[owner_id]:
            del _CALLING[owner_id]
