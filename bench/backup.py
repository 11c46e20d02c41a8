"""A set of a million messages: how long it takes to make, to check and to put back, beside copying the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import million, stack


def _recado(home: Path, *arguments: object) -> tuple[float, Any]:
    """A command at that home, as people give it: seconds, and its JSON."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "recado", *map(str, arguments), "--json"],
        env=stack.environment(home),
        stdout=subprocess.PIPE,
        check=True,
    )
    return round(time.monotonic() - began, 1), json.loads(done.stdout)


def _copied(folder: Path, to: Path) -> float:
    """Seconds to copy the folder and have the copy on the disk: the floor of all this."""
    began = time.monotonic()
    shutil.copytree(folder, to)
    os.sync()
    took = time.monotonic() - began
    shutil.rmtree(to)
    return round(took, 1)


def measure(*, messages: int = int(os.environ.get("BENCH_BACKUP_MESSAGES", "1000000"))) -> dict[str, Any]:
    """Everything by the commands themselves, on a home that is running nothing else."""
    with stack.home() as full, stack.home() as empty, tempfile.TemporaryDirectory(prefix="recado-bench-") as folder:
        stack.run(stack.set_up(full))
        million.load_messages(full, messages=messages, conversations=messages // 10)
        stack.settle(full)
        made = Path(folder) / "set"
        backup_s, told = _recado(full, "backup", made)
        verify_s, _ = _recado(full, "backup", "verify", made)
        copy_s = _copied(made / "database", Path(folder) / "copy")
        shutil.copy(full / "secret.keys", empty / "secret.keys")
        restore_s, restored = _recado(empty, "restore", made)
        return {
            "messages": messages,
            "bytes": told["database"]["bytes"],
            "copy_s": copy_s,
            "backup_s": backup_s,
            "verify_s": verify_s,
            "restore_s": restore_s,
            "lost": messages - restored["counts"]["messages"],
        }
