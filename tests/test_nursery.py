"""Processes that tests start end with what started them, also when that fails half way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fleet import Fleet
from tests.nursery import Child, Nursery

NO_DATABASE = {"RECADO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}


@pytest.fixture
def born() -> Callable[[], set[psutil.Process]]:
    """The processes that came from this one since, and live."""
    before = set(psutil.Process().children(recursive=True))

    def living() -> set[psutil.Process]:
        now = set(psutil.Process().children(recursive=True)) - before
        return {process for process in now if process.status() != psutil.STATUS_ZOMBIE}

    return living


@pytest.fixture
def env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | NO_DATABASE


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def test_a_fork_ends_with_the_code_and_the_log_of_a_process_of_its_own_and_one_that_runs_ends_with_the_nursery(
    nursery: Nursery, env: dict[str, str], tmp_path: Path, born: Callable[[], set[psutil.Process]]
) -> None:
    wrong = nursery.start(["api", "--port", "none"], env=env, log=tmp_path / "wrong.log")
    assert wrong.wait(60) == 2
    assert "--port" in (tmp_path / "wrong.log").read_text()
    running: Child = nursery.start(["simulator", "--port", "0"], env=env, log=tmp_path / "running.log")
    running.send_signal(0)
    assert running.pid in {process.pid for process in born()}
    assert running.poll() is None
    nursery.close()
    assert born() == set()


class Failing(Fleet):
    """A fleet whose processes have started when something goes wrong."""

    async def _set_up(self) -> None:
        return None

    def _until_up(self, url: str, timeout_s: float = 150.0) -> None:
        living = {name for name, member in self.members.items() if member.process and member.process.poll() is None}
        raise RuntimeError(f"no answer while {sorted(living)} run")


def test_a_fleet_that_does_not_come_up_leaves_no_process_and_no_thread(
    tmp_path: Path, born: Callable[[], set[psutil.Process]]
) -> None:
    threads = set(threading.enumerate())
    fleet = Failing(home=tmp_path, apis=1, workers=1, settings=NO_DATABASE)
    with pytest.raises(RuntimeError, match=r"while \['api0', 'worker0'\] run"), fleet:
        pass
    assert born() == set()
    assert [thread for thread in set(threading.enumerate()) - threads if thread.is_alive()] == []
