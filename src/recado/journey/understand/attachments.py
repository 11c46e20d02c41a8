"""understand, what came with a message: fetch it, make text of voice, then let the turn have the message.

`fetch_media` and `transcribe_audio` run on the queue `media`, before the turn. Whatever happens to an attachment, the
message goes on: what could not be had or understood is on its row in a word, for people to see, and the turn says so to
the contact. What becomes of all of them is one transaction with the turn's workflow, so a crash only repeats the work.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.conversations import conversations, messages
from recado.conversations import media as attachments
from recado.conversations.happenings import happened
from recado.conversations.media import FAILED
from recado.db.pool import PASSING, persistently
from recado.db.scope import scoped
from recado.errors import RecadoError
from recado.identity import plans
from recado.journey.pause import Later
from recado.journey.suspects import blamed, put_back
from recado.journey.understand.concluding import conclude, give_up
from recado.journey.understand.fetching import fetch_and_understand
from recado.journey.understand.language import may_be_spoken, with_contact_language
from recado.journey.understand.media_desk import Case, MediaDesk, Outcome, is_open


async def understand_media(
    desk: MediaDesk, owner_id: UUID, conversation_id: UUID, message_id: UUID, *, voice: bool
) -> None:
    """Fetch the message's attachments, make text of its voice with `voice`, and enqueue its turn.

    Idempotent: attachments that were settled are not touched again, and the turn is enqueued once. Words of a note that
    was given up as late get a turn of their own.
    """
    began: dict[UUID, int] = {}
    try:
        async with AsyncExitStack() as stack:
            await _understand(desk, owner_id, conversation_id, message_id, began, stack, voice=voice)
    except (Later, *PASSING):
        await put_back(desk.pool, owner_id, began, step="understand")
        raise
    except Exception:  # a fault of ours must not cost the contact the answer to the rest
        await happened(owner_id, "understand", "media_failed", conversation_id=conversation_id, message_id=message_id)
        await persistently(partial(give_up, desk, owner_id, message_id))
    except BaseException:  # a stop: another worker goes on with it
        await put_back(desk.pool, owner_id, began, step="understand")
        raise


async def _understand(
    desk: MediaDesk,
    owner_id: UUID,
    conversation_id: UUID,
    message_id: UUID,
    began: dict[UUID, int],
    stack: AsyncExitStack,
    *,
    voice: bool,
) -> None:
    """Do so; what was counted up in `began` is left with the caller, however it ends."""
    if await persistently(partial(_is_suspected, desk, owner_id, message_id)):
        await stack.enter_async_context(desk.suspects.alone())
    sound = await persistently(partial(_begin, desk, owner_id, message_id, began))
    case = await persistently(partial(_case_of, desk, owner_id, conversation_id, message_id))
    if not case.media and not case.message.waits:
        await put_back(desk.pool, owner_id, began, step="understand")
        return
    for key in await persistently(partial(conclude, desk, case, await _outcomes(desk, case, sound=sound, voice=voice))):
        with suppress(RecadoError, OSError):  # what no attachment has is swept later
            await desk.storage.delete(key)


async def _is_suspected(desk: MediaDesk, owner_id: UUID, message_id: UUID) -> bool:
    async with scoped(desk.pool, owner_id) as scope:
        return (await messages.awaiting(scope, message_id)).starts > 0


async def _begin(desk: MediaDesk, owner_id: UUID, message_id: UUID, began: dict[UUID, int]) -> bool:
    """Count the message up as in hand; False for one that is not to be given again."""
    now = desk.clock.now()
    async with scoped(desk.pool, owner_id) as scope:
        found = await messages.awaiting(scope, message_id)
        if await blamed(scope, [found], now=now):
            return False
        began[message_id] = found.starts + 1
        await messages.count_starts(scope, began, now=now)
        return True


async def _outcomes(desk: MediaDesk, case: Case, *, sound: bool, voice: bool) -> Sequence[Outcome]:
    """What becomes of each attachment; of a message that workers die of none is looked at."""
    if not sound:
        return [Outcome(media_id=one.id, status=FAILED, reason="broken") for one in case.media]
    with TemporaryDirectory(dir=desk.scratch) as folder:
        return [
            await fetch_and_understand(desk, case, one, Path(folder) / str(one.id), voice=voice) for one in case.media
        ]


async def _case_of(desk: MediaDesk, owner_id: UUID, conversation_id: UUID, message_id: UUID) -> Case:
    async with scoped(desk.pool, owner_id) as scope:
        message = await messages.awaiting(scope, message_id)
        found = (await attachments.of_messages(scope, [message_id])).get(message_id, [])
        # What they wrote just before the note has had no turn yet.
        conversation = await with_contact_language(scope, await conversations.get(scope, conversation_id))
        assistant = await assistants.for_number(scope, conversation.number_id)
        return Case(
            owner_id=owner_id,
            message=message,
            media=tuple(one for one in found if is_open(one)),
            languages=may_be_spoken(conversation, assistant),
            over_budget=await plans.reached(scope, "transcription_seconds", desk.clock.now()),
            began_at=time.monotonic(),
        )
