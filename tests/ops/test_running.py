"""What was claimed is run and what it comes to is recorded: once, by whoever owns it, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from dbos._core import ActiveWorkflowById
from dbos._serialization import DBOSDefaultSerializer

from recado.db import pool
from recado.journey.pause import Later
from recado.ops.engine import running
from recado.ops.engine.ledger import Claimed, Ledger, Superseded
from recado.ops.engine.running import Runner, in_its_slot


@pytest.fixture
def rows(database_url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(database_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    made = Ledger(lambda: pool.connect(database_url, "recado_engine"))
    yield made
    await made.aclose()


def claimed(rows: psycopg.Connection[Any], name: str = "w", *, xid: str = "mine", **more: Any) -> Claimed:
    """A workflow that a claim has made pending under that token."""
    rows.execute(
        "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, queue_name, owner_xid, created_at, updated_at, "
        "priority) VALUES (%s, 'PENDING', 'work', 'turns', 'mine', 1, 1, 0)",
        [name],
    )
    given = {"inputs": '{"positionalArgs": ["a", 7], "namedArgs": {}}', "claims": 1, "has_steps": False} | more
    return Claimed(
        workflow_id=name, xid=xid, queue="turns", lane="lane", name="work", serialization="portable_json", **given
    )


def states(rows: psycopg.Connection[Any]) -> dict[str, str]:
    return dict(rows.execute("SELECT workflow_uuid, status FROM dbos.workflow_status").fetchall())


async def run(ledger: Ledger, work: Any, *claims: Claimed, stopping: bool = False) -> tuple[list[str], Any]:
    """Have them run to their ends; the ids that are left to DBOS, and DBOS as it is afterwards."""
    stop = threading.Event()
    dbos: Any = SimpleNamespace(
        _active_workflows_set=ActiveWorkflowById(), _workflow_tasks=set(), background_thread_stop_events=[stop]
    )
    if stopping:
        stop.set()
    left = Runner(dbos=dbos, ledger=ledger, works={"work": work}).start(claims)
    assert sorted(dbos._active_workflows_set.activeList()) == sorted(c.workflow_id for c in claims if c.claims == 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if dbos._workflow_tasks:
        await asyncio.wait(list(dbos._workflow_tasks))
    await asyncio.sleep(0)
    return left, dbos


async def test_what_ends_well_has_its_arguments_and_no_slot_afterwards(rows: Any, ledger: Ledger) -> None:
    given: list[tuple[Any, ...]] = []

    async def work(*arguments: Any) -> None:
        given.append(arguments)

    left, dbos = await run(ledger, work, *(claimed(rows, f"w{number}") for number in range(40)))
    assert (left, given) == ([], [("a", 7)] * 40)
    assert set(states(rows).values()) == {"SUCCESS"}
    assert rows.execute("SELECT DISTINCT owner_xid FROM dbos.workflow_status").fetchall() == [(None,)]
    assert dbos._active_workflows_set.activeList() == []
    assert dbos._workflow_tasks == set()


async def test_what_fails_is_recorded_by_its_kind_and_says_nothing_of_what_was_said(rows: Any, ledger: Ledger) -> None:
    async def work(*_: Any) -> None:
        raise ValueError("meu cpf é 123")

    await run(ledger, work, claimed(rows))
    assert states(rows) == {"w": "ERROR"}
    ((why,),) = rows.execute("SELECT error FROM dbos.workflow_output").fetchall()
    assert "ValueError" in why
    assert "cpf" not in why


async def test_what_is_cancelled_or_put_back_has_no_outcome_and_no_slot(rows: Any, ledger: Ledger) -> None:
    async def stopped(*_: Any) -> None:
        raise asyncio.CancelledError

    async def back(*_: Any) -> None:
        raise running.PutBack

    for work, name in ((stopped, "stopped"), (back, "back")):
        _, dbos = await run(ledger, work, claimed(rows, name))
        assert dbos._active_workflows_set.activeList() == []
    assert states(rows) == {"stopped": "PENDING", "back": "PENDING"}


async def test_what_is_claimed_while_the_worker_stops_is_left_to_others(rows: Any, ledger: Ledger) -> None:
    ran = []

    async def work(*_: Any) -> None:
        ran.append(1)

    _, dbos = await run(ledger, work, claimed(rows), stopping=True)
    assert (ran, dbos._active_workflows_set.activeList(), states(rows)) == ([], [], {"w": "PENDING"})


async def test_the_outcome_of_a_run_that_lost_its_workflow_changes_nothing(rows: Any, ledger: Ledger) -> None:
    async def work(*_: Any) -> None:
        pass

    await run(ledger, work, claimed(rows, xid="an older one"))
    assert states(rows) == {"w": "PENDING"}


async def test_a_step_is_done_once_also_across_a_crash(rows: Any, ledger: Ledger) -> None:
    made: list[str] = []

    async def think() -> dict[str, Any]:
        made.append("thought")
        return {"text": "Olá \U0001f600 \u0000", "covered": ["1"], "template": None}

    async def dies(*_: Any) -> None:
        await running.step(ledger, "think", think)
        raise asyncio.CancelledError

    said: list[Any] = []

    async def goes_on(*_: Any) -> None:
        said.append(await running.step(ledger, "think", think))
        said.append(await running.step(ledger, "think", think))

    await run(ledger, dies, first := claimed(rows))
    assert made == ["thought"]
    again = Claimed(**{name: getattr(first, name) for name in first.__slots__} | {"has_steps": True})
    await run(ledger, goes_on, again)
    assert said == [await think()] * 2
    assert made == ["thought"] * 3, "the second step was not recorded; this test asked once more itself"


async def test_a_step_that_the_release_before_recorded_is_found(rows: Any, ledger: Ledger) -> None:
    again = claimed(rows, has_steps=True)
    rows.execute(
        "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, serialization, "
        "retention_timestamp) VALUES ('w', 1, 'think', %s, %s, 0)",
        [DBOSDefaultSerializer.serialize({"text": "antes"}), DBOSDefaultSerializer.name()],
    )
    found: list[Any] = []

    async def never() -> dict[str, Any]:
        raise AssertionError

    async def work(*_: Any) -> None:
        found.append(await running.step(ledger, "think", never))

    await run(ledger, work, again)
    assert found == [{"text": "antes"}]


async def test_a_run_that_lost_its_workflow_records_no_step_and_hears_of_it(rows: Any, ledger: Ledger) -> None:
    heard: list[type] = []

    async def think() -> dict[str, Any]:
        rows.execute("UPDATE dbos.workflow_status SET owner_xid = 'another'")
        return {}

    async def work(*_: Any) -> None:
        try:
            await running.step(ledger, "think", think)
        except Superseded as error:
            heard.append(type(error))

    await run(ledger, work, claimed(rows))
    assert heard == [Superseded]
    assert rows.execute("SELECT count(*) FROM dbos.operation_outputs").fetchone() == (0,)
    assert states(rows) == {"w": "PENDING"}


async def test_what_can_not_be_written_harms_nothing_that_is_written_with_it(rows: Any, ledger: Ledger) -> None:
    runs = [claimed(rows, name) for name in ("a", "b", "c")]
    numbers = [1, 2**40, 1]
    told = await asyncio.gather(
        *(ledger.step(one, number, "s", "1", begun_ms=0) for one, number in zip(runs, numbers, strict=True)),
        return_exceptions=True,
    )
    assert (told[0], told[2]) == (True, True)
    assert isinstance(told[1], psycopg.DataError)
    assert len(rows.execute("SELECT FROM dbos.operation_outputs").fetchall()) == 2


async def test_steps_and_outcomes_outlast_a_database_that_is_away(rows: Any, ledger: Ledger) -> None:
    first, second = claimed(rows, "a"), claimed(rows, "b")
    assert await ledger.step(first, 1, "s", "1", begun_ms=0)
    connect, away = ledger.connect, 2

    async def later() -> pool.Connection:
        nonlocal away
        away -= 1
        if away >= 0:
            raise psycopg.OperationalError("away")
        return await connect()

    ledger.connect = later
    rows.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()"
    )
    assert await asyncio.gather(
        ledger.end(first, "SUCCESS"), ledger.step(second, 1, "s", "1", begun_ms=0), ledger.end(second, "SUCCESS")
    ) == [True, True, True]
    assert states(rows) == {"a": "SUCCESS", "b": "SUCCESS"}


async def test_many_are_written_in_few_transactions(rows: Any, ledger: Ledger) -> None:
    runs = [claimed(rows, f"w{number}") for number in range(100)]
    assert all(await asyncio.gather(*(ledger.end(one, "SUCCESS") for one in runs)))
    count = rows.execute("SELECT count(DISTINCT xmin::text) FROM dbos.workflow_status").fetchone()
    assert count is not None
    assert count[0] == 1


async def test_what_was_claimed_too_often_or_is_unknown_is_left_to_dbos(rows: Any, ledger: Ledger) -> None:
    async def work(*_: Any) -> None:
        raise AssertionError

    left, _ = await run(ledger, work, claimed(rows, claims=102))
    assert left == ["w"]
    assert states(rows) == {"w": "PENDING"}


async def test_a_wait_in_a_run_is_put_back_by_the_token_of_its_claim(
    rows: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[str, float]] = []

    async def put_back(wait_s: float) -> None:
        waits.append((running.current().claimed.xid, wait_s))

    monkeypatch.setattr("recado.ops.engine.running.put_back", put_back)

    async def work(*_: Any) -> None:
        async with in_its_slot():
            raise Later(9)

    await run(ledger, work, claimed(rows))
    assert waits == [("mine", 9)]
