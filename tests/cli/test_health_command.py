"""`recado health`: a probe that loads nothing, and believes no process that only exists."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recado import heartbeat
from recado.cli.health import run
from recado.heartbeat import BEAT_S, FOLDER, STALE_S, beating, lives, reached_at


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECADO_HOME", str(tmp_path))
    return tmp_path


@contextmanager
def answering(status: int, body: str = "{}", *, wait_s: float = 0.0) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(wait_s)
            self.send_response(status)
            self.send_header("X-Path", self.path)
            self.end_headers()
            self.wfile.write(body.encode())
            asked.append(self.path)

        def log_message(self, *_: object) -> None: ...

    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def while_beating(home: Path, kind: str, ask: Callable[[], int], *, ready: bool = True, url: str | None = None) -> int:
    """What is answered while this process shows that it lives."""

    async def main() -> int:
        async with beating(home, kind, lambda: ready, url=url):
            while not lives(home):
                await asyncio.sleep(0.01)
            return await asyncio.to_thread(ask)

    return asyncio.run(main())


def test_it_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; sys.argv = ['recado', 'health', '--url', 'http://127.0.0.1:9']\n"
        "from recado.cli import main; main()"
    )

    def loaded(code: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
        )
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}

    own = loaded(code) - loaded("pass")
    assert "recado.cli.health" in own
    foreign = {name for name in own if name.partition(".")[0] not in {*sys.stdlib_module_names, "recado", "org"}}
    assert foreign == set()  # the standard library's `copy` looks for Jython's `org`
    assert {name for name in own if name.startswith("recado")} == {
        *("recado", "recado.cli", "recado.cli.health", "recado.heartbeat")
    }
    assert not {name for name in own if name.partition(".")[0] in {"asyncio", "logging"}}, "slow to start"


def test_a_worker_that_beats_is_ready_and_one_whose_database_is_away_is_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert while_beating(home, "worker", lambda: run([])) == 0
    assert while_beating(home, "worker", lambda: run(["worker"]), ready=False) == 1
    assert while_beating(home, "worker", lambda: run(["worker", "--live"]), ready=False) == 0
    assert while_beating(home, "worker", lambda: run(["api"])) == 1
    said = capsys.readouterr()
    assert f"worker {os.getpid()}: ready\n" in said.out
    assert "not ready: its database has not answered lately" in said.out
    assert "no api of recado runs here" in said.err


def test_a_process_that_hangs_grows_old_and_is_not_alive(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hangs() -> int:
        (file,) = (home / FOLDER).glob("*.json")
        past = time.time() - STALE_S - 5
        os.utime(file, (past, past))
        return run(["--live"])

    assert while_beating(home, "worker", hangs) == 1
    assert "has shown no life for 35 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "body", "arguments", "code", "said"),
    [
        (200, "{}", [], 0, "ready"),
        (503, '{"problems": ["schema behind"]}', [], 1, "not ready: schema behind"),
        (503, '{"problems": ["\\u001b[31m"]}', [], 1, "not ready:  [31m"),
        (404, "nginx", [], 1, "not ready: answers 404"),
        (302, "", [], 1, "not ready: answers 302"),
        (200, "{}", ["--live"], 0, "alive"),
    ],
)
def test_an_api_is_asked_on_its_port(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: str,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    with answering(status, body) as url:
        assert while_beating(home, "api", lambda: run(["api", *arguments]), url=url) == code
        assert run(["--url", url, *arguments]) == code
    assert capsys.readouterr().out.splitlines() == [f"api {url}: {said}"] * 2


def test_an_api_that_does_not_answer_is_not_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recado.cli.health.PATIENCE_S", 0.1)
    with answering(200, wait_s=1.0) as url:
        assert run(["--url", url]) == 1
    assert run(["--url", url]) == 1, "and one that is gone"


def test_what_a_killed_process_left_counts_for_nobody_and_is_removed_by_the_next(home: Path) -> None:
    script = (
        "import asyncio, sys, pathlib; from recado.heartbeat import beating, lives\n"
        "async def main():\n"
        "    home = pathlib.Path(sys.argv[1])\n"
        "    async with beating(home, 'worker', lambda: True):\n"
        "        while not lives(home): await asyncio.sleep(0.01)\n"
        "        print('up', flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert run([]) == 0
        process.send_signal(signal.SIGKILL)
    assert len(list((home / FOLDER).iterdir())) == 1
    assert run([]) == 1
    assert while_beating(home, "api", lambda: run(["--live", "worker"])) == 1
    assert list((home / FOLDER).iterdir()) == []


def test_processes_of_another_machine_or_container_that_share_the_home_are_not_these(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere() -> int:
        with monkeypatch.context() as patched:
            patched.setattr(heartbeat, "_here", lambda: "other-1")
            return run([])

    assert while_beating(home, "worker", elsewhere) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "worker"}', '{"kind": "worker", "pid": "x"}', "\udcff"])
def test_a_broken_file_is_no_process(home: Path, text: str) -> None:
    (home / FOLDER).mkdir()
    path = home / FOLDER / f"worker-{heartbeat._here()}-{os.getpid()}.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run([]) == 1


def test_the_home_is_found_as_the_settings_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recado.cli.health import _home
    from recado.settings import load

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECADO_HOME", raising=False)
    for line in ("", "RECADO_HOME=a/b", "export RECADO_HOME='a b'", 'recado_home="x" ', "RECADO_HOME=c # mine"):
        Path(".env").write_text(f"OTHER=1\n{line}\n")
        assert _home() == load().home, line


@pytest.mark.parametrize("arguments", [["voice"], ["--url", "ftp://x"], ["--url", "nonsense"], ["--nothing"]])
def test_wrong_use_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("recado: ")


def test_what_it_says_can_be_read_by_programs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert while_beating(home, "worker", lambda: run(["--json"])) == 0
    assert json.loads(capsys.readouterr().out) == {
        "ok": True,
        "processes": [{"kind": "worker", "what": str(os.getpid()), "problem": None}],
    }


def test_an_address_to_listen_on_is_reached_from_here() -> None:
    assert reached_at("0.0.0.0", 80) == ("127.0.0.1", 80)
    assert reached_at("::", 80) == ("[::1]", 80)
    assert reached_at("10.0.0.7", 80) == ("10.0.0.7", 80)
    assert BEAT_S * 5 < STALE_S
