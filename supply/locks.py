"""The locks: what is pinned where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
#: The lock of everything, those of CI's own tools, and those of the images, which are parts of the first.
EVERYTHING: Final = ROOT / "requirements.lock"
TOOLS: Final = (ROOT / ".ci" / "audit.lock", ROOT / ".ci" / "s3.lock")
ROLES: Final = ("api", "worker", "voice")

_ANYWHERE: Final = [
    {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system, "platform_system": name}
    | {"platform_machine": machine, "os_name": "posix"}
    for version in ("3.11", "3.12", "3.13", "3.14")
    for system, name in (("linux", "Linux"), ("darwin", "Darwin"))
    for machine in ("x86_64", "aarch64", "arm64")
]
_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))? *\\?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pin:
    """A package at a version; `ships` is whether it is for any Python and any system that recado is for."""

    name: str
    version: str
    ships: bool = True


def pins(path: Path) -> list[Pin]:
    """What a lock pins. Raises ValueError when a line of it is no pin and no hash."""
    text = path.read_text(encoding="utf-8")
    found = [
        Pin(
            name=canonicalize_name(match["name"]),
            version=match["version"],
            ships=match["marker"] is None or any(Marker(match["marker"]).evaluate(where) for where in _ANYWHERE),
        )
        for match in _PIN.finditer(text)
    ]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("#", " "))]
    if not found or len(found) != len(lines):
        raise ValueError(f"{path.name}: {len(lines)} entries, of which {len(found)} are pins")
    return found


def of_role(role: str) -> Path:
    """The lock of an image."""
    return ROOT / "deploy" / "locks" / f"{role}.lock"
