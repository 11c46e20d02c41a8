"""A process shows that it lives by a small file under RECADO_HOME, which `recado health` reads.

The file says what kind of process it is, where it listens, and whether it is ready; its time is renewed every
`BEAT_S`, from the event loop, so a process that hangs grows old. It is named after the machine and the space in which
process ids are counted: containers that share a home each see their own. Only the standard library is used here.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: How often the file is renewed, and the age from which on a process is taken for one that hangs.
BEAT_S: Final = 2.0
STALE_S: Final = 30.0
FOLDER: Final = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a process says of itself; `age_s` since when it has said nothing."""

    kind: str
    pid: int
    ready: bool
    url: str | None
    age_s: float

    @property
    def lives(self) -> bool:
        """Whether it has shown so lately."""
        return self.age_s < STALE_S


@asynccontextmanager
async def beating(home: Path, kind: str, ready: Callable[[], bool], *, url: str | None = None) -> AsyncIterator[None]:
    """While it is open the file is renewed. A folder that can't be written is for others to complain about."""
    import asyncio  # not for who only reads

    path = home / FOLDER / f"{kind}-{_here()}-{os.getpid()}.json"
    said = ""

    def beat() -> None:
        nonlocal said
        now = json.dumps({"kind": kind, "pid": os.getpid(), "ready": ready(), "url": url})
        with suppress(OSError):
            if now != said or not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                fresh = path.with_suffix(f".{os.getpid()}.new")
                fresh.write_text(now + "\n", encoding="utf-8")
                fresh.replace(path)
                said = now
            os.utime(path, (time.time(), time.time()))

    async def keep() -> None:
        while True:
            await asyncio.to_thread(beat)
            await asyncio.sleep(BEAT_S)

    await asyncio.to_thread(_sweep, home)
    task = asyncio.create_task(keep(), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=BEAT_S)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def reached_at(host: str, port: int) -> tuple[str, int]:
    """Where a socket that is bound to this address is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - bound elsewhere
    return (f"[{host}]" if ":" in host else host), port


def lives(home: Path) -> list[Life]:
    """The processes of this machine that have a file and are there, whatever they say."""
    return [life for _, life in _found(home) if life is not None and _there(life.pid)]


def _found(home: Path) -> Iterator[tuple[Path, Life | None]]:
    for path in sorted((home / FOLDER).glob(f"*-{_here()}-*.json")):
        with suppress(OSError):
            age_s = max(0.0, time.time() - path.stat().st_mtime)
            yield path, _read(path.read_text(encoding="utf-8", errors="replace"), age_s)


def _read(text: str, age_s: float) -> Life | None:
    """What the file says; None for one that is no such file."""
    try:
        said = json.loads(text)
        return Life(
            kind=str(said["kind"]), pid=int(said["pid"]), ready=said["ready"] is True, url=said["url"], age_s=age_s
        )
    except (ValueError, TypeError, KeyError):
        return None


def _sweep(home: Path) -> None:
    """Remove what processes left that were killed."""
    for path, life in _found(home):
        if life is None or not _there(life.pid):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid > 0


def _here() -> str:
    """The machine, and on Linux the space of its process ids."""
    name = "".join(letter if letter.isalnum() else "." for letter in socket.gethostname())
    try:
        return f"{name}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{name}-0"
