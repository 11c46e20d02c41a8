"""The linters of what is deployed: the images' recipe, the workflows, the compose files, the proxy's settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from supply.finding import Finding
from supply.locks import ROOT

PART: Final = "linters"
_DEPLOY: Final = "deploy"
_WORKFLOWS: Final = ".github/workflows"

#: Each tool and what it is told. Versions of Debian's packages are not pinned: none are installed.
TOOLS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "hadolint": (("--failure-threshold", "warning", f"{_DEPLOY}/Dockerfile"),),
    "zizmor": (("--offline", "--no-progress", "--persona", "pedantic", _WORKFLOWS),),
    "check-jsonschema": (
        ("--builtin-schema", "vendor.compose-spec", f"{_DEPLOY}/compose.yaml", f"{_DEPLOY}/compose.dev.yaml"),
        ("--builtin-schema", "vendor.github-workflows", f"{_WORKFLOWS}/ci.yml", f"{_WORKFLOWS}/release.yml"),
        ("--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"),
    ),
    "caddy": (("validate", "--adapter", "caddyfile", "--config", f"{_DEPLOY}/compose/Caddyfile"),),
}


def check(*, tools: Path) -> Finding:
    """Each linter finds nothing; unchecked when one is not installed."""
    lines: list[str] = []
    absent = [name for name in TOOLS if not (tools / name).exists()]
    for name in TOOLS.keys() - set(absent):
        for words in TOOLS[name]:
            done = subprocess.run(  # noqa: S603
                [str(tools / name), *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "RECADO_HOST": "hooks.example.com", "NO_COLOR": "1"},
            )
            if done.returncode != 0:
                lines += [f"{name}: {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-40:]]
    said = ", ".join(TOOLS)
    if lines:
        return Finding(part=PART, outcome="failed", said=said, lines=tuple(lines))
    if absent:
        return Finding(part=PART, outcome="unchecked", said=f"not installed: {', '.join(absent)}")
    return Finding(part=PART, outcome="ok", said=said)
