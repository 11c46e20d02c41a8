"""The kinds of message under `tests/data/messages`: what Twilio posts, what became of it, and how it is shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One example. `media` are the attachments as they were settled, `earlier` is the message that is quoted."""

    title: str
    about: str
    parameters: dict[str, str]
    shows: dict[str, Any]
    says: str
    media: list[dict[str, Any]]
    transcript: str | None
    transcript_language: str | None
    earlier: dict[str, str] | None


def _read(path: Path) -> Kind:
    given = json.loads(path.read_text())
    absent = {"media": [], "transcript": None, "transcript_language": None, "earlier": None}
    return Kind(**{**absent, **given})


KINDS = {path.stem: _read(path) for path in sorted(FOLDER.glob("*.json"))}
