"""Temporary files: in a folder that is gone when its user is done, or else when the next process starts."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

_FOLDER = "scratch"


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A folder of its own for temporary files, readable by nobody else; removed with all that is in it."""
    parent = home / _FOLDER
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = parent / f"{token_hex(8)}.lock"
    folder = lock.with_suffix("")
    # Locked under a name that `sweep` does not look at: nobody can take it between its making and its locking.
    draft = lock.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(lock)
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in (lock, draft):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def sweep(home: Path) -> int:
    """Remove the temporary files of processes that have died, by `kill -9` for instance; answers how many folders.

    A lock is given back by the system when its process dies, whatever way, so that no process id has to be believed.
    """
    swept = 0
    for lock in (home / _FOLDER).glob("*.lock"):
        with suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(lock, os.O_WRONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
                swept += 1
            finally:
                os.close(descriptor)
    return swept
