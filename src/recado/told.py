"""What subscribers of `happened` are told, and the words by which they know the ends of steps.

Metrics and traces hear of the journey without importing it: `conversations.happenings.Happening` is a `Told`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import UUID

#: What `understand` ends in.
UNDERSTOOD: Final = frozenset({"fetched", "transcribed", "not_understood"})
#: The classes by which Twilio refuses a part (`channels.port.ErrorClass`).
REFUSED: Final = ("retry", "window", "configuration", "recipient", "content", "template", "quota", "look", "unknown")


class Told(Protocol):
    """One thing that happened on the journey: ids, words of closed lists and figures."""

    @property
    def step(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def owner_id(self) -> UUID | None: ...
    @property
    def conversation_id(self) -> UUID | None: ...
    @property
    def message_id(self) -> UUID | None: ...
    @property
    def correlation_id(self) -> UUID | None: ...
    @property
    def duration_s(self) -> float | None: ...
    @property
    def age_s(self) -> float | None: ...
    @property
    def details(self) -> Mapping[str, Any]: ...
