"""Under which licences the locked packages come, by their own metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Final

from supply.finding import Finding
from supply.locks import Pin

PART: Final = "licences"


def check(pins: Iterable[Pin], policy: Mapping[str, Any]) -> Finding:
    """Each package's licence is one of those allowed, or the policy says of the package itself why it may be used."""
    lines, used, looked_at = [], set(), 0
    for name in sorted({pin.name for pin in pins if pin.ships}):
        looked_at += 1
        if name in policy["packages"]:
            used.add(name)
            continue
        try:
            said = licence(metadata(name), policy["words"])
        except PackageNotFoundError:
            lines.append(f"{name}: is not installed here, and the policy does not say its licence")
            continue
        if not allowed(said, set(policy["allowed"])):
            lines.append(f"{name}: {said or 'says no licence'}")
    lines += [f"{name}: stands in the policy and in no lock" for name in sorted(policy["packages"].keys() - used)]
    return Finding(part=PART, outcome="failed" if lines else "ok", said=f"{looked_at} packages", lines=tuple(lines))


def licence(found: Any, words: Mapping[str, str]) -> str:
    """What a package says: its expression, else its classifiers (all of them must do), else its field of free words."""
    if expression := found.get("License-Expression"):
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2] for line in found.get_all("Classifier") or () if line.startswith("License ::")
    ]
    named = [words.get(one, one) for one in classifiers if one != "OSI Approved"]
    if any(named):
        return " AND ".join(dict.fromkeys(one for one in named if one))
    said = str(found.get("License") or "").strip()
    return words.get(said, said) if len(said) < 80 else ""


def allowed(expression: str, licences: set[str]) -> bool:
    """Whether an SPDX expression holds with these licences alone: of `OR` one, of `AND` all; what is no such is not."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)

    def either() -> bool:
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = one() and found
        return found

    def one() -> bool:
        if not tokens:
            return False
        token = tokens.pop(0)
        if token != "(":  # noqa: S105 - a token of the expression
            return token in licences
        found = either()
        return bool(tokens) and tokens.pop(0) == ")" and found

    return either() and not tokens
