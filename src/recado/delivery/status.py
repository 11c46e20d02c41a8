"""The status of an outbound message only moves forward, in whatever order the callbacks come.

Each status has its own rank and the highest that was ever seen wins. That makes the result independent of order and
repetition, and it means: `failed` and `undelivered` are final unless the message was delivered after all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """Twilio's words for the status of an outbound message."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    CANCELED = "canceled"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    PARTIALLY_DELIVERED = "partially_delivered"
    DELIVERED = "delivered"
    READ = "read"


RANK: Mapping[str, int] = MappingProxyType({status.value: rank for rank, status in enumerate(Status)})
"""Status -> rank, all different; SQL updates where the incoming rank is greater."""

FAILURES: frozenset[str] = frozenset({Status.CANCELED, Status.FAILED, Status.UNDELIVERED})
"""The message was not delivered, and Twilio will not try again."""

LEFT: frozenset[str] = frozenset(
    {Status.SENT, Status.PARTIALLY_DELIVERED, Status.DELIVERED, Status.READ},
)
"""The message has left Twilio: the next part may follow."""
