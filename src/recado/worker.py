"""The worker: runs the work that waits in PostgreSQL, and takes over what dead workers left.

A worker serves all queues, or those that it is told: `media` on a machine of its own, for instance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
import structlog
from dbos import DBOS, DBOSConfig
from dbos._dbos import _get_dbos_instance
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from recado import stopping, telemetry
from recado.assistants import run as thinking
from recado.channels.twilio.senders import Senders
from recado.db import pool as db
from recado.db.borrowing import patiently
from recado.db.patience import PatientConnection
from recado.db.pool import Connection
from recado.db.work import DELIVERIES, DELIVERY, FETCH, MEDIA, TRANSCRIBE, TURN, TURNS, VOICE
from recado.fair import Gate
from recado.journey.answer import sight
from recado.journey.answer.caution import apology_unless_silent
from recado.journey.answer.drafting import EngineFailed
from recado.journey.answer.turn import AnswerDesk, process_ai_response
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from recado.journey.pause import SHORT_WINDOW_S, give_way
from recado.journey.suspects import Suspects
from recado.journey.understand.attachments import MediaDesk, understand_media
from recado.media import links
from recado.media.download import DEADLINE_S, open_downloads
from recado.media.reading import Reader
from recado.media.scratch import scratch
from recado.media.transcribers import open_transcriber
from recado.media.transcription import SPARE_S
from recado.ops import sweeps
from recado.ops.backup import quarantine
from recado.ops.backup.quarantine import Quarantine
from recado.ops.engine import ask_less, claim_in_shares, in_its_slot
from recado.ops.executors import Executor, keep_alive
from recado.ops.running import Ledger, Runner, Superseded, Work, known_to_dbos, step
from recado.wiring import Wiring

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = structlog.get_logger(__name__)

#: The version of the workflows' code. Raise it when a workflow's steps change in number, order or result, and only
#: then: workers recover the work of dead workers of their own version, whatever release they are.
WORKFLOWS_VERSION = "1"

#: What a worker may be told to serve. Who serves `media` serves `voice`: it is apart so that notes which wait to be
#: listened to are in no picture's way.
QUEUES = (TURNS, DELIVERIES, MEDIA)
#: What one conversation has in work at once on a worker: an album is fetched side by side, and leaves room for others.
#: Its turns and its deliveries are one at a time, wherever they run.
EACH: Final = {MEDIA: 4, VOICE: 2}
#: Notes that are fetched while others are listened to; an owner alone has half of the places.
FETCHED_MEANWHILE: Final = 4
#: Looking for work is most of what an idle worker costs, and a delivery's look is part of what the contact waits:
#: 0.25 s leaves both under their targets (`bench/idle.py`). A turn's look hides inside the quiet window, so it takes a
#: share of that; attachments come before the turn, whose quiet window hides some of theirs.
DELIVERIES_POLL_S = 0.25
MEDIA_POLL_S = 0.7
VOICE_POLL_S = 0.7
TURNS_POLL_S = (0.05, 0.6)
#: What a stop waits for workflows to end; the rest is handed to other workers.
STOP_S = 10.0
#: And what comes after that: for those that are cancelled, for giving back, for the engine's threads (which are not
#: waited for once giving back has shown that the database does not answer), and for the tasks beside them, of which
#: each may have a statement to give up. With the pools' closing that is all within 19 s (`recado.stopping`).
CANCELLED_S, HAND_BACK_S, DESTROY_S, HANGING_S, TASKS_S = 1.5, 2.0, 1.5, 0.3, 2.0
#: For a statement of the engine's that records; the whole worker waits for it.
ENGINE_PATIENCE_S: Final = 5.0
#: Connections of the workflow engine.
ENGINE_CONNECTIONS: Final = 12
#: Twilio keeps a message queued for 4 hours at most, and fetches its attachment when it sends it.
MEDIA_LINK = timedelta(hours=5)
#: Connections of the application's that a worker's workflows leave to everything else of the process.
SPARE_CONNECTIONS: Final = 4
#: Each sweep has its own task, and most of them one connection for a moment.
PLATFORM_CONNECTIONS = 4


@asynccontextmanager
async def working(
    wiring: Wiring, *, declared_dead: Callable[[], None], queues: Sequence[str] = QUEUES
) -> AsyncIterator[None]:
    """While it is open this process works. At the end it finishes what it has, or hands it back, within 20 s.

    `declared_dead` is called when another worker has taken over this one's work: the process must then end. Raises
    SettingsError when the model of RECADO_MODEL or the transcriber can't be used.
    """
    settings = wiring.settings
    if settings.model is not None and TURNS in queues:
        # A wrong model stops the start; a right one is loaded before the first turn has to wait for it.
        await asyncio.to_thread(thinking.check_model, settings.model)
    executor = Executor(lambda: wiring.connect("recado_platform"), "worker", list(queues))
    senders = Senders(
        wiring.pool,
        wiring.keyring,
        api_url=settings.twilio_api_url,
        messaging_url=settings.twilio_messaging_url,
        content_url=settings.twilio_content_url,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(thinking.aclose)
        stack.push_async_callback(senders.aclose)
        desk = await stack.enter_async_context(_media(wiring, senders)) if MEDIA in queues else None
        await executor.register()
        platform = await stack.enter_async_context(wiring.platform_pool(size=PLATFORM_CONNECTIONS))
        await stack.enter_async_context(wiring.changes.telling(senders.forget))
        engine = db.engine(wiring.database.platform_url, size=ENGINE_CONNECTIONS)
        stack.callback(engine.dispose)
        held = await stack.enter_async_context(
            quarantine.watched(wiring.pool, partial(wiring.connect, "recado_platform"))
        )
        ledger = Ledger(lambda: _recording(wiring))
        stack.push_async_callback(ledger.aclose)
        await _launch(wiring, engine, executor.id, senders, ledger, desk, queues, held)
        looked_after = sweeps.of_a_worker(
            pool=wiring.pool,
            platform=platform,
            clock=wiring.clock,
            storage=wiring.storage,
            sender_of=senders.of,
            listed_of=senders.listed_of,
            at_work=timedelta(seconds=DEADLINE_S + settings.longest_note_s + SPARE_S),
        )
        tasks = [
            asyncio.create_task(keep_alive(executor, _recover, declared_dead), name="executors"),
            asyncio.create_task(sweeps.keep(looked_after), name="sweeps"),
        ]
        log.info("worker_started", executor=executor.id, queues=list(queues))
        try:
            yield
        finally:
            idle = await _stop(executor.id)
            await stopping.end(*tasks, within_s=TASKS_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await executor.leave(idle=idle)
            log.info("worker_stopped", executor=executor.id, handed_over=not idle)


@asynccontextmanager
async def _media(wiring: Wiring, senders: Senders) -> AsyncIterator[MediaDesk]:
    """What the queue `media` needs."""
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


async def _launch(
    wiring: Wiring,
    engine: Engine,
    executor_id: str,
    senders: Senders,
    ledger: Ledger,
    media_desk: MediaDesk | None,
    queues: Sequence[str],
    held: Quarantine,
) -> None:
    settings = wiring.settings
    telemetry.take_over("dbos")  # it would write its own format, exceptions included, to the console
    config: DBOSConfig = {
        "name": "recado",
        "system_database_url": _engine_url(wiring.database.platform_url),
        "system_database_engine": engine,
        "max_executor_threads": 24,
        "run_migrations": False,
        "executor_id": executor_id,
        "application_version": WORKFLOWS_VERSION,
        "enable_otlp": False,
        "log_level": "WARNING",
        "scheduler_polling_interval_sec": 300.0,
    }
    DBOS(config=config)
    gate = Gate(max(1, wiring.pool.max_size - SPARE_CONNECTIONS))
    # Of what was in hand at a death one thing begins at a time, whatever it is.
    suspects = Suspects()
    works = _works(wiring, senders, gate, ledger, suspects, held)
    if media_desk is not None:
        works |= _media_works(replace(media_desk, suspects=suspects), gate)
    for name, work in works.items():
        known_to_dbos(name, work)
    DBOS.listen_queues([*queues, VOICE] if MEDIA in queues else list(queues))
    DBOS.launch()
    dbos = _get_dbos_instance()
    claim_in_shares(dbos._sys_db, EACH, Runner(dbos=dbos, ledger=ledger, works=works).start)  # noqa: SLF001
    ask_less(dbos._sys_db)  # noqa: SLF001
    least_s, most_s = TURNS_POLL_S
    turns_poll_s = min(most_s, max(least_s, settings.quiet_window_ms / 2000))
    for name, at_once, poll_s in (
        (TURNS, settings.turns_at_once, turns_poll_s),
        (DELIVERIES, settings.deliveries_at_once, DELIVERIES_POLL_S),
    ):
        await _register_queue(name, at_once, poll_s)
    if media_desk is None:
        return  # how many notes a worker takes is for those to say who listen
    at_once = settings.media_at_once
    heard = media_desk.transcriber.at_once + FETCHED_MEANWHILE if media_desk.transcriber else at_once
    await _register_queue(MEDIA, at_once, MEDIA_POLL_S)
    await _register_queue(VOICE, min(at_once, heard), VOICE_POLL_S)


async def _register_queue(name: str, at_once: int, poll_s: float) -> None:
    """A queue whose lanes this worker claims in shares (`ops/engine`): `partition_concurrency=1` is how DBOS asks."""
    await DBOS.register_queue_async(
        name,
        partition_concurrency=1,
        worker_concurrency=at_once,
        polling_interval_sec=poll_s,
        on_conflict="always_update",
    )


def _engine_url(url: str) -> str:
    return url.replace("postgres://", "postgresql://", 1)


def _works(
    wiring: Wiring, senders: Senders, gate: Gate, ledger: Ledger, suspects: Suspects, held: Quarantine
) -> dict[str, Work]:
    """The workflows under the names that they are enqueued by; arguments are ids and times only."""
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
        look=partial(sight.look, wiring.storage, settings.home),
        pause=partial(give_way, short_s=SHORT_WINDOW_S),
        turns_per_hour=settings.turns_per_hour,
        suspects=suspects,
    )
    deliver_desk = DeliverDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        split_chars=settings.split_chars,
        public_url=settings.public_url,
        sender_of=senders.of,
        contents_of=senders.contents_of,
        media_link=partial(_media_link, wiring),
        pause=give_way,
        suspects=suspects,
        apology=apology_unless_silent,
    )

    async def turn(owner_id: str, conversation_id: str, message_id: str, arrived_ms: int) -> None:
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


@asynccontextmanager
async def _work(gate: Gate, owner_id: str, **bound: str) -> AsyncIterator[None]:
    """Around a workflow: what its log lines name, how it waits for connections, and what becomes of it if it waits."""
    with bound_contextvars(**bound), patiently(gate, owner_id):
        async with in_its_slot():
            yield


def _media_works(desk: MediaDesk, gate: Gate) -> dict[str, Work]:
    """What is enqueued for messages with attachments; the two differ in whether there is voice to be made text."""

    async def understand(task: str, owner_id: str, conversation_id: str, message_id: str, *, voice: bool) -> None:
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


async def _recover(executor_id: str) -> int:
    handles = await asyncio.to_thread(DBOS._recover_pending_workflows, [executor_id])  # noqa: SLF001
    return len(handles)


async def _recording(wiring: Wiring) -> Connection:
    """The engine's one connection for steps and outcomes: whatever is silent on it holds up all of them."""
    conn = await wiring.connect("recado_engine")
    if isinstance(conn, PatientConnection):
        conn.patience_s = ENGINE_PATIENCE_S
    return conn


async def _stop(executor_id: str) -> bool:
    """Take no more work, let what runs end for a while, hand back the rest; whether nothing is left with us.

    Whatever hangs is left behind: the engine's threads are daemons, or waited for by nobody (`recado.stopping`).
    """
    dbos = _get_dbos_instance()
    for event in dbos.background_thread_stop_events:
        event.set()
    deadline = time.monotonic() + STOP_S
    while dbos._active_workflows_set.activeList() and time.monotonic() < deadline:  # noqa: SLF001
        await asyncio.sleep(0.05)
    idle = not dbos._active_workflows_set.activeList()  # noqa: SLF001
    destroy_s = DESTROY_S
    if not idle:
        # A cancelled workflow records no outcome: it stays pending, and goes back to its lane's head.
        ended = await stopping.end(*dbos._workflow_tasks, within_s=CANCELLED_S)  # noqa: SLF001
        try:
            # Of what has not ended nothing is given back: two would do it.
            idle = ended and await stopping.thread(
                lambda: DBOS._recover_pending_workflows([executor_id]),  # noqa: SLF001
                within_s=HAND_BACK_S,
            )
        except DBAPIError as error:
            log.warning("not_handed_back", task="stop", error=type(error).__name__)
        if not idle:
            destroy_s = HANGING_S
            log.warning("not_handed_back", task="stop", note="another worker takes it over")
    # Not on the loop's own threads: the engine has put its pool there, and is about to close it.
    if not await stopping.thread(lambda: DBOS.destroy(destroy_registry=True), within_s=destroy_s):
        log.warning("engine_left_behind", task="stop")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="recado"))
    return idle
