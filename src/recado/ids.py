"""Identifiers: UUIDv7, so that rows sort by the time they were made and indexes stay dense."""

from __future__ import annotations

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last: int = 0


def new_id() -> uuid.UUID:
    """A new UUIDv7 (RFC 9562, section 5.7), strictly increasing within this process.

    The 12 bits after the millisecond carry its fraction (section 6.2, method 3), so two ids made in the same
    millisecond sort in the order they were made.
    """
    global _last
    with _lock:
        ns = time.time_ns()
        ticks = (ns // 1_000_000 << 12) | (ns % 1_000_000 * 4096 // 1_000_000)
        _last = ticks if ticks > _last else _last + 1
        ticks = _last
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62
    return uuid.UUID(int=value | int.from_bytes(os.urandom(8), "big") >> 2)


def id_at(milliseconds: int) -> uuid.UUID:
    """A UUIDv7 of that millisecond since the epoch, for what is learned of later: it sorts behind what was made then.

    Two of one millisecond are in no order.
    """
    value = milliseconds << 80 | 0x7 << 76 | 0xFFF << 64 | 0b10 << 62
    return uuid.UUID(int=value | int.from_bytes(os.urandom(8), "big") >> 2)


def made_ms(made: uuid.UUID) -> int:
    """The millisecond since the epoch in which a UUIDv7 was made."""
    return made.int >> 80


def age_s(id: uuid.UUID) -> float | None:  # noqa: A002 - it is one
    """How many seconds ago a UUIDv7 was made, by this machine's clock; None of another UUID."""
    return max(0.0, time.time() - (id.int >> 80) / 1000) if id.version == 7 else None
