"""Waiting in a step: what takes long gives the worker's slot back, and comes again when it is due.

A slot that is held asleep is one that nobody else's message has. What waits loses nothing: the step keeps its state in
rows, and its place in its lane is the workflow engine's to keep (`ops/engine`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from recado.clock import Clock

#: What is as short is waited for in the slot: giving it back and taking it again costs two writes and a poll.
SHORT_S: Final = 1.0


class Later(Exception):
    """The step has nothing to do for so long: it wants to be run again after `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"to be run again after {wait_s:.1f} s")
        self.wait_s = wait_s


#: A quiet window has the contact waiting at its end: one as short as this is not made longer by a poll.
SHORT_WINDOW_S: Final = 5.0


async def give_way(clock: Clock, wait_s: float, *, short_s: float = SHORT_S) -> None:
    """Wait in the slot if it is short. Raises Later otherwise."""
    if wait_s > short_s:
        raise Later(wait_s)
    await clock.sleep_until(clock.now() + timedelta(seconds=wait_s))
