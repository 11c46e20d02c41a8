"""The workflows under the names that they are enqueued by, and the desks at which they work.

What is enqueued for them has ids and times as arguments only: what people wrote is in our tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import psycopg
from structlog.contextvars import bound_contextvars

from recado import stopping, tracing
from recado.assistants import run as thinking
from recado.channels.twilio.senders import Senders
from recado.conversations.erased import recall
from recado.db.borrowing import patiently
from recado.db.work import DELIVERY, FETCH, TRANSCRIBE, TURN
from recado.fair import Gate
from recado.journey.answer import sight
from recado.journey.answer.caution import apology_unless_silent
from recado.journey.answer.desk import EngineFailed
from recado.journey.answer.turn import AnswerDesk, process_ai_response
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from recado.journey.pause import SHORT_WINDOW_S, give_way
from recado.journey.suspects import Suspects
from recado.journey.understand.attachments import understand_media
from recado.journey.understand.media_desk import MediaDesk
from recado.media import links
from recado.media.download import open_downloads
from recado.media.reader import Reader
from recado.media.scratch import scratch
from recado.media.transcribers import open_transcriber
from recado.ops.backup.quarantine import Quarantine
from recado.ops.engine.ledger import Ledger, Superseded
from recado.ops.engine.running import Work, current, in_its_slot, step
from recado.wiring import Wiring

#: Twilio keeps a message queued for 4 hours at most, and fetches its attachment when it sends it.
MEDIA_LINK: Final = timedelta(hours=5)


@asynccontextmanager
async def media_desk(wiring: Wiring, senders: Senders) -> AsyncIterator[MediaDesk]:
    """What those need who fetch attachments and listen: a folder for files, a client, a transcriber being loaded."""
    settings = wiring.settings
    transcriber = open_transcriber(settings)
    with scratch(settings.home) as folder:
        downloads = open_downloads(settings)
        loading = None if transcriber is None else asyncio.create_task(transcriber.start(), name="transcriber")
        try:
            yield MediaDesk(
                pool=wiring.pool,
                clock=wiring.clock,
                fetch=downloads.fetch,
                login_of=senders.login_of,
                storage=wiring.storage,
                transcriber=transcriber,
                ears=Gate(transcriber.at_once if transcriber else 1),
                read=Reader().read,
                scratch=folder,
            )
        finally:
            if transcriber is not None and loading is not None:
                await stopping.end(loading, within_s=2.0)
                await transcriber.aclose()
            await downloads.aclose()


def of_words(
    wiring: Wiring, senders: Senders, gate: Gate, ledger: Ledger, suspects: Suspects, held: Quarantine
) -> dict[str, Work]:
    """Turns and deliveries; neither for an account that may not speak yet."""
    settings = wiring.settings
    answer_desk = AnswerDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        quiet_window=timedelta(milliseconds=settings.quiet_window_ms),
        default_model=settings.model,
        model_timeout_s=settings.model_timeout_s,
        think=thinking.think,
        step=partial(_step, ledger),
        sender_of=senders.of,
        pictures_of=partial(sight.pictures_of, wiring.storage, settings.home),
        pause=partial(give_way, wiring.clock, short_s=SHORT_WINDOW_S),
        turns_per_hour=settings.turns_per_hour,
        suspects=suspects,
        recall=partial(recall, wiring.keyring),
    )
    deliver_desk = DeliverDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        split_chars=settings.split_chars,
        public_url=settings.public_url,
        sender_of=senders.of,
        contents_of=senders.contents_of,
        media_link=partial(_media_link, wiring),
        pause=partial(give_way, wiring.clock),
        suspects=suspects,
        apology=apology_unless_silent,
        recall=partial(recall, wiring.keyring),
    )

    async def turn(owner_id: str, conversation_id: str, message_id: str, arrived_ms: int) -> None:
        _waited(message_id)
        async with _work(gate, owner_id, correlation_id=message_id, task=TURN):
            await held.hold_back(UUID(owner_id), conversation_id=UUID(conversation_id))
            await process_ai_response(
                answer_desk,
                UUID(owner_id),
                UUID(conversation_id),
                UUID(message_id),
                arrived_at=datetime.fromtimestamp(arrived_ms / 1000, UTC),
            )

    async def delivery(owner_id: str, message_id: str) -> None:
        async with _work(gate, owner_id, message_id=message_id, task=DELIVERY):
            await held.hold_back(UUID(owner_id), message_id=UUID(message_id))
            await send_whatsapp_message(deliver_desk, UUID(owner_id), UUID(message_id))

    return {TURN: turn, DELIVERY: delivery}


def _waited(message_id: str) -> None:
    """The span of what waited in its queue until now; of what was put back there is one for each time."""
    run = current().claimed
    if run.queue:
        of = ("queue", run.workflow_id, tracing.now_ns())
        tracing.write(UUID(message_id), of, took_s=run.waited_ms / 1000, name=f"queue {run.queue}", kind="consumer")


@asynccontextmanager
async def _work(gate: Gate, owner_id: str, **bound: str) -> AsyncIterator[None]:
    """Around a workflow: what its log lines name, how it waits for connections, and what becomes of it if it waits."""
    with bound_contextvars(**bound), patiently(gate, owner_id):
        async with in_its_slot():
            yield


def of_media(desk: MediaDesk, gate: Gate) -> dict[str, Work]:
    """What is enqueued for messages with attachments; the two differ in whether there is voice to be made text."""

    async def understand(task: str, owner_id: str, conversation_id: str, message_id: str, *, voice: bool) -> None:
        _waited(message_id)
        async with _work(gate, owner_id, correlation_id=message_id, task=task):
            await understand_media(desk, UUID(owner_id), UUID(conversation_id), UUID(message_id), voice=voice)

    async def transcribe_audio(owner_id: str, conversation_id: str, message_id: str, arrived_ms: int) -> None:
        await understand(TRANSCRIBE, owner_id, conversation_id, message_id, voice=True)

    async def fetch_media(owner_id: str, conversation_id: str, message_id: str, arrived_ms: int) -> None:
        await understand(FETCH, owner_id, conversation_id, message_id, voice=False)

    return {TRANSCRIBE: transcribe_audio, FETCH: fetch_media}


def _media_link(wiring: Wiring, public_url: str, owner_id: UUID, media_id: UUID) -> str:
    """Where Twilio fetches an attachment, for as long as it may have it queued."""
    expires_at = wiring.clock.now() + MEDIA_LINK
    return links.link(public_url, links.sign(wiring.keyring, owner_id, media_id, expires_at=expires_at))


async def _step(ledger: Ledger, name: str, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    try:
        return await step(ledger, name, work)
    except (Superseded, psycopg.Error) as error:
        # `work` raises neither: the workflow is another's by now, or its row could not be written.
        raise EngineFailed(type(error).__name__) from error
