"""The release before this one as processes, beside this one's, and what a database promises both."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from recado.simulator.client import SimulatorClient
from tests.conftest import SECRET_KEYS
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, TOKEN, Fleet, Member
from tests.nursery import Nursery

(WHEEL,) = (Path(__file__).parents[1] / "data" / "releases").glob("recado-*.whl")
PREVIOUS = WHEEL.name.split("-")[1]

#: Half of the contacts write to each; Twilio posts what comes for the second to the newer API as long as there is one.
NUMBERS = (NUMBER, NUMBER[:-1] + "7")

#: Commands one after the other in one process: the arguments and the input of each; what it printed.
_COMMANDS = """
import io, json, sys
import recado
from recado.cli import main
told = [recado.__version__]
for arguments, given in json.loads(sys.argv[1]):
    sys.argv = ["recado", *arguments]
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(given.encode())), io.StringIO()
    try:
        main()
    except SystemExit as ended:
        told.append((ended.code, sys.stdout.getvalue()))
print(json.dumps(told), file=sys.__stdout__)
"""


def unpack(folder: Path) -> Path:
    """The previous release's package, to be loaded from there with the dependencies of this one."""
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    return folder


@dataclass(slots=True)
class Releases(Fleet):
    """A fleet that begins with the release before, on a database of its own; this one's processes join it."""

    release: Path = Path()
    url: str = ""
    said: str = ""
    pids: dict[str, set[int]] = field(default_factory=lambda: {"previous": set(), "this": set()})
    _this: Nursery | None = None

    def environment(self) -> dict[str, str]:
        """What all processes have; the release is the nursery's."""
        return {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
            "RECADO_HOME": str(self.home),
            "RECADO_DATABASE_URL": self.url,
            "RECADO_SECRET_KEYS": SECRET_KEYS,
            "RECADO_TWILIO_API_URL": self.simulator_url,
            "RECADO_PUBLIC_URL": self.api_urls[0] if self.api_urls else "http://127.0.0.1:1",
            "RECADO_QUIET_WINDOW_MS": "150",
            **self.settings,
        }

    def command(self, *commands: tuple[Sequence[str], str], previous: bool) -> list[tuple[int, str]]:
        """Exit code and output of each, of one release."""
        folders = [*([str(self.release)] if previous else []), str(Path(__file__).parents[2] / "src")]
        done = subprocess.run(
            [sys.executable, "-c", _COMMANDS, json.dumps(commands)],
            env=self.environment() | {"PYTHONPATH": os.pathsep.join(folders)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        version, *told = json.loads(done.stdout)
        assert (version == PREVIOUS) is previous
        return [(code, out) for code, out in told]

    async def _set_up(self) -> None:
        """An owner with a number, as the release before sets them up, on a database that it has migrated."""
        async with SimulatorClient(self.simulator_url) as client:
            await client.add_account(ACCOUNT_SID, TOKEN)

        def run(*commands: tuple[Sequence[str], str]) -> list[tuple[int, str]]:
            done = self.command(*commands, previous=True)
            assert [code for code, _ in done] == [0] * len(commands), (done, self.said)
            return done

        (_, (_, owner)) = await asyncio.to_thread(run, (["migrate"], ""), (["owners", "add", "Padaria", "--json"], ""))
        owner_id = json.loads(owner)["id"]
        account = ["accounts", "add", "--owner", owner_id, "--account-sid", ACCOUNT_SID, "--auth-token-stdin"]
        numbers = [(["numbers", "add", "--account", ACCOUNT_SID, "--address", number], "") for number in NUMBERS]
        await asyncio.to_thread(run, (account, TOKEN), *numbers)

    def join(self, name: str, *arguments: str, previous: bool = False, **settings: str) -> Member:
        """Start a process of one release, which the supervisor then keeps."""
        if self._this is None:
            self._this = Nursery()
        nursery = self._nursery if previous else self._this
        assert nursery is not None
        env = self.environment() | settings
        member = Member(name, list(arguments), env, self.home / f"{name}.log", nursery)
        member.start()
        self.members[name] = member
        return member

    def route(self, number: str, api: str) -> None:
        """Have Twilio post what comes for the number to that API; it tries again what fails."""
        self.call(lambda client: client.add_number(ACCOUNT_SID, number, f"{api}{INBOUND}#rc=5&rp=ct,rt,5xx"))

    def note(self) -> None:
        """Remember which processes there are, for who did what."""
        for name, member in list(self.members.items()):
            if member.process is not None:
                self.pids["this" if name.startswith("new") else "previous"].add(member.process.pid)

    def __exit__(self, *what: object) -> None:
        Fleet.__exit__(self, *what)
        if self._this is not None:
            self._this.close()

    def _make_nursery(self) -> Nursery:
        return Nursery(self.release)


def who_ended_work(url: str, pids: dict[str, set[int]]) -> dict[str, int]:
    """How many workflows each release's workers have ended well."""
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT executor_id FROM dbos.workflow_status WHERE status = 'SUCCESS'").fetchall()
    ended = [int(found[1]) for (executor,) in rows if (found := re.search(r"-(\d+)-[0-9a-f]{8}$", executor))]
    return {release: sum(pid in known for pid in ended) for release, known in pids.items()}


def unfinished(url: str) -> list[tuple[Any, ...]]:
    """Work that nobody has ended."""
    with psycopg.connect(url) as conn:
        return conn.execute(
            "SELECT name, status, executor_id, application_version FROM dbos.workflow_status "
            "WHERE status IN ('ENQUEUED', 'PENDING')"
        ).fetchall()


def promised(url: str) -> dict[str, Any]:
    """What code that was written for this schema relies on: columns, functions, rights."""
    with psycopg.connect(url, options="-c search_path=recado") as conn:
        columns = conn.execute(
            "SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
            "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'recado'::regnamespace "
            "AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped"
        ).fetchall()
        demanded = conn.execute(
            "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "WHERE c.relnamespace = 'recado'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 "
            "AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''"
        ).fetchall()
        functions = conn.execute(
            "SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')', pg_get_function_result(oid) "
            "FROM pg_proc WHERE pronamespace = 'recado'::regnamespace"
        ).fetchall()
        rights = conn.execute(
            "SELECT c.relname || ' ' || a.grantee::regrole || ' ' || a.privilege_type FROM pg_class c, "
            "aclexplode(c.relacl) a WHERE c.relnamespace = 'recado'::regnamespace AND c.relkind IN ('r', 'p') "
            "UNION SELECT p.proname || ' ' || a.grantee::regrole || ' ' || a.privilege_type FROM pg_proc p, "
            "aclexplode(p.proacl) a WHERE p.pronamespace = 'recado'::regnamespace AND a.grantee <> 0 "
            "UNION SELECT c.relname || '.' || t.attname || ' ' || a.grantee::regrole || ' ' || a.privilege_type "
            "FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a "
            "WHERE c.relnamespace = 'dbos'::regnamespace"
        ).fetchall()
        bodies = conn.execute(
            "SELECT proname, md5(prosrc) FROM pg_proc WHERE pronamespace = 'recado'::regnamespace"
        ).fetchall()
    return {
        "columns": dict(columns),
        "demanded": {name for (name,) in demanded},
        "functions": dict(functions),
        "rights": {right for (right,) in rights},
        "bodies": dict(bodies),
    }


def broken(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What the later schema no longer keeps of what code for the earlier one relies on."""
    tables = {name.partition(".")[0] for name in before["columns"]}
    wrong = [
        f"{what} {name} is gone or changed"
        for what in ("columns", "functions")
        for name, kind in before[what].items()
        if after[what].get(name) != kind
    ]
    wrong += [f"right {right} is gone" for right in before["rights"] - after["rights"]]
    wrong += [
        f"column {name} must be given"
        for name in after["demanded"] - before["demanded"]
        if name.partition(".")[0] in tables
    ]
    return sorted(wrong)


class Watch:
    """Looks at an API's `/readyz` again and again, and keeps what it said when it was not ready."""

    def __init__(self, url: str) -> None:
        self.url, self.said, self.ready = url, list[str](), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        import urllib.error
        import urllib.request

        while not self._ended.wait(0.1):
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=10) as answer:
                    self.ready += answer.status == 200
            except urllib.error.HTTPError as error:
                self.said.append(error.read().decode())
            except OSError:
                continue  # killed, or not up yet

    def end(self) -> None:
        self._ended.set()
        self._thread.join(15)
