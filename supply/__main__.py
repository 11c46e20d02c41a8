"""`python -m supply`: run the audit, or some parts of it. Exit code 1 when a part failed, with `--strict` also when one
could not look.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from supply import advisories, imports, licences, linters, parts, tree
from supply.finding import Finding
from supply.locks import EVERYTHING, ROOT, TOOLS, pins

_SIGNS: Final = {"ok": "ok", "failed": "FAILED", "unchecked": "UNCHECKED"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, say what was found, and answer the exit code."""
    told = _told(arguments)
    policy = tomllib.loads((ROOT / "supply" / "policy.toml").read_text())
    findings = [look() for name, look in _parts(told, policy).items() if name in (told.parts or _NAMES)]
    for finding in findings:
        print(f"{_SIGNS[finding.outcome]:<9}  {finding.part:<10}  {finding.said}")
        for line in finding.lines:
            print(f"{'':<9}  {'':<10}  - {line}")
    wrong = {"failed", "unchecked"} if told.strict else {"failed"}
    unchecked = [finding.part for finding in findings if finding.outcome == "unchecked"]
    if unchecked:
        hint = "" if told.strict else " (--strict fails on it)"
        print(f"not looked at: {', '.join(unchecked)}; that is no all-clear{hint}")
    return int(any(finding.outcome in wrong for finding in findings))


def _told(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m supply", description="Audit what is shipped.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="Only these: " + ", ".join(_NAMES))
    parser.add_argument("--strict", action="store_true", help="Fail also when a part could not look.")
    parser.add_argument("--tools", type=Path, default=ROOT / ".audit" / "bin", help="Where the tools are.")
    parser.add_argument("--advisories", metavar="URL", help="Another OSV service than the public one.")
    parser.add_argument("--into", type=Path, default=ROOT / "deploy" / "sbom", help="Where the parts lists go.")
    told = parser.parse_args(arguments)
    if unknown := set(told.parts) - set(_NAMES):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(_NAMES)}")
    return told


_NAMES: Final = (imports.PART, licences.PART, tree.PART, parts.PART, linters.PART, advisories.PART)


def _parts(told: argparse.Namespace, policy: Mapping[str, Any]) -> dict[str, Callable[[], Finding]]:
    everything = [pin for path in (EVERYTHING, *TOOLS) for pin in pins(path)]
    accepted = [advisories.Accepted(**entry) for entry in policy.get("advisories", ())]
    return {
        imports.PART: imports.check,
        licences.PART: lambda: licences.check(pins(EVERYTHING), policy["licences"]),
        tree.PART: tree.check,
        parts.PART: lambda: parts.check(tool=told.tools / "cyclonedx-py", into=told.into),
        linters.PART: lambda: linters.check(tools=told.tools),
        advisories.PART: lambda: advisories.check(
            everything, accepted, tool=told.tools / "pip-audit", url=told.advisories, today=_today()
        ),
    }


def _today() -> date:
    return datetime.now(UTC).date()


if __name__ == "__main__":
    sys.exit(main())
