"""Temporary files: gone at the end, whatever the end was."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from recado.media.scratch import scratch, sweep

HOLD = """
import sys
from pathlib import Path
from recado.media.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "voice").write_bytes(b"what somebody said")
    print(folder, flush=True)
    sys.stdin.read()
"""


def left(home: Path) -> list[Path]:
    return sorted((home / "scratch").iterdir())


def test_its_files_are_gone_when_it_is_left(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "a").write_bytes(b"x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with contextlib.suppress(RuntimeError), scratch(tmp_path) as folder:
        (folder / "b").write_bytes(b"x")
        raise RuntimeError
    assert left(tmp_path) == []


def test_each_has_a_folder_of_its_own(tmp_path: Path) -> None:
    with scratch(tmp_path) as one, scratch(tmp_path) as two:
        assert one != two


def test_what_a_killed_process_left_is_swept_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    folders = [Path(process.stdout.readline().strip()) for process in running if process.stdout]
    killed, living = running
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (folders[0] / "voice").exists()
    with scratch(tmp_path) as own:
        assert sweep(tmp_path) == 1
        assert own.exists()
        assert (folders[1] / "voice").exists()
        assert not folders[0].exists()
        assert sweep(tmp_path) == 0
    living.communicate("")
    killed.communicate()
    assert living.returncode == 0
    assert left(tmp_path) == []


def test_sweeping_where_nothing_was_is_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path) == 0
    assert os.listdir(tmp_path) == []
