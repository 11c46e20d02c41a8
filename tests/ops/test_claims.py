"""The queue as a worker claims it: round the owners in shares, a lane's order kept, whatever waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from recado.db import pool
from recado.db.embedded import Lease
from recado.ops.engine import claims, process
from tests.postgres import create_database, drop_database

Claim = Callable[..., list[str]]
VERSION = "1"


def owner(number: int) -> str:
    return str(UUID(int=number))


@pytest.fixture(scope="module")
def url(cluster: Lease, template: str) -> Iterator[str]:
    url = create_database(cluster, template)
    yield url
    drop_database(cluster, url)


@pytest.fixture
def rows(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("TRUNCATE dbos.workflow_status, dbos.operation_outputs CASCADE")
        yield conn


@pytest.fixture
def engine_role(url: str) -> Iterator[sa.Engine]:
    made = pool.engine(url, size=1)
    yield made
    made.dispose()


@pytest.fixture
def worker(engine_role: sa.Engine) -> Callable[[str], Claim]:
    """A worker of that name: claims from a queue with so many slots, of which so many are free."""

    def made(name: str, version: str = VERSION, *, takes_new: bool = True) -> Claim:
        sys_db: Any = SimpleNamespace(engine=engine_role, app_name="recado")
        claims.claim_in_shares(sys_db, {"media": 2}, takes_new=lambda: takes_new)

        def claim(queue: str = "turns", slots: int = 64, free: int | None = None) -> list[str]:
            asked: Any = SimpleNamespace(name=queue, _worker_concurrency=slots)
            found: list[str] = sys_db.start_queued_partitioned_workflows(
                asked, name, version, slots if free is None else free, owner_xid=f"{name} xid"
            )
            return found

        return claim

    return made


def enqueue(
    conn: psycopg.Connection[Any], whose: int, *, lanes: int = 1, each: int = 1, queue: str = "turns", since: int = 1
) -> None:
    """Rows of an owner: `each` in each of its lanes, named `OWNER.LANE.NUMBER`, older ones first."""
    conn.execute(
        """
        INSERT INTO dbos.workflow_status
            (workflow_uuid, status, name, queue_name, queue_partition_key, created_at, updated_at, priority)
        SELECT format('%%s.%%s.%%s', %(number)s::int, l, n), 'ENQUEUED', 'work', %(queue)s,
               %(owner)s || ':' || lpad(to_hex(l), 8, '0') || '-0000-7000-8000-000000000000', %(since)s + n, 0, 0
        FROM generate_series(1, %(lanes)s) l, generate_series(1, %(each)s) n
        """,
        {"number": whose, "owner": owner(whose), "queue": queue, "lanes": lanes, "each": each, "since": since},
    )


def done(conn: psycopg.Connection[Any], *ids: str) -> None:
    conn.execute("UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE workflow_uuid = ANY(%s)", [list(ids)])


def of_owners(ids: list[str]) -> Counter[str]:
    return Counter(one.split(".")[0] for one in ids)


def test_an_owner_with_one_message_is_served_in_the_same_look_as_one_with_thousands(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=3000)
    enqueue(rows, 2)
    got = of_owners(worker("one")())
    assert got["2"] == 1
    assert got["1"] == 28, "half of what is not kept for others"


def test_whoever_has_nothing_in_work_gets_a_slot_when_others_have_all_they_may(rows, worker) -> None:  # type: ignore[no-untyped-def]
    claim = worker("one")
    for greedy in (1, 2, 3):
        enqueue(rows, greedy, lanes=200)
    taken = 0
    while got := claim(free=64 - taken):
        taken += len(got)
    assert taken <= 56
    enqueue(rows, 9)
    assert of_owners(claim(free=64 - taken)) == {"9": 1}


def test_shares_count_by_worker_so_that_another_worker_brings_more(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=200)
    assert len(worker("one")()) == 28
    assert len(worker("two")()) == 28


def test_a_lane_gives_one_at_a_time_in_its_order_and_to_one_worker(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, each=4)
    one, two = worker("one"), worker("two")
    for number in range(1, 5):
        assert one() == [f"1.1.{number}"]
        assert two() == []
        assert one() == []
        done(rows, f"1.1.{number}")


def test_what_is_put_back_keeps_its_place_and_holds_its_lane_until_it_is_due(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, each=2)
    claim = worker("one")
    assert claim() == ["1.1.1"]
    rows.execute(
        "UPDATE dbos.workflow_status SET status = 'ENQUEUED', owner_xid = NULL, "
        "delay_until_epoch_ms = (extract(epoch FROM now()) * 1000)::bigint + 3600000 WHERE workflow_uuid = '1.1.1'"
    )
    assert claim() == []
    assert worker("two")() == []
    rows.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = 1 WHERE workflow_uuid = '1.1.1'")
    assert claim() == ["1.1.1"], "before its follower"
    (late,) = rows.execute("SELECT delay_until_epoch_ms FROM dbos.workflow_status WHERE workflow_uuid = '1.1.1'")
    assert late == (None,)


def test_lanes_that_wait_are_nobody_elses_delay_however_many_they_are(rows, worker) -> None:  # type: ignore[no-untyped-def]
    """More lanes than one look goes through: the next look goes on behind them."""
    enqueue(rows, 1, lanes=claims.LANES * 2)
    rows.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = 9000000000000")
    rows.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = NULL WHERE workflow_uuid = '1.500.1'")
    enqueue(rows, 2)
    claim = worker("one")
    got = [claim() for _ in range(4)]
    assert got[0] == ["2.1.1"]
    assert [one for look in got for one in look] == ["2.1.1", "1.500.1"]


def test_every_owner_has_its_turn_when_there_are_more_than_a_look_goes_through(rows, worker) -> None:  # type: ignore[no-untyped-def]
    for whose in range(1, claims.OWNERS + 40):
        enqueue(rows, whose)
    claim, seen = worker("one"), set[str]()
    for _ in range(30):
        got = claim(slots=8)
        seen |= set(of_owners(got))
        done(rows, *got)
    assert len(seen) == claims.OWNERS + 39


def test_with_one_slot_owners_take_turns(rows, worker) -> None:  # type: ignore[no-untyped-def]
    for whose in (1, 2, 3):
        enqueue(rows, whose, lanes=5)
    claim, got = worker("one"), list[str]()
    for _ in range(6):
        (taken,) = claim(slots=1)
        done(rows, taken)
        got.append(taken.split(".")[0])
    assert Counter(got) == {"1": 2, "2": 2, "3": 2}


def test_an_album_is_fetched_side_by_side_but_only_so_much_of_it_at_once(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, each=6, queue="media")
    claim = worker("one")
    assert claim("media", 16) == ["1.1.1", "1.1.2"]
    assert claim("media", 16) == []
    done(rows, "1.1.1")
    assert claim("media", 16) == ["1.1.3"]
    assert worker("two")("media", 16) == ["1.1.4", "1.1.5"]


def test_work_of_another_version_is_left_to_its_workers(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=2)
    rows.execute("UPDATE dbos.workflow_status SET application_version = '0' WHERE workflow_uuid = '1.1.1'")
    assert worker("one")() == ["1.2.1"]


def test_lanes_that_a_release_before_named_are_served_until_they_get_their_names(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=2, each=2)
    rows.execute("UPDATE dbos.workflow_status SET queue_partition_key = split_part(queue_partition_key, ':', 2)")
    assert sorted(worker("one")()) == ["1.1.1", "1.2.1"]


def scanned(rows: psycopg.Connection[Any], engine_role: sa.Engine) -> int:
    """Rows that were read without an index, once the engine's connection has said so."""
    with engine_role.begin() as conn:  # a rollback would have psycopg forget what it has prepared
        conn.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    query = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'dbos.workflow_status'::regclass"
    (read,) = rows.execute(query).fetchone() or (0,)
    return int(read)


def touched(engine_role: sa.Engine) -> int:
    """Pages that one look touches, of which nobody has taken anything yet."""
    told = {
        "queue": "turns", "executor": "one", "version": VERSION, "takes_new": True, "app": "recado", "after": "",
        "owners": 64, "each": 1, "most": 64, "at_owner": [], "at_lane": [],
    }  # fmt: skip
    with engine_role.begin() as conn:
        explained = conn.exec_driver_sql("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + claims._FIND[True], told)
        (plan,) = explained.scalar_one()
    touched: int = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return touched


def test_a_look_at_a_deep_backlog_reads_little_of_it(rows, engine_role) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=10, each=10_000)
    rows.execute("ANALYZE dbos.workflow_status")
    assert touched(engine_role) < 1500, "by what it looks at, not by what waits"


def test_a_look_costs_no_more_when_each_of_many_owners_has_many_lanes(rows, engine_role) -> None:  # type: ignore[no-untyped-def]
    for whose in range(1, 65):
        enqueue(rows, whose, lanes=16)
    rows.execute("ANALYZE dbos.workflow_status")
    few = touched(engine_role)
    for whose in range(1, 65):
        enqueue(rows, whose + 1000, lanes=64)
    rows.execute("DELETE FROM dbos.workflow_status WHERE left(queue_partition_key, 36) = ANY(%s)",
                 [[owner(whose) for whose in range(1, 65)]])  # fmt: skip
    rows.execute("VACUUM ANALYZE dbos.workflow_status")
    assert touched(engine_role) < few * 2


def test_every_lane_has_its_turn_when_many_owners_have_more_than_a_look_goes_through(rows, worker) -> None:  # type: ignore[no-untyped-def]
    for whose in range(1, claims.OWNERS + 1):
        enqueue(rows, whose, lanes=3 * claims.LANES_EACH)
    rows.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = 9000000000000")
    last = f"%.{3 * claims.LANES_EACH}.1"
    rows.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = NULL WHERE workflow_uuid LIKE %s", [last])
    claim, seen = worker("one"), set[str]()
    for _ in range(6):
        got = claim()
        seen |= set(of_owners(got))
        done(rows, *got)
    assert len(seen) == claims.OWNERS


def test_a_plan_made_while_the_queue_was_empty_holds_when_thousands_wait(rows, engine_role, worker) -> None:  # type: ignore[no-untyped-def]
    """Kept plans are made again only once PostgreSQL has counted the rows anew, perhaps a minute later."""
    rows.execute("VACUUM ANALYZE dbos.workflow_status")
    claim = worker("one")
    for _ in range(20):  # psycopg prepares what comes often, and PostgreSQL then keeps its plan
        assert claim() == []
    enqueue(rows, 2, lanes=3000)
    before = scanned(rows, engine_role)
    assert len(claim()) == 28
    assert scanned(rows, engine_role) == before


def begun(conn: psycopg.Connection[Any], workflow_id: str, version: str) -> None:
    """That version has begun a step of it."""
    conn.execute(
        "UPDATE dbos.workflow_status SET application_version = %s WHERE workflow_uuid = %s", [version, workflow_id]
    )
    conn.execute(
        "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output) "
        "VALUES (%s, 1, 'think', '1')",
        [workflow_id],
    )


def test_what_no_version_has_begun_is_taken_by_workers_of_each(rows, worker) -> None:  # type: ignore[no-untyped-def]
    """So a canary is a slice of the workers: nobody waits for the newest."""
    enqueue(rows, 1)
    assert worker("old", "1")() == ["1.1.1"]
    enqueue(rows, 2)
    assert worker("new", "2")() == ["2.1.1"]
    enqueue(rows, 3)
    assert worker("old again", "1")() == ["3.1.1"]


def test_a_version_that_drains_takes_nothing_new_and_finishes_what_it_has_begun(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, lanes=2)
    begun(rows, "1.1.1", "1")
    old, new = worker("old", "1", takes_new=False), worker("new", "2")
    assert old() == ["1.1.1"]
    assert new() == ["1.2.1"]
    assert old() == new() == []


def test_nothing_overtakes_a_lanes_head_that_is_another_versions(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, each=3)
    begun(rows, "1.1.1", "1")
    old, new = worker("old", "1", takes_new=False), worker("new", "2")
    assert new() == [], "the second of the lane waits for its head"
    assert old() == ["1.1.1"]
    assert new() == []
    done(rows, "1.1.1")
    assert new() == ["1.1.2"]


def test_of_a_queue_whose_lanes_are_not_one_at_a_time_each_version_takes_its_own(rows, worker) -> None:  # type: ignore[no-untyped-def]
    enqueue(rows, 1, each=2, queue="media")
    begun(rows, "1.1.1", "1")
    assert worker("new", "2")("media") == ["1.1.2"]
    assert worker("old", "1", takes_new=False)("media") == ["1.1.1"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_a_dead_worker_had_is_given_back_whatever_its_version_and_waits_for_that_only_if_it_had_begun(
    rows: psycopg.Connection[Any], worker: Any, engine_role: sa.Engine, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    enqueue(rows, 1, lanes=2)
    assert len(worker("dead", version)()) == 2
    begun(rows, "1.1.1", version)
    dbos = SimpleNamespace(_sys_db=SimpleNamespace(engine=engine_role))
    monkeypatch.setattr("recado.ops.engine.process._get_dbos_instance", lambda: dbos)
    assert process.give_back("somebody else") == 0
    assert process.give_back("dead") == 2
    assert process.give_back("dead") == 0
    left = dict(rows.execute("SELECT workflow_uuid, application_version FROM dbos.workflow_status").fetchall())
    assert left == {"1.1.1": version, "1.2.1": None}
    assert worker("one", "1")() == (["1.1.1", "1.2.1"] if version == "1" else ["1.2.1"])
