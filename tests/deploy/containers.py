"""Images built and run without Docker: Debian's buildah and podman, on a base that mmdebstrap makes.

Where a registry is reached, `RECADO_TEST_BASE` may name another base, for instance the one of `deploy/Dockerfile`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.contracts.test_imports import ROOT

TOOLS: Final = ("buildah", "podman", "runc", "mmdebstrap")
#: What the image's base has that is not Python's: the loader, certificates, what wheels are linked with.
PACKAGES: Final = "base-files,python3-minimal,python3-venv,ca-certificates,libc-bin,libstdc++6,dash"
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
BASE: Final = "localhost/base"
RUN_S: Final = 60
BUILD_S: Final = 1200


def missing() -> str | None:
    """Why no image can be built here; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "building an image takes Linux and root here"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """A place for images and containers of the test's own, gone when `remove` has been called."""

    folder: Path

    @property
    def _storage(self) -> list[str]:
        # Copies of whole layers take minutes where the kernel can't lay one over the other.
        overlay = "overlay" in Path("/proc/filesystems").read_text().split()
        driver = "overlay" if overlay else "vfs"
        return ["--storage-driver", driver, "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run"]

    def _execute(self, words: Sequence[str], within_s: float, *, both: bool = False) -> str:
        config = self.folder / "containers.conf"
        # Limits of processes that this machine may not raise are not asked for.
        config.write_text("[containers]\ndefault_ulimits = []\n")
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            cwd=ROOT,
            env={**os.environ, "CONTAINERS_CONF": str(config), "TMPDIR": str(self.folder)},
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return (done.stdout + (done.stderr if both else "")).strip()

    def buildah(self, *words: str, within_s: float = BUILD_S) -> str:
        return self._execute(["buildah", *self._storage, *words], within_s)

    def podman(self, *words: str, within_s: float = RUN_S, both: bool = False) -> str:
        quiet = ("--log-level", "fatal", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        return self._execute(["podman", *self._storage, *quiet, "--runtime", "runc", *words], within_s, both=both)

    def unusable(self) -> str | None:
        """Why nothing can be built and run on this machine, whose tools are there; None where it can.

        What is asked of the machine: packages for a base, and a container of it that starts and ends.
        """
        try:
            self.make_base()
            self.podman("run", "--rm", "--ulimit=host", "--network=host", "--init=false", BASE, "python3", "-c", "")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            return str(error).strip().splitlines()[-1][:300]
        return None

    def make_base(self) -> None:
        """Make the image `BASE`: Python and what a distribution has around it."""
        if given := os.environ.get("RECADO_TEST_BASE"):
            self.podman("pull", "--quiet", given, within_s=BUILD_S)
            self.podman("tag", given, BASE)
            return
        archive = self.folder / "base.tar"
        self._execute(
            ["mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}", "trixie", str(archive)], BUILD_S
        )
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, str(archive), "/")
        self.buildah("config", "--env", f"PATH={PATH}", container)
        self.buildah("commit", "--quiet", "--rm", container, BASE)
        archive.unlink()

    def build(self, target: str) -> str:
        """Build that target of `deploy/Dockerfile` on the base that `unusable` made, and answer the image's name."""
        # What pip is told of this machine holds in the build too: certificates, a mirror.
        told = [
            f"--build-arg={name}={os.environ[name]}" for name in ("PIP_CERT", "PIP_INDEX_URL") if name in os.environ
        ]
        name = f"localhost/recado-{target}"
        self.buildah(
            *("build", "--quiet", "--isolation", "chroot", "--format", "docker", "--layers=false"),
            *(f"--build-arg=BASE={BASE}", *told, "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"),
            *("--file", "deploy/Dockerfile", "--target", target, "--tag", name, "."),
        )
        return name

    def logs(self, name: str) -> str:
        """What a container has written, to standard output and to standard error."""
        return self.podman("logs", name, both=True)

    def inspect(self, name: str) -> dict[str, Any]:
        [found] = json.loads(self.podman("inspect", name))
        return dict(found)

    def remove(self) -> None:
        """End what runs, and remove all of it."""
        with suppress(AssertionError, subprocess.TimeoutExpired):  # where they can't be used, nothing runs
            for name in self.podman("ps", "--all", "--quiet").split():
                self.podman("rm", "--force", "--time", "1", name)
            for name in self.buildah("containers", "--quiet").split():
                self.buildah("rm", name)
        subprocess.run(["umount", f"{self.folder}/store/overlay"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
