from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.rows import Rows
from tests.conftest import SECRET_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line of a command that did not do its work."""
        assert self.out == ""
        assert self.err.startswith("recado: ")
        assert self.err.count("\n") == 1, self.err
        return self.err


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A process that runs command after command, each in the folder and the environment that it is given."""

    process: subprocess.Popen[str]

    def __call__(self, *arguments: object, stdin: bytes, folder: Path, environment: dict[str, str]) -> Ran:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {
            "arguments": [str(word) for word in arguments],
            "stdin": stdin.decode("latin-1"),
            "folder": str(folder),
            "environment": environment,
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ran(**json.loads(self.process.stdout.readline()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Runs `recado` in a folder and an environment of the test's own, in a process that has run others before.

    Starting Python costs most of what a command costs; `apart` runs one in a process of its own.
    """

    folder: Path
    environment: dict[str, str] = field(repr=False)
    shell: Shell

    def __call__(self, *arguments: object, stdin: str | bytes = b"", **variables: str) -> Ran:
        return self.shell(
            *arguments,
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            folder=self.folder,
            environment=self.environment | variables,
        )

    def apart(self, *arguments: object, stdin: str | bytes = b"", **variables: str) -> Ran:
        """The same in a process of its own."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=self.folder,
            env=self.environment | variables,
            timeout=60,
            check=False,
        )
        return Ran(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    def start(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        """A command that runs until it is told to stop."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=self.environment | variables,
            text=True,
        )

    @staticmethod
    def command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "recado", *map(str, arguments)]


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """The process for commands of this run's worker."""
    # The module of the tests is found wherever the tests are run from.
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cli.many"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"},
        text=True,
    ) as process:
        yield Shell(process=process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def bare(tmp_path: Path, shell: Shell) -> Terminal:
    """A terminal that knows of no database."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "LANG") if name in os.environ}
    environment = kept | {"PYTHONUTF8": "1", "RECADO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    # Nobody is there: what would call Twilio hears so at once.
    environment |= {"RECADO_SECRET_KEYS": SECRET_KEYS, "RECADO_TWILIO_API_URL": "http://127.0.0.1:1"}
    return Terminal(folder=tmp_path, environment=environment, shell=shell)


@pytest.fixture
def recado(bare: Terminal, database_url: str) -> Terminal:
    """A terminal with a migrated database."""
    return replace(bare, environment=bare.environment | {"RECADO_DATABASE_URL": database_url})


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    """The same database from inside, with an owner that has an account, a number and a conversation."""
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        yield Rows.with_an_owner(conn)
