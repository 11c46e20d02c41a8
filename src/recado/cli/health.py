"""`recado health`: whether the processes of this machine are well. Only the standard library is loaded, for probes.

What an image's HEALTHCHECK or a unit runs every few seconds must start in a moment: no command line framework, no
settings, no database. It reads the processes' own files (`recado.heartbeat`), and asks an API on its port.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from recado.heartbeat import Life, lives

#: So long an API may take; the probe of its database is bounded below that.
PATIENCE_S: Final = 5.0
KINDS: Final = ("api", "worker")
_MOST: Final = 65536


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"recado: {message}: see `recado health --help`\n")


def run(arguments: Sequence[str]) -> int:
    """Look, say on a line each what was found, and answer the exit code: 0 all is well, 1 it is not, 2 wrong use."""
    parser = _Parser(prog="recado health", description=__doc__.splitlines()[0].split(": ", 1)[1])
    parser.add_argument("kind", nargs="?", choices=KINDS, help="Only processes of this kind.")
    parser.add_argument("--live", action="store_true", help="Only whether they live, not whether they are ready.")
    parser.add_argument("--url", help="Ask an API at this address instead, for instance http://127.0.0.1:8000.")
    parser.add_argument("--json", action="store_true", help="Print an object instead of lines.")
    told = parser.parse_args(arguments)
    if told.url is not None and (urlsplit(told.url).scheme != "http" or not urlsplit(told.url).hostname):
        parser.error("--url is the http:// address of an API")
    if told.url is not None:
        found = [_answers("api", told.url, live=told.live)]
    else:
        there = [life for life in lives(_home()) if told.kind in (None, life.kind)]
        found = [_looked_at(life, live=told.live) for life in there]
    well = bool(found) and all(one["problem"] is None for one in found)
    if told.json:
        print(json.dumps({"ok": well, "processes": found}))
    else:
        for one in found:
            print(f"{one['kind']} {one['what']}: {one['problem'] or ('alive' if told.live else 'ready')}")
        if not found:
            what = f"no {told.kind}" if told.kind else "no process"
            print(f"recado: {what} of recado runs here, or with another RECADO_HOME than {_home()}", file=sys.stderr)
    return 0 if well else 1


def _looked_at(life: Life, *, live: bool) -> dict[str, str | None]:
    what = f"{life.pid}"
    if not life.lives:
        return _told(life.kind, what, f"has shown no life for {life.age_s:.0f} s")
    if life.url is not None:
        return _answers(life.kind, life.url, live=live)
    return _told(life.kind, what, None if live or life.ready else "not ready: its database has not answered lately")


def _answers(kind: str, url: str, *, live: bool) -> dict[str, str | None]:
    """Ask an API; a redirect or anything else that is not its answer is a problem."""
    parts = urlsplit(url)
    path = "/livez" if live else "/readyz"
    try:
        asking = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=PATIENCE_S)
        try:
            asking.request("GET", path, headers={"Connection": "close"})
            answer = asking.getresponse()
            body = answer.read(_MOST)
        finally:
            asking.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _told(kind, url, f"does not answer: {type(error).__name__}")
    if answer.status == 200:
        return _told(kind, url, None)
    try:
        problems = json.loads(body)["problems"]
        why = ", ".join(str(problem) for problem in problems)
    except (ValueError, TypeError, KeyError):
        why = f"answers {answer.status}"
    return _told(kind, url, f"not ready: {why}")


def _told(kind: str, what: str, problem: str | None) -> dict[str, str | None]:
    return {"kind": kind, "what": what, "problem": problem and "".join(c if c.isprintable() else " " for c in problem)}


def _home() -> Path:
    """RECADO_HOME as the settings find it: the environment, then `.env`, then the default."""
    home = next((value for name, value in os.environ.items() if name.upper() == "RECADO_HOME" and value), None)
    if home is None:
        try:
            lines = Path(".env").read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            lines = []
        for line in lines:
            name, equals, value = line.partition("=")
            if equals and name.strip().removeprefix("export ").strip().upper() == "RECADO_HOME":
                value = value.strip()
                quoted = value[:1] in "'\"" and value[:1] == value[-1:] and len(value) > 1
                home = value[1:-1] if quoted else value.split(" #")[0].strip()
    return Path(home or ".recado")
