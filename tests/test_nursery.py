"""Processes that tests start end with what started them, also when that fails half way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from tests.fleet import Fleet
from tests.nursery import Nursery

NO_DATABASE = {"RECADO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}


def begun(before: set[psutil.Process]) -> set[psutil.Process]:
    """The processes that came from this one since then."""
    return set(psutil.Process().children(recursive=True)) - before


def living(processes: set[psutil.Process]) -> set[psutil.Process]:
    """Those that run, whoever's children they are by now."""
    return {process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}


def test_a_fork_is_a_process_of_its_own_and_what_still_runs_ends_with_the_nursery(tmp_path: Path) -> None:
    before = begun(set())
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | NO_DATABASE
    nursery = Nursery()
    try:
        wrong = nursery.start(["api", "--port", "none"], env=env, log=tmp_path / "wrong.log")
        assert wrong.wait(60) == 2
        assert "--port" in (tmp_path / "wrong.log").read_text()
        running = nursery.start(["simulator", "--port", "0"], env=env, log=tmp_path / "running.log")
        processes = begun(before)
        assert running.pid in {process.pid for process in processes}
        assert running.poll() is None
    finally:
        nursery.close()
    assert living(processes) == set()


class Failing(Fleet):
    """A fleet whose processes have started when something goes wrong."""

    async def _set_up(self) -> None:
        return None

    def _until_up(self, url: str, timeout_s: float = 150.0) -> None:
        assert [name for name, member in self.members.items() if member.process] == ["api0", "worker0"]
        raise Failed(psutil.Process().children(recursive=True))


class Failed(Exception):
    pass


def test_a_fleet_that_does_not_come_up_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    before, threads = begun(set()), set(threading.enumerate())
    with (
        pytest.raises(Failed) as failed,
        Failing(home=tmp_path, apis=1, workers=1, settings=NO_DATABASE),
    ):
        pass
    processes = set(failed.value.args[0]) - before
    assert len(processes) == 3
    assert living(processes) == set()
    assert set(threading.enumerate()) <= threads
