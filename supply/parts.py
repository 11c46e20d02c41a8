"""The parts list of each image, in CycloneDX: `cyclonedx-py` makes it of the image's lock."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from supply.finding import Finding
from supply.locks import ROLES, ROOT, Pin, of_role, pins

PART: Final = "parts"


def check(*, tool: Path, into: Path) -> Finding:
    """Write `ROLE.cdx.json` of each image; failed when one does not list just what its lock pins, each with a hash."""
    if not tool.exists():
        return Finding(part=PART, outcome="unchecked", said=f"{tool.name} is not installed")
    into.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for role in ROLES:
        path = into / f"{role}.cdx.json"
        words = [
            *(str(tool), "requirements", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"),
            *("--validate", "--output-format", "JSON", "--output-file", str(path), str(of_role(role))),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            lines.append(f"{role}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            continue
        lines += [f"{role}: {wrong}" for wrong in compare(json.loads(path.read_text()), pins(of_role(role)))]
    where = into.relative_to(ROOT) if into.is_relative_to(ROOT) else into
    return Finding(
        part=PART, outcome="failed" if lines else "ok", said=f"{len(ROLES)} lists in {where}", lines=tuple(lines)
    )


def compare(listed: dict[str, Any], locked: list[Pin]) -> list[str]:
    """What a list has wrong about what is locked."""
    components = listed.get("components", [])
    found = {(canonicalize_name(one["name"]), one.get("version")) for one in components}
    expected = {(pin.name, pin.version) for pin in locked}
    wrong = [f"{name} {version} is not in the list" for name, version in sorted(expected - found)]
    wrong += [f"{name} {version} is in no lock" for name, version in sorted(found - expected, key=str)]
    for one in components:
        hashes = [item for reference in one.get("externalReferences", ()) for item in reference.get("hashes", ())]
        if not (one.get("hashes") or hashes):
            wrong.append(f"{one['name']} has no hash")
        if not str(one.get("purl", "")).startswith("pkg:pypi/"):
            wrong.append(f"{one['name']} has no address of a package")
    return wrong
