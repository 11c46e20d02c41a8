"""What recado relies on of DBOS beyond its documentation; a new version that breaks one of these is not taken."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbos._context import current_owner_xid
from dbos._core import ActiveWorkflowById
from dbos._sys_db import SystemDatabase

import recado
from recado.ops.engine.process import WORKFLOWS_VERSION

SOURCE = Path(recado.__file__).parent

#: An executor in a process of its own: the engine is one per process, and tests of the product have theirs.
EXECUTOR = """
import asyncio, json, os, sys, threading, time
from dbos import DBOS
from dbos._dbos import _get_dbos_instance
URL = sys.argv[1]
def config(executor_id):
    return {
        "name": "recado", "system_database_url": URL, "run_migrations": False, "executor_id": executor_id,
        "db_engine_kwargs": {"connect_args": {"options": "-c role=recado_engine"}},
        "application_version": VERSION, "enable_otlp": False, "log_level": "ERROR",
    }
def tell(**told): print(json.dumps(told), flush=True)
"""


def run(database_url: str, script: str) -> list[dict[str, Any]]:
    """What the script tells."""
    source = EXECUTOR.replace("VERSION", repr(WORKFLOWS_VERSION)) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", source, database_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def enqueue(database_url: str, *ids: str, queue: str = "turns", lane: str = "lane") -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("SET ROLE recado_engine")
        for workflow_id in ids:
            conn.execute(
                "SELECT dbos.enqueue_workflow('work', %s, ARRAY[to_json(%s::text), to_json(7)], "
                "workflow_id => %s, queue_partition_key => %s)",
                [queue, workflow_id, workflow_id, lane],
            )


def status(database_url: str) -> dict[str, tuple[Any, ...]]:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT workflow_uuid, status, queue_name, queue_partition_key, executor_id, recovery_attempts "
            "FROM dbos.workflow_status"
        ).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_it_is_the_version_that_was_read() -> None:
    assert importlib.metadata.version("dbos") == "3.4.0"


def test_the_underscored_parts_that_recovery_and_stopping_use_are_there() -> None:
    assert list(inspect.signature(SystemDatabase.reenqueue_for_recovery).parameters) == [
        "self",
        "workflow_id",
        "executor_ids",
        "recovery_queue_name",
    ]
    assert callable(ActiveWorkflowById.activeList)


def test_the_sql_function_takes_the_arguments_that_accept_gives_it_and_keeps_them_as_portable_json(
    database_url: str,
) -> None:
    enqueue(database_url, "w1")
    enqueue(database_url, "w1")
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT w.status, w.name, w.queue_name, w.queue_partition_key, w.priority, w.serialization, w.executor_id, "
            "i.inputs FROM dbos.workflow_status w JOIN dbos.workflow_input i USING (workflow_uuid)"
        ).fetchall()
    ((state, name, queue, lane, priority, serialization, executor_id, inputs),) = rows
    assert (state, name, queue, lane, priority) == ("ENQUEUED", "work", "turns", "lane", 0)
    assert (serialization, executor_id) == ("portable_json", None)
    assert json.loads(inputs) == {"positionalArgs": ["w1", 7], "namedArgs": {}}


def test_a_lane_gives_out_one_workflow_at_a_time_in_the_order_of_time_and_id(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("SET ROLE recado_engine")
        # One transaction, one created_at: the id decides, as with the messages of one batch.
        for workflow_id in ("b", "c", "a"):
            conn.execute(
                "SELECT dbos.enqueue_workflow('work', 'turns', ARRAY[to_json(%s::text), to_json(7)], "
                "workflow_id => %s, queue_partition_key => 'lane')",
                [workflow_id, workflow_id],
            )
    enqueue(database_url, "0", "other", lane="lane")
    told = run(
        database_url,
        """
        done = []
        running = 0
        async def main():
            DBOS(config=config("one"))
            @DBOS.workflow(name="work")
            async def work(text, number):
                global running
                running += 1
                assert running == 1, "two at once"
                assert type(text) is str and type(number) is int
                await asyncio.sleep(0.02)
                running -= 1
                done.append(text)
            DBOS.launch()
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            for _ in range(600):
                await asyncio.sleep(0.02)
                if len(done) == 5: break
            tell(done=done)
            DBOS.destroy()
        asyncio.run(main())
        """,
    )
    assert told == [{"done": ["a", "b", "c", "0", "other"]}]


def test_the_work_of_a_dead_executor_goes_back_to_its_lane_with_its_attempts_and_is_done_by_another(
    database_url: str,
) -> None:
    enqueue(database_url, "w1", "w2")
    run(
        database_url,
        """
        async def main():
            DBOS(config=config("dead"))
            @DBOS.workflow(name="work")
            async def work(text, number):
                dbos = _get_dbos_instance()
                assert dbos._active_workflows_set.activeList() == ["w1"]
                assert len(dbos._workflow_tasks) >= 1
                assert DBOS.executor_id == "dead"
                os._exit(0)
            DBOS.launch()
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            await asyncio.sleep(20)
            os._exit(1)
        asyncio.run(main())
        """,
    )
    assert status(database_url)["w1"] == ("PENDING", "turns", "lane", "dead", 1)
    with psycopg.connect(database_url) as conn:  # or the living would take the work before it was looked at
        conn.execute("DELETE FROM dbos.queues")
    told = run(
        database_url,
        """
        done = []
        async def main():
            DBOS(config=config("living"))
            @DBOS.workflow(name="work")
            async def work(text, number):
                done.append(text)
            DBOS.launch()
            import psycopg
            def look():
                with psycopg.connect(URL) as conn:
                    return conn.execute("SELECT status, queue_name, queue_partition_key, recovery_attempts "
                                        "FROM dbos.workflow_status WHERE workflow_uuid = 'w1'").fetchone()
            from recado.ops.engine.process import give_back
            handles = give_back("somebody else")
            tell(nobody=[handles, *look()])
            handles = await asyncio.to_thread(give_back, "dead")
            tell(back=[handles, *look()])
            dbos = _get_dbos_instance()
            again = dbos._sys_db.reenqueue_for_recovery("w1", ["dead"], "turns")
            tell(again=again)
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            for _ in range(600):
                await asyncio.sleep(0.02)
                if len(done) == 2: break
            tell(done=done)
            for event in dbos.background_thread_stop_events:
                event.set()
            await asyncio.sleep(0.2)
            tell(active=dbos._active_workflows_set.activeList())
            DBOS.destroy(destroy_registry=True)
        asyncio.run(main())
        """,
    )
    assert told == [
        {"nobody": [0, "PENDING", "turns", "lane", 1]},
        {"back": [1, "ENQUEUED", "turns", "lane", 1]},
        {"again": False},
        {"done": ["w1", "w2"]},
        {"active": []},
    ]
    found = status(database_url)
    assert found["w1"] == ("SUCCESS", "turns", "lane", "living", 2)
    assert found["w2"] == ("SUCCESS", "turns", "lane", "living", 1)


def test_a_workflow_that_is_cancelled_stays_pending_and_can_be_handed_back(database_url: str) -> None:
    enqueue(database_url, "w1")
    told = run(
        database_url,
        """
        async def main():
            DBOS(config=config("stopping"))
            started = asyncio.Event()
            @DBOS.workflow(name="work")
            async def work(text, number):
                started.set()
                await asyncio.sleep(60)
            DBOS.launch()
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            await asyncio.wait_for(started.wait(), 20)
            dbos = _get_dbos_instance()
            for event in dbos.background_thread_stop_events:
                event.set()
            tasks = list(dbos._workflow_tasks)
            for task in tasks: task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            from recado.ops.engine.process import give_back
            handles = await asyncio.to_thread(give_back, "stopping")
            tell(handed_back=handles)
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        asyncio.run(main())
        """,
    )
    assert told == [{"handed_back": 1}]
    assert status(database_url)["w1"][0] == "ENQUEUED"


def test_what_the_claim_in_shares_replaces_and_uses_is_there() -> None:
    claim = inspect.signature(SystemDatabase.start_queued_partitioned_workflows)
    assert list(claim.parameters) == [
        *("self", "queue", "executor_id", "app_version", "max_tasks", "owner_xid", "is_latest_version")
    ]
    latest = inspect.getsource(SystemDatabase._latest_application_version)
    assert "version_timestamp.desc()" in latest, "workers of 0.1.0 take new work as long as theirs is the newest"
    assert next(iter(inspect.signature(current_owner_xid).parameters)) == "workflow_id"
    assert list(inspect.signature(SystemDatabase.get_queue).parameters)[:2] == ["self", "name"]
    assert list(inspect.signature(ActiveWorkflowById.add).parameters) == [
        *("self", "key", "queue_name", "queue_partition_key")
    ]


@pytest.mark.parametrize("ours", [True, False], ids=["run by us", "left to DBOS"])
def test_what_waits_is_put_back_at_its_lanes_head_and_a_worker_that_dies_then_loses_nothing(
    database_url: str, *, ours: bool
) -> None:
    """Its slot is free, its attempt is not counted, no outcome is recorded, and its follower waits behind it."""
    lane = "00000000-0000-0000-0000-000000000001:00000000-0000-0000-0000-000000000002"
    enqueue(database_url, "w1", "w2", lane=lane)
    worker = """
        from recado.journey.pause import Later
        from recado.db import pool
        from recado.ops.engine.claims import ask_less, claim_in_shares
        from recado.ops.engine.ledger import Ledger
        from recado.ops.engine.running import Runner, in_its_slot, known_to_dbos
        done = []
        async def main():
            DBOS(config=config(NAME))
            async def work(text, number):
                async with in_its_slot():
                    if NAME == "first":
                        raise Later(3600)
                    done.append(text)
            if not OURS: known_to_dbos("work", work)
            DBOS.launch()
            dbos = _get_dbos_instance()
            ledger = Ledger(lambda: pool.connect(URL, "recado_engine"))
            runner = Runner(dbos=dbos, ledger=ledger, works={"work": work} if OURS else {})
            claim_in_shares(dbos._sys_db, {}, runner.start)
            ask_less(dbos._sys_db)
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            for _ in range(900):
                await asyncio.sleep(0.02)
                if NAME == "second" and len(done) == 2 and not dbos._active_workflows_set.activeList(): break
                if NAME == "first":
                    import psycopg
                    with psycopg.connect(URL) as conn:
                        waits = conn.execute("SELECT count(*) FROM dbos.workflow_status WHERE status = 'ENQUEUED' "
                                             "AND delay_until_epoch_ms IS NOT NULL").fetchone()
                    if waits == (1,) and not dbos._active_workflows_set.activeList(): break
            tell(done=done, running=dbos._active_workflows_set.activeList())
            sys.stdout.flush()
            os._exit(0)
        asyncio.run(main())
    """.replace("OURS", repr(ours))
    assert run(database_url, worker.replace("NAME", "'first'")) == [{"done": [], "running": []}]
    found = status(database_url)
    assert found["w1"] == ("ENQUEUED", "turns", lane, "first", 0)
    assert found["w2"] == ("ENQUEUED", "turns", lane, None, 0)
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = 1 WHERE workflow_uuid = 'w1'")
    assert run(database_url, worker.replace("NAME", "'second'")) == [{"done": ["w1", "w2"], "running": []}]
    assert [row[0] for row in status(database_url).values()] == ["SUCCESS", "SUCCESS"]


def test_a_step_that_it_recorded_has_the_number_the_name_and_the_form_in_which_we_look_for_it(
    database_url: str,
) -> None:
    """A worker of the release before may die with a step recorded: ours goes on with it."""
    enqueue(database_url, "w1")
    told = run(
        database_url,
        """
        from recado.db import pool
        from recado.ops.engine.ledger import Claimed, Ledger
        async def main():
            DBOS(config=config("before"))
            @DBOS.workflow(name="work")
            async def work(text, number):
                async def think(): return {"text": "Olá"}
                await DBOS.run_step_async({"name": "think"}, think)
                await asyncio.sleep(3600)
            DBOS.launch()
            await DBOS.register_queue_async("turns", partition_concurrency=1, worker_concurrency=8,
                                            polling_interval_sec=0.05, on_conflict="always_update")
            ledger = Ledger(lambda: pool.connect(URL, "recado_engine"))
            claimed = Claimed(workflow_id="w1", xid="", queue="turns", lane="lane", name="work", inputs="",
                              serialization=None, claims=2, has_steps=True)
            found = None
            for _ in range(600):
                await asyncio.sleep(0.05)
                if (found := await ledger.recorded(claimed, 1, "think")) is not None: break
            tell(found=found)
            sys.stdout.flush()
            os._exit(0)
        asyncio.run(main())
        """,
    )
    assert told == [{"found": {"text": "Olá"}}]


def _underscored(path: Path) -> Iterator[str]:
    """Where a module reaches into DBOS: what it imports of it, and underscored names of others if it imports any."""
    tree = ast.parse(path.read_text())
    uses = False
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, *parts = name.split(".")
            uses |= first == "dbos"
            if first == "dbos" and any(part.startswith("_") for part in parts):
                yield f"{path.relative_to(SOURCE)}:{node.lineno} {name}"
    for node in ast.walk(tree) if uses else ():
        if isinstance(node, ast.Attribute) and re.match("_[a-zA-Z]", node.attr) and ast.unparse(node.value) != "self":
            yield f"{path.relative_to(SOURCE)}:{node.lineno} {node.attr}"


def test_only_the_engines_folder_reaches_into_dbos() -> None:
    found = {path: list(_underscored(path)) for path in SOURCE.rglob("*.py")}
    engine = SOURCE / "ops" / "engine"
    assert [place for path, places in found.items() if engine not in path.parents for place in places] == []
    assert len([place for path, places in found.items() if engine in path.parents for place in places]) > 10
    text = "".join(path.read_text() for path in found if engine not in path.parents)
    assert not re.search(r"_get_dbos_instance|_sys_db|_active_workflows_set|_workflow_tasks", text)
