"""WhatsApp's 24-hour window: after a contact's message anything may be sent for a day, then only templates.

Source: https://www.twilio.com/docs/whatsapp/key-concepts#the-24-hour-window-or-whatsapp-session.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A conversation's window as it stands; `left` is zero once it is closed.

    `closes_at` is None where it never opened: the contact has not written yet.
    """

    open: bool
    closes_at: datetime | None
    left: timedelta


def window(last_inbound_at: datetime | None, now: datetime) -> Window:
    """The window that the contact's latest message opened; None is a contact who never wrote, and opens none.

    A message from the future was stored by a machine whose clock is ahead: it counts from now, so that no clock opens
    a window of more than 24 hours. What WhatsApp's clock says otherwise comes back as error 63016.
    """
    if last_inbound_at is None:
        return Window(open=False, closes_at=None, left=timedelta(0))
    closes_at = min(last_inbound_at, now) + WINDOW
    left = max(closes_at - now, timedelta(0))
    return Window(open=left > timedelta(0), closes_at=closes_at, left=left)
