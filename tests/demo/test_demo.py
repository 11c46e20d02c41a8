"""`recado demo` as a stranger runs it: a process in an empty folder, with an environment that must not matter."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from recado.cli.demo.stage import Processes
from recado.errors import RecadoError

MISLEADING = {
    "RECADO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "RECADO_MODEL": "openai:never-asked",
    "OPENAI_API_KEY": "never used",
    "RECADO_PUBLIC_URL": "https://example.invalid",
    "RECADO_PLATFORM_URL": "nonsense",
    "RECADO_LIMITS": "nonsense",
    "RECADO_MEDIA_URL": "s3://bucket-of-nobody",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: it is closed to the user that PostgreSQL runs as when the tests run as root.
    with tempfile.TemporaryDirectory(prefix="recado-test-demo-") as name:
        yield Path(name)
        for process in _left_in(Path(name)):
            process.kill()


def _left_in(folder: Path) -> list[psutil.Process]:
    """Processes that work in the folder or name it in their arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            said = " ".join([process.cwd(), *process.cmdline()])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(folder) in said and process.pid != os.getpid():
            found.append(process)
    return found


def _start(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / ".env").write_text("RECADO_QUIET_WINDOW_MS=60000\nRECADO_LOG_LEVEL=ERROR\n")
    return subprocess.Popen(
        [sys.executable, "-m", "recado", "demo", *options],
        cwd=folder,
        env=os.environ | MISLEADING,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _nothing_left(folder: Path, said: str) -> None:
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == [".env"], said
    assert _left_in(folder) == []


def test_the_demo_delivers_every_reply_exactly_once_whatever_the_environment_says_and_leaves_nothing(
    folder: Path,
) -> None:
    running = _start(folder)
    said, _ = running.communicate(timeout=110)
    assert running.returncode == 0, said
    assert "Every reply was delivered exactly once" in said
    assert "kill -9 of worker-" in said
    assert "✓ the voice note was understood" in said
    assert "429" in said
    assert "✗" not in said
    _nothing_left(folder, said)


@pytest.mark.parametrize("after", ["PostgreSQL and schema", "API and two workers"])
def test_a_demo_that_is_interrupted_fails_and_leaves_nothing(folder: Path, after: str) -> None:
    running = _start(folder)
    assert running.stdout is not None
    try:
        said = ""
        while after not in said:
            line = running.stdout.readline()
            assert line, said
            said += line
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=90)
    finally:
        running.kill()
    assert running.returncode == 1, said + rest
    assert "the demo was stopped" in rest
    _nothing_left(folder, said + rest)


def test_a_demo_that_stays_prints_where_and_ends_well_when_it_is_told_to(folder: Path) -> None:
    running = _start(folder, "--stay")
    assert running.stdout is not None
    try:
        said = ""
        while "logs  " not in said:
            line = running.stdout.readline()
            assert line, said
            said += line
        where = dict(re.findall(r"^  (phone|API|readiness) +(http://\S+)$", said, re.MULTILINE))
        for address in where.values():
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.status == 200
        assert len(where) == 3
        running.send_signal(signal.SIGTERM)
        rest, _ = running.communicate(timeout=90)
    finally:
        running.kill()
    assert running.returncode == 0, said + rest
    _nothing_left(folder, said + rest)


async def test_a_process_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    processes = Processes(folder=tmp_path, environment=dict(os.environ) | {"RECADO_SPLIT_CHARS": "none"})
    await processes.start("worker-1", "worker")
    async with asyncio.timeout(60):
        while (told := _told(processes)) is None:
            await asyncio.sleep(0.05)
    assert told.startswith("worker-1 ended with 2: ")
    assert "RECADO_SPLIT_CHARS" in told
    await processes.stop()


def _told(processes: Processes) -> str | None:
    try:
        processes.check()
    except RecadoError as error:
        return str(error)
    return None
