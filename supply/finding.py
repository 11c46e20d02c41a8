"""What a part of the audit comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "failed", "unchecked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a part holds, one line that says of what, and a line for each thing that is wrong.

    `unchecked` is not ok: what would have looked was not there.
    """

    part: str
    outcome: Outcome
    said: str
    lines: tuple[str, ...] = ()
