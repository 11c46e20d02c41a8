"""The worker: runs the turns and deliveries that wait in PostgreSQL, and takes over what dead workers left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from dbos import DBOS, DBOSConfig
from dbos._dbos import _get_dbos_instance
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from recado import telemetry
from recado.assistants import run as thinking
from recado.channels.twilio.senders import Senders
from recado.db.pool import PASSING, Pool
from recado.journey.answer import AnswerDesk, process_ai_response
from recado.journey.deliver import DeliverDesk, send_whatsapp_message
from recado.ops import recovery, retention
from recado.ops.executors import Executor, keep_alive
from recado.wiring import Wiring

log = structlog.get_logger(__name__)

#: The version of the workflows' code. Raise it when a workflow's steps change in number, order or result, and only
#: then: workers recover the work of dead workers of their own version, whatever release they are.
WORKFLOWS_VERSION = "1"

TURNS, DELIVERIES = "turns", "deliveries"
#: A delivery's poll is part of what the contact waits, and an idle worker's main cost: 0.2 s is half of what is left
#: to both (`bench/idle.py`). A turn's poll hides inside the quiet window, so it takes a share of that.
DELIVERIES_POLL_S = 0.2
TURNS_POLL_S = (0.05, 0.4)
#: What a stop waits for workflows to end; the rest is handed to other workers.
STOP_S = 15.0
RECOVERY_S = 10.0


@asynccontextmanager
async def working(wiring: Wiring, *, declared_dead: Callable[[], None]) -> AsyncIterator[None]:
    """While it is open this process works. At the end it finishes what it has, or hands it back, within 20 s.

    `declared_dead` is called when another worker has taken over this one's work: the process must then end. Raises
    SettingsError when the model of RECADO_MODEL can't be used.
    """
    settings = wiring.settings
    if settings.model is not None:
        # A wrong model stops the start; a right one is loaded before the first turn has to wait for it.
        await asyncio.to_thread(thinking.check_model, settings.model)
    queues = [TURNS, DELIVERIES]
    executor = Executor(lambda: wiring.connect("recado_platform"), "worker", queues)
    senders = Senders(
        wiring.pool, wiring.keyring, api_url=settings.twilio_api_url, messaging_url=settings.twilio_messaging_url
    )
    await executor.register()
    async with wiring.platform_pool() as platform, wiring.changes.telling(senders.forget):
        await _launch(wiring, executor.id, senders)
        tasks = [
            asyncio.create_task(keep_alive(executor, _recover, declared_dead), name="executors"),
            asyncio.create_task(_look_after(wiring, platform, senders), name="recovery"),
        ]
        log.info("worker_started", executor=executor.id, queues=queues)
        try:
            yield
        finally:
            idle = await _stop(executor.id)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await executor.leave(idle=idle)
            await senders.aclose()
            await thinking.aclose()
            log.info("worker_stopped", executor=executor.id, handed_over=not idle)


async def _launch(wiring: Wiring, executor_id: str, senders: Senders) -> None:
    settings = wiring.settings
    telemetry.take_over("dbos")  # it would write its own format, exceptions included, to the console
    config: DBOSConfig = {
        "name": "recado",
        "system_database_url": _engine_url(wiring.database.url),
        "db_engine_kwargs": {"connect_args": {"options": "-c role=recado_app", "application_name": "recado dbos"}},
        "sys_db_pool_size": 12,
        "max_executor_threads": 24,
        "run_migrations": False,
        "executor_id": executor_id,
        "application_version": WORKFLOWS_VERSION,
        "enable_otlp": False,
        "log_level": "WARNING",
        "scheduler_polling_interval_sec": 300.0,
    }
    DBOS(config=config)
    _register(wiring, senders)
    DBOS.launch()
    least_s, most_s = TURNS_POLL_S
    turns_poll_s = min(most_s, max(least_s, settings.quiet_window_ms / 3000))
    for name, at_once, poll_s in (
        (TURNS, settings.turns_at_once, turns_poll_s),
        (DELIVERIES, settings.deliveries_at_once, DELIVERIES_POLL_S),
    ):
        await DBOS.register_queue_async(
            name,
            partition_concurrency=1,
            worker_concurrency=at_once,
            polling_interval_sec=poll_s,
            on_conflict="always_update",
        )


def _engine_url(url: str) -> str:
    return url.replace("postgres://", "postgresql://", 1)


def _register(wiring: Wiring, senders: Senders) -> None:
    """The workflows under the names that `accept` and `answer` enqueue; arguments are ids and times only."""
    settings = wiring.settings
    answer_desk = AnswerDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        quiet_window=timedelta(milliseconds=settings.quiet_window_ms),
        default_model=settings.model,
        model_timeout_s=settings.model_timeout_s,
        think=thinking.think,
        step=_step,
        sender_of=senders.of,
    )
    deliver_desk = DeliverDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        split_chars=settings.split_chars,
        public_url=settings.public_url,
        sender_of=senders.of,
    )

    @DBOS.workflow(name="process_ai_response")
    async def turn(owner_id: str, conversation_id: str, message_id: str, arrived_ms: int) -> None:
        with bound_contextvars(correlation_id=message_id, task="process_ai_response"):
            await process_ai_response(
                answer_desk,
                UUID(owner_id),
                UUID(conversation_id),
                UUID(message_id),
                arrived_at=datetime.fromtimestamp(arrived_ms / 1000, UTC),
            )

    @DBOS.workflow(name="send_whatsapp_message")
    async def delivery(owner_id: str, message_id: str) -> None:
        with bound_contextvars(message_id=message_id, task="send_whatsapp_message"):
            await send_whatsapp_message(deliver_desk, UUID(owner_id), UUID(message_id))


async def _step(name: str, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    return await DBOS.run_step_async({"name": name}, work)


async def _recover(executor_id: str) -> int:
    handles = await asyncio.to_thread(DBOS._recover_pending_workflows, [executor_id])  # noqa: SLF001
    return len(handles)


async def _look_after(wiring: Wiring, platform: Pool, senders: Senders) -> None:
    """The net below the journey, and the broom behind it; each round bears that the database is away."""
    tidied, swept = 0.0, time.monotonic()
    while True:
        await asyncio.sleep(RECOVERY_S)
        try:
            await recovery.give_work_to_strays(platform)
            await recovery.ask_after_silent(platform, wiring.pool, senders.of, wiring.clock.now())
            await asyncio.to_thread(recovery.give_back_unstarted)
            if time.monotonic() - tidied > retention.EVERY_S:
                await retention.delete_finished_workflows(platform)
                await retention.forget_sign_ins(platform, now=wiring.clock.now())
                await retention.forget_kept_answers(platform, now=wiring.clock.now())
                tidied = time.monotonic()
            if time.monotonic() - swept > retention.SWEEP_S:
                await retention.sweep_attachments(platform, wiring.storage, now=wiring.clock.now())
                swept = time.monotonic()
        except PASSING as error:
            log.warning("database_unavailable", task="recovery", error=type(error).__name__)
        except Exception:
            log.exception("recovery_failed", task="recovery")


async def _stop(executor_id: str) -> bool:
    """Take no more work, let what runs end for a while, hand back the rest; whether nothing is left with us."""
    dbos = _get_dbos_instance()
    for event in dbos.background_thread_stop_events:
        event.set()
    deadline = time.monotonic() + STOP_S
    while dbos._active_workflows_set.activeList() and time.monotonic() < deadline:  # noqa: SLF001
        await asyncio.sleep(0.05)
    idle = not dbos._active_workflows_set.activeList()  # noqa: SLF001
    loop = asyncio.get_running_loop()
    # Not on the loop's own threads: the engine has put its pool there, and is about to close it.
    with ThreadPoolExecutor(1) as own:
        if not idle:
            # A cancelled workflow records no outcome: it stays pending, and goes back to its lane's head.
            running = list(dbos._workflow_tasks)  # noqa: SLF001
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            try:
                async with asyncio.timeout(3):
                    await loop.run_in_executor(own, DBOS._recover_pending_workflows, [executor_id])  # noqa: SLF001
                idle = True
            except (TimeoutError, DBAPIError) as error:
                log.warning("not_handed_back", task="stop", error=type(error).__name__)
        await loop.run_in_executor(own, lambda: DBOS.destroy(destroy_registry=True))
    loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="recado"))
    return idle
