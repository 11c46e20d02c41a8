"""Known vulnerabilities of everything that is locked, asked of an OSV service by pip-audit.

pip-audit says "no known vulnerabilities" of packages that it skipped, and a service that knows nothing says nothing
bad. So it is asked first of a release that is known to be vulnerable, and everything that was asked must be answered.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from supply.finding import Finding
from supply.locks import Pin

PART: Final = "advisories"
#: Published advisories of more than ten years' standing: whoever does not know of them knows of none.
CANARY: Final = Pin(name="jinja2", version="2.4.1")
WITHIN_S: Final = 600


class Unreachable(Exception):
    """The service gave no answer that could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An advisory that was looked at and does not concern recado, until it has to be looked at again."""

    id: str
    package: str
    why: str
    until: date


def check(pins: Iterable[Pin], accepted: Sequence[Accepted], *, tool: Path, url: str | None, today: date) -> Finding:
    """Ask of each pin. Unchecked when there is no advisory service; failed when it knows something, or not of all."""
    if not tool.exists():
        return Finding(part=PART, outcome="unchecked", said=f"{tool.name} is not installed")
    try:
        known = _asked([CANARY], tool=tool, url=url)
    except Unreachable as error:
        return Finding(
            part=PART, outcome="unchecked", said=f"no advisory service: {error}. Nothing is known of any package"
        )
    if not known.get(CANARY):
        said = f"the service knows nothing of {CANARY.name} {CANARY.version}, which is known to be vulnerable"
        return Finding(part=PART, outcome="unchecked", said=said)
    everything = sorted({Pin(name=pin.name, version=pin.version) for pin in pins})
    answers: dict[Pin, list[list[str]]] = {}
    try:
        for group in _without_doubles(everything):
            answers |= _asked(group, tool=tool, url=url)
    except Unreachable as error:
        return Finding(part=PART, outcome="failed", said=f"the service stopped answering: {error}")
    return judge(everything, answers, accepted, today=today)


def judge(
    asked: Sequence[Pin], answers: Mapping[Pin, list[list[str]]], accepted: Sequence[Accepted], *, today: date
) -> Finding:
    """What the answers come to: each pin must have one, and of each advisory none of its ids may be left unaccepted."""
    lines = [f"{pin.name} {pin.version}: was not looked at" for pin in asked if pin not in answers]
    used = set()
    for pin in asked:
        for ids in answers.get(pin, ()):
            passed = [one for one in accepted if one.package == pin.name and one.id in ids]
            used.update(passed)
            if not passed:
                lines.append(f"{pin.name} {pin.version}: {', '.join(ids)}")
            lines += [f"{pin.name}: {one.id} was accepted until {one.until}" for one in passed if one.until <= today]
    lines += [f"{one.package}: {one.id} is accepted, and no longer found" for one in accepted if one not in used]
    return Finding(part=PART, outcome="failed" if lines else "ok", said=f"{len(asked)} packages", lines=tuple(lines))


def _without_doubles(pins: Sequence[Pin]) -> list[list[Pin]]:
    """Groups in which no package stands twice: one may be pinned for each version of Python."""
    groups: list[list[Pin]] = []
    for pin in pins:
        for group in groups:
            if all(pin.name != other.name for other in group):
                group.append(pin)
                break
        else:
            groups.append([pin])
    return groups


def _asked(pins: Sequence[Pin], *, tool: Path, url: str | None) -> dict[Pin, list[list[str]]]:
    """What pip-audit says of each pin that it looked at: the ids of each advisory. Raises Unreachable."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in pins))
        words = [
            *(str(tool), "--vulnerability-service", "osv", *(("--osv-url", url) if url else ())),
            *("--requirement", str(listed), "--no-deps", "--disable-pip", "--format", "json"),
            *("--progress-spinner", "off", "--cache-dir", f"{folder}/cache"),
        ]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S, check=False)  # noqa: S603
            answer = json.loads(done.stdout)
            return {
                Pin(name=one["name"], version=one["version"]): [_ids(vuln) for vuln in one["vulns"]]
                for one in answer["dependencies"]
                if "skip_reason" not in one
            }
        except subprocess.TimeoutExpired:
            raise Unreachable(f"no answer within {WITHIN_S} s") from None
        except (ValueError, KeyError, TypeError):
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Unreachable(said[:200]) from None


def _ids(vulnerability: Mapping[str, Any]) -> list[str]:
    return sorted({str(vulnerability["id"]), *(str(alias) for alias in vulnerability.get("aliases", ()))})
