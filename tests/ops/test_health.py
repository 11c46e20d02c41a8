"""Health: webhooks are refused for what accepting needs, and for nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from recado.db.pool import connect, open_pool
from recado.db.schema import HEAD
from recado.ids import new_id
from recado.ops import health
from recado.ops.doctor import examine
from recado.ops.executors import Executor
from recado.ops.health import NO_TEMPORARY, answering
from tests.journey.front import Front, open_front


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(database_url, tmp_path) as opened:
        yield opened


async def ready(front: Front) -> tuple[int, dict[str, list[str]]]:
    answer = await front.post(path="/readyz", method="GET")
    return answer.status_code, answer.json()


@pytest.fixture
async def executor(front: Front) -> AsyncIterator[Executor]:
    """A live worker for turns and deliveries."""
    executor = Executor(lambda: front.wiring.connect("recado_platform"), "worker", ["turns", "deliveries"])
    await executor.register()
    yield executor
    await executor.leave(idle=True)


async def test_without_a_worker_webhooks_are_accepted_and_the_lack_is_told(front: Front) -> None:
    status, told = await ready(front)
    assert (status, told["status"], told["problems"], told["warnings"]) == (200, "ready", [], ["no live worker"])


@pytest.mark.usefixtures("executor")
async def test_queues_that_no_live_worker_serves_are_named(front: Front) -> None:
    assert (await ready(front))[1]["warnings"] == ["no live worker for media"]


@pytest.mark.parametrize(
    ("revision", "since", "status", "problem"),
    [
        ("9999", HEAD, 200, []),
        ("9999", "0001", 200, []),
        ("9999", "9999", 503, ["schema newer"]),
        ("0034", "0034", 503, ["schema behind"]),
    ],
    ids=["newer, compatible", "newer, long compatible", "newer, not compatible", "older"],
)
async def test_after_a_newer_migrate_a_running_process_stays_ready_as_long_as_it_can_work(
    front: Front, revision: str, since: str, status: int, problem: list[str]
) -> None:
    with psycopg.connect(front.database_url) as conn:
        conn.execute(
            "UPDATE recado.schema_revision SET version_num = %s, compatible_from = %s, recado = '9.0'",
            [revision, since],
        )
    assert ((found := await ready(front))[0], found[1]["problems"]) == (status, problem)


@pytest.fixture
def without_temporary(front: Front) -> Iterator[str]:
    with psycopg.connect(front.database_url, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        yield conn.info.dbname
        conn.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(name))


async def test_where_accepting_has_no_right_to_what_it_prepares_nothing_is_ready(
    front: Front, without_temporary: str
) -> None:
    assert await ready(front) == (503, {"status": "not ready", "problems": [NO_TEMPORARY], "warnings": []})
    async with (
        await connect(front.database_url, "recado_platform") as platform,
        await connect(front.database_url, "recado_app") as app,
    ):
        found = [finding for finding in await examine(platform, app, None) if NO_TEMPORARY in finding.text]
    assert [(finding.state, without_temporary in (finding.fix or "")) for finding in found] == [("fail", True)]


async def test_that_a_process_lives_is_told_without_the_database(front: Front) -> None:
    await front.wiring.pool.close()
    for path in ("/livez", "/healthz"):
        answer = await front.post(path=path, method="GET")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert await ready(front) == (503, {"status": "not ready", "problems": ["database unavailable"], "warnings": []})


async def test_a_database_that_says_nothing_is_unavailable_after_a_bounded_time(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_S", 1.2)
    async with open_pool(front.database_url, "recado_app", size=1) as pool:
        with psycopg.connect(front.database_url) as held:
            held.execute("LOCK TABLE recado.schema_revision IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            found = await health.check(pool)
    assert found.problems == ("database unavailable",)
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("executor")
async def test_whether_what_was_accepted_is_answered_is_told_by_queue(front: Front) -> None:
    lane = f"{new_id()}:{new_id()}"
    with psycopg.connect(front.database_url) as conn:
        conn.execute("SET ROLE recado_engine")
        for number, (queue, ago_s, due_in_s) in enumerate(
            [("turns", 90, 0), ("turns", 30, 0), ("turns", 500, 60), ("deliveries", 5, 0)]
        ):
            conn.execute(
                "SELECT dbos.enqueue_workflow('work', %s, ARRAY[to_json(1)], workflow_id => %s, "
                "queue_partition_key => %s)",
                [queue, str(number), lane],
            )
            conn.execute(
                "UPDATE dbos.workflow_status SET created_at = created_at - %s, delay_until_epoch_ms = "
                "CASE WHEN %s > 0 THEN (extract(epoch FROM now()) + %s) * 1000 END WHERE workflow_uuid = %s",
                [ago_s * 1000, due_in_s, due_in_s, str(number)],
            )
    async with await connect(front.database_url, "recado_platform") as platform:
        found = await answering(platform)
    assert dict(found.live) == {"turns": 1, "deliveries": 1, "media": 0}
    ages = {queue: round(age_s) for queue, age_s in found.oldest_s.items()}
    assert 90 <= ages["turns"] < 150
    assert 5 <= ages["deliveries"] < 65
    assert (ages["media"], ages["voice"]) == (0, 0)
    assert found.late[:1] == ("turns",)
