"""Jobs run at their times, once over all workers, again when a death cuts them short, once when they were missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.clock import zone_of
from recado.db.pool import Pool, open_pool
from recado.errors import RecadoError
from recado.ops.jobs import JOBS, Job, Jobs, Work, ask, states
from recado.ops.schedules import Daily, Every
from tests import lending

ZONES = ("America/Sao_Paulo", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")


@dataclass(slots=True)
class Yard:
    """Workers that run jobs over one database."""

    platform: Pool
    url: str
    runs: list[str] = field(default_factory=list)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        return lending.rows(self.url, query, *parameters)

    async def change(self, query: str, *parameters: Any) -> None:
        await asyncio.to_thread(self.rows, query, *parameters)

    def worker(self, name: str, job: Job, work: Work) -> asyncio.Task[None]:
        """A worker that lives until its task is cancelled; killed, its row goes as recovery would have it."""
        self.rows(
            "INSERT INTO executors (id, lock_key, kind, host, pid, queues) "
            "VALUES (%s, hashtext(%s), 'worker', 'x', 1, '{}') ON CONFLICT DO NOTHING",
            name,
            name,
        )
        jobs = Jobs(platform=self.platform, holder=name, works={job.name: work}, zone=UTC, jobs=[job], look_s=0.02)
        return asyncio.create_task(jobs.run())

    def counting(self, name: str) -> Work:
        async def work() -> None:
            self.runs.append(name)

        return work

    async def until(self, condition: str) -> dict[str, Any]:
        """The job's row, as soon as it is so."""
        async with asyncio.timeout(60):
            while not (found := self.rows(f"SELECT * FROM jobs WHERE {condition}")):
                await asyncio.sleep(0.02)
        return found[0]


@pytest.fixture
async def yard(database_url: str) -> AsyncIterator[Yard]:
    async with open_pool(database_url, "recado_platform", size=4) as platform:
        yield Yard(platform, database_url)


def hourly(name: str = "tidy", **more: Any) -> Job:
    return Job(name=name, what="x", schedule=Every(seconds=3600.0), first_s=0.0, **more)


async def stop(*workers: asyncio.Task[None]) -> None:
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_of_many_workers_one_runs_it_and_then_it_has_its_next_time(yard: Yard) -> None:
    workers = [yard.worker(f"w{number}", hourly(), yard.counting(f"w{number}")) for number in range(4)]
    row = await yard.until("outcome = 'done' AND next_at > now() + interval '59 minutes'")
    await asyncio.sleep(0.3)
    await stop(*workers)
    assert len(yard.runs) == 1
    assert (row["holder"], row["error"], row["failures"]) == (None, None, 0)


async def test_however_many_times_were_missed_it_is_run_once(yard: Yard) -> None:
    yard.rows("INSERT INTO jobs (name, next_at) VALUES ('tidy', now() - interval '9 days')")
    worker = yard.worker("w", hourly(), yard.counting("w"))
    await yard.until("outcome = 'done' AND next_at > now() + interval '59 minutes'")
    await asyncio.sleep(0.2)
    await stop(worker)
    assert yard.runs == ["w"]


async def test_a_run_that_a_death_cut_short_is_run_again_by_another_at_once(yard: Yard) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    killed = yard.worker("killed", hourly(), hang)
    await begun.wait()
    other = yard.worker("other", hourly(), yard.counting("other"))
    await asyncio.sleep(0.2)
    assert yard.runs == [], "its executor lives"
    # As recovery finds it after `kill -9`: the row of the executor goes, that of the job stays as it was.
    await yard.change("DELETE FROM executors WHERE id = 'killed'")
    await yard.until("outcome = 'done'")
    assert yard.runs == ["other"]
    await stop(killed, other)


async def test_what_the_dead_worker_says_afterwards_does_not_count(yard: Yard) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go_on.wait()
        raise RecadoError("late")

    stopped = yard.worker("stopped", hourly(), slow)
    await begun.wait()
    await yard.change("DELETE FROM executors WHERE id = 'stopped'")
    other = yard.worker("other", hourly(), yard.counting("other"))
    await yard.until("outcome = 'done'")
    go_on.set()
    await asyncio.sleep(0.2)
    await stop(stopped, other)
    assert yard.rows("SELECT outcome, error FROM jobs") == [{"outcome": "done", "error": None}]


async def test_a_job_that_kills_its_workers_waits_longer_each_time(yard: Yard) -> None:
    yard.rows(
        "INSERT INTO jobs (name, next_at, holder, started_at, held_until, deaths) "
        "VALUES ('tidy', now(), 'dead', now(), now() + interval '1 hour', 2)"
    )
    worker = yard.worker("w", hourly(), yard.counting("w"))
    await asyncio.sleep(0.3)
    assert yard.runs == []
    await yard.change("UPDATE jobs SET started_at = now() - interval '5 minutes'")
    row = await yard.until("outcome = 'done'")
    await stop(worker)
    assert (yard.runs, row["deaths"]) == (["w"], 0)


async def test_a_stopping_worker_gives_back_what_it_had(yard: Yard) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    stopping = yard.worker("stopping", hourly(), hang)
    await begun.wait()
    await stop(stopping)
    assert yard.rows("SELECT holder FROM jobs") == [{"holder": None}]
    other = yard.worker("other", hourly(), yard.counting("other"))
    row = await yard.until("outcome = 'done'")
    await stop(other)
    assert row["deaths"] == 0


async def test_what_fails_is_written_down_and_tried_again_sooner_than_its_time(yard: Yard) -> None:
    async def fail() -> None:
        yard.runs.append("tried")
        raise RecadoError("the bucket is away") if len(yard.runs) == 1 else ValueError("sk-secret")

    worker = yard.worker("w", hourly(), fail)
    row = await yard.until("failures = 1")
    assert (row["outcome"], row["error"]) == ("failed", "the bucket is away")
    assert timedelta(seconds=50) < row["next_at"] - row["finished_at"] < timedelta(seconds=70)
    await yard.change("UPDATE jobs SET next_at = now()")
    row = await yard.until("failures = 2")
    await stop(worker)
    assert row["error"] == "ValueError", "what is not ours to say may hold anything"
    assert timedelta(seconds=110) < row["next_at"] - row["finished_at"] < timedelta(seconds=130)


async def test_a_run_that_takes_longer_than_it_may_is_ended(yard: Yard) -> None:
    worker = yard.worker("w", hourly(bound_s=0.05), asyncio.Event().wait)
    row = await yard.until("outcome IS NOT NULL")
    await stop(worker)
    assert (row["outcome"], row["error"]) == ("too_long", "longer than 0 s")


async def test_one_that_is_asked_for_while_it_runs_runs_once_more(yard: Yard) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        yard.runs.append("run")
        begun.set()
        await go_on.wait()

    worker = yard.worker("w", hourly(), work)
    await begun.wait()
    async with yard.platform.connection() as conn:
        await ask(conn, "tidy")
        assert (await states(conn))["tidy"].running_since is not None
    go_on.set()
    async with asyncio.timeout(60):
        while len(yard.runs) < 2:
            await asyncio.sleep(0.02)
    await yard.until("outcome = 'done' AND asked_at IS NULL AND holder IS NULL")
    await stop(worker)
    assert len(yard.runs) == 2


async def test_a_worker_that_lacks_a_job_leaves_it_to_those_that_know_it(yard: Yard) -> None:
    yard.rows("INSERT INTO jobs (name, next_at) VALUES ('of_a_newer_version', now() - interval '1 day')")
    worker = yard.worker("w", hourly(), yard.counting("w"))
    await yard.until("name = 'tidy' AND outcome = 'done'")
    await stop(worker)
    assert yard.rows("SELECT outcome FROM jobs WHERE name = 'of_a_newer_version'") == [{"outcome": None}]


async def test_a_time_that_comes_sooner_in_a_new_version_counts_at_once(yard: Yard) -> None:
    yard.rows("INSERT INTO jobs (name, next_at) VALUES ('tidy', now() + interval '5 days')")
    worker = yard.worker("w", hourly(), yard.counting("w"))
    row = await yard.until("next_at < now() + interval '61 minutes'")
    await stop(worker)
    assert row["outcome"] is None


@given(
    st.integers(1_577_836_800, 1_893_456_000),
    st.times(),
    st.sampled_from(ZONES),
)
def test_a_time_of_day_comes_once_on_each_day_of_its_zone(now: int, at: time, zone: str) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    daily, there = Daily(at=at.replace(second=0, microsecond=0)), zone_of(zone)
    days = []
    for _ in range(4):
        following = daily.next(moment, there)
        assert moment < following <= moment + timedelta(hours=26)
        days.append((following.astimezone(there) - timedelta(hours=1)).date() if at.hour else None)
        moment = following
    told = [day for day in days if day is not None]
    assert len(set(told)) == len(told)


def test_on_days_without_that_time_or_with_two_of_it_it_comes_once() -> None:
    berlin, daily = ZoneInfo("Europe/Berlin"), Daily(at=time(2, 30))
    spring = daily.next(datetime(2026, 3, 28, 12, tzinfo=UTC), berlin)
    assert spring == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert daily.next(spring, berlin) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    autumn = daily.next(datetime(2026, 10, 24, 12, tzinfo=UTC), berlin)
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert daily.next(autumn, berlin) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_zone_that_there_is_not_is_refused() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd", "America"):
        with pytest.raises(ValueError, match="time zone"):
            zone_of(name)


def test_jobs_have_names_of_their_own_and_say_what_they_do() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
    assert all(job.what.endswith(".") for job in JOBS)
    assert {job.schedule.shown(UTC) for job in JOBS} >= {"10 min", "6 h", "day at 04:00 UTC"}
