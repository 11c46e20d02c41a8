"""Make the wheel of the release before this one, which `test_upgrade.py` runs beside this tree.

`python -m tests.upgrade.make_previous COMMIT` writes `tests/data/releases/recado-VERSION-py3-none-any.whl`. It is kept
in the tree because a shallow clone or an export has no history, and CI no network. Make it anew when a release is out,
from its tag, and take the one before away: what is promised is one release back.

recado 0.1.0 is commit deb68af, the last one before releases could run side by side.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests" / "data" / "releases"


def main(commit: str) -> None:
    """Build it from that commit of this repository; the same commit gives the same bytes."""
    sources = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    made_at = subprocess.run(
        ["git", "show", "-s", "--format=%ct", commit], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(sources)) as archive:
            archive.extractall(folder, filter="data")
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(RELEASES)],
            cwd=folder,
            env=os.environ | {"SOURCE_DATE_EPOCH": made_at},
            check=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
