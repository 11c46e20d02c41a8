"""The weights for demo and tests are believed by their digests; the process that loads them ends with its worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recado.media.voice.weights import DIGESTS, WeightsMissing, base_model_folder


def test_weights_that_are_not_whole_are_made_again(model: Path, tmp_path: Path) -> None:
    folder = base_model_folder(tmp_path)
    assert {path.name for path in folder.iterdir()} == set(DIGESTS)
    (folder / "config.json").write_bytes(b"{}")
    assert (base_model_folder(tmp_path) / "config.json").read_bytes() == (model / "config.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["whisper-base"]


def test_weights_whose_digest_is_another_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIGESTS, "config.json", "0" * 64)
    with pytest.raises(WeightsMissing):
        base_model_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_listens_ends_with_a_worker_that_is_killed(model: Path) -> None:
    code = (
        "import asyncio, sys\nfrom recado.media.voice.whisper import Whisper\n"
        "async def main():\n    made = Whisper(sys.argv[1], threads=1, longest_s=30)\n    await made.start()\n"
        "    print(made._child.pid, file=sys.stderr, flush=True)\n    await asyncio.sleep(60)\nasyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(model)], stderr=subprocess.PIPE) as worker:
        assert worker.stderr is not None
        child = int(worker.stderr.readline())
        worker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 40
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
