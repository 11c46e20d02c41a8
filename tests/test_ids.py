"""Identifiers sort in the order in which they were made."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest

from recado import ids
from recado.db.embedded import Lease
from recado.ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_carries_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    # A burst of earlier ids may have pushed it a little ahead of the clock.
    assert before <= made.int >> 80 <= after + 50


def test_ids_made_one_after_the_other_are_strictly_increasing() -> None:
    made = [new_id() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(made))


def test_a_clock_that_is_set_back_makes_no_id_that_sorts_before_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_minute = (time.time_ns() // 1_000_000 + 60_000) << 12
    monkeypatch.setattr(ids, "_last", in_a_minute)
    first, second = new_id(), new_id()
    assert in_a_minute >> 12 <= first.int >> 80
    assert first < second


def test_ids_made_by_many_threads_are_all_different_and_increasing_in_each() -> None:
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    assert len({made for each in lists for made in each}) == 16_000
    assert all(each == sorted(each) for each in lists)


def test_postgresql_sorts_them_as_python_does_and_finds_the_least_of_a_moment(cluster: Lease, template: str) -> None:
    made = [new_id() for _ in range(200)]
    with psycopg.connect(cluster.url("postgres", cluster.password("postgres"), template)) as conn:
        found = conn.execute("SELECT x FROM unnest(%s::uuid[]) x ORDER BY x", [made[::-1]]).fetchall()
        floor = conn.execute(
            "SELECT recado.uuid_floor(to_timestamp(%s)), recado.uuid_floor(to_timestamp(%s))",
            [(made[0].int >> 80) / 1000, (made[-1].int >> 80) / 1000 + 0.001],
        ).fetchone()
    assert [row[0] for row in found] == made
    assert floor is not None
    assert floor[0] <= made[0] < made[-1] < floor[1]
