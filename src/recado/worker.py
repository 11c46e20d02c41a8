"""The worker: runs the work that waits in PostgreSQL, and takes over what dead workers left.

A worker serves all queues, or those that it is told: `media` on a machine of its own, for instance. The workflows are
in `works`, how the engine takes and ends them is in `ops/engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from recado import stopping, works
from recado.assistants import run as thinking
from recado.channels.twilio.senders import Senders
from recado.clock import zone_of
from recado.db import pool as db
from recado.db.patience import PatientConnection
from recado.db.pool import Connection, Pool
from recado.db.work import DELIVERIES, MEDIA, SERVED, TURNS, VOICE
from recado.fair import Gate
from recado.journey.suspects import Suspects
from recado.journey.understand.media_desk import MediaDesk
from recado.media.download import DEADLINE_S
from recado.media.transcription import SPARE_S
from recado.ops import chores, gauges, sweeps
from recado.ops.backup import quarantine
from recado.ops.backup.quarantine import Quarantine
from recado.ops.engine import process
from recado.ops.engine.ledger import Ledger
from recado.ops.engine.process import Queue
from recado.ops.engine.running import Work
from recado.ops.executors import Executor, keep_alive
from recado.ops.jobs import Jobs
from recado.ops.privacy.running import EraseDesk
from recado.settings import Settings
from recado.webhooks.loop import Loop
from recado.webhooks.post import Poster
from recado.webhooks.rounds import Desk
from recado.wiring import Wiring

log = structlog.get_logger(__name__)

#: What one conversation has in work at once on a worker: an album is fetched side by side, and leaves room for others.
#: Its turns and its deliveries are one at a time, wherever they run.
MEDIA_EACH: Final = 4
VOICE_EACH: Final = 2
#: Notes that are fetched while others are listened to; an owner alone has half of the places.
FETCHED_MEANWHILE: Final = 4
#: Looking for work is most of what an idle worker costs, and a delivery's look is part of what the contact waits:
#: 0.25 s leaves both under their targets (`bench/idle.py`). A turn's look hides inside the quiet window, so it takes a
#: share of that; attachments come before the turn, whose quiet window hides some of theirs.
DELIVERIES_POLL_S: Final = 0.25
MEDIA_POLL_S: Final = 0.7
VOICE_POLL_S: Final = 0.7
TURNS_POLL_S: Final = (0.05, 0.6)
#: What a stop gives the tasks beside the engine, of which each may have a statement to give up. With what the engine
#: takes (`ops/engine/process`) and the pools' closing all ends within 19 s (`recado.stopping`).
TASKS_S: Final = 2.0
#: For a statement of the engine's that records; the whole worker waits for it.
ENGINE_PATIENCE_S: Final = 5.0
#: Connections of the workflow engine.
ENGINE_CONNECTIONS: Final = 12
#: Connections of the application's that a worker's workflows leave to everything else of the process.
SPARE_CONNECTIONS: Final = 4
#: Each sweep has its own task, and most of them one connection for a moment.
PLATFORM_CONNECTIONS: Final = 4


@asynccontextmanager
async def working(
    wiring: Wiring, *, declared_dead: Callable[[], None], queues: Sequence[str] = SERVED, shown: bool = False
) -> AsyncIterator[Executor]:
    """While it is open this process works. At the end it finishes what it has, or hands it back, within 20 s.

    `declared_dead` is called when another worker has taken over this one's work: the process must then end. With
    `shown` it looks at what metrics alone say. Raises SettingsError when the model of RECADO_MODEL or the transcriber
    can't be used.
    """
    settings = wiring.settings
    if settings.model is not None and TURNS in queues:
        # A wrong model stops the start; a right one is loaded before the first turn has to wait for it.
        await asyncio.to_thread(thinking.check_model, settings.model)
    executor = Executor(
        lambda: wiring.connect("recado_platform"), "worker", list(queues), version=process.WORKFLOWS_VERSION
    )
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
        desk = await stack.enter_async_context(works.media_desk(wiring, senders)) if MEDIA in queues else None
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
        await process.launch(
            url=wiring.database.platform_url,
            engine=engine,
            executor_id=executor.id,
            works=_works(wiring, senders, ledger, desk, held),
            ledger=ledger,
            serves=[*queues, VOICE] if desk is not None else queues,
            queues=_queues(settings, desk),
            takes_new=lambda: executor.takes_new,
        )
        webhooks = await stack.enter_async_context(_webhooks(wiring, platform, executor.id, held))
        tasks = [
            asyncio.create_task(keep_alive(executor, process.recover, declared_dead), name="executors"),
            asyncio.create_task(webhooks.run(), name="webhooks"),
            asyncio.create_task(sweeps.keep(_sweeps(wiring, platform, senders)), name="sweeps"),
            asyncio.create_task(_jobs(wiring, platform, senders, executor.id).run(), name="jobs"),
        ]
        if shown:
            looking = gauges.watch(around=wiring.pool, platform=platform, chosen=executor.looks_for_all)
            tasks.append(asyncio.create_task(looking, name="gauges"))
        log.info("worker_started", executor=executor.id, queues=list(queues))
        try:
            yield executor
        finally:
            webhooks.stop()
            idle = await process.stop(executor.id)
            await stopping.end(*tasks, within_s=TASKS_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await executor.leave(idle=idle)
            log.info("worker_stopped", executor=executor.id, handed_over=not idle)


@asynccontextmanager
async def _webhooks(wiring: Wiring, platform: Pool, executor_id: str, held: Quarantine) -> AsyncIterator[Loop]:
    """What posts owners' events to their endpoints."""
    poster = Poster(wiring.settings.webhook_networks)
    try:
        desk = Desk(pool=wiring.pool, clock=wiring.clock, keyring=wiring.keyring, poster=poster)
        yield Loop(desk=desk, platform=platform, holder=executor_id, waits=held.keeps_from_posting)
    finally:
        await poster.aclose()


def _works(
    wiring: Wiring, senders: Senders, ledger: Ledger, desk: MediaDesk | None, held: Quarantine
) -> dict[str, Work]:
    """What this worker runs: attachments too when there is a desk for them."""
    gate = Gate(max(1, wiring.pool.max_size - SPARE_CONNECTIONS))
    # Of what was in hand at a death one thing begins at a time, whatever it is.
    suspects = Suspects(wiring.clock)
    media = {} if desk is None else works.of_media(replace(desk, suspects=suspects), gate)
    return works.of_words(wiring, senders, gate, ledger, suspects, held) | media


def _queues(settings: Settings, desk: MediaDesk | None) -> list[Queue]:
    """The queues as this worker makes them known. How many notes are taken is for those to say who listen."""
    least_s, most_s = TURNS_POLL_S
    turns_poll_s = min(most_s, max(least_s, settings.quiet_window_ms / 2000))
    queues = [
        Queue(name=TURNS, at_once=settings.turns_at_once, poll_s=turns_poll_s),
        Queue(name=DELIVERIES, at_once=settings.deliveries_at_once, poll_s=DELIVERIES_POLL_S),
    ]
    if desk is None:
        return queues
    at_once = settings.media_at_once
    heard = desk.transcriber.at_once + FETCHED_MEANWHILE if desk.transcriber else at_once
    return [
        *queues,
        Queue(name=MEDIA, at_once=at_once, poll_s=MEDIA_POLL_S, each=MEDIA_EACH),
        Queue(name=VOICE, at_once=min(at_once, heard), poll_s=VOICE_POLL_S, each=VOICE_EACH),
    ]


def _sweeps(wiring: Wiring, platform: Pool, senders: Senders) -> list[sweeps.Sweep]:
    return sweeps.of_a_worker(
        pool=wiring.pool,
        platform=platform,
        clock=wiring.clock,
        sender_of=senders.of,
        listed_of=senders.listed_of,
        at_work=timedelta(seconds=DEADLINE_S + wiring.settings.longest_note_s + SPARE_S),
        erasing=EraseDesk(
            platform=platform, storage=wiring.storage, keyring=wiring.keyring, eraser_of=senders.eraser_of
        ),
    )


def _jobs(wiring: Wiring, platform: Pool, senders: Senders, executor_id: str) -> Jobs:
    works = chores.of_a_worker(
        pool=wiring.pool,
        platform=platform,
        clock=wiring.clock,
        storage=wiring.storage,
        contents_of=senders.contents_of,
    )
    return Jobs(platform=platform, holder=executor_id, works=works, zone=zone_of(wiring.settings.time_zone))


async def _recording(wiring: Wiring) -> Connection:
    """The engine's one connection for steps and outcomes: whatever is silent on it holds up all of them."""
    conn = await wiring.connect("recado_engine")
    if isinstance(conn, PatientConnection):
        conn.patience_s = ENGINE_PATIENCE_S
    return conn
