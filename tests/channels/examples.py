"""Twilio's example webhooks and signature vectors, as tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "twilio-examples.json").read_text())


def fields(params: dict[str, str | list[str]]) -> list[tuple[str, str]]:
    """The parameters as form fields."""
    return [(name, text) for name, value in params.items() for text in ([value] if isinstance(value, str) else value)]


def inbound(name: str = "text", **changes: str | None) -> list[tuple[str, str]]:
    """One of the inbound examples, with parameters changed, added or (None) taken out."""
    params = {**EXAMPLES["inbound"][name]["params"], **changes}
    return [(key, value) for key, value in params.items() if value is not None]


def status(name: str = "sent", **changes: str | None) -> list[tuple[str, str]]:
    """One of the status examples, changed likewise."""
    params = {**EXAMPLES["status"][name]["params"], **changes}
    return [(key, value) for key, value in params.items() if value is not None]
