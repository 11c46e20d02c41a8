"""answer, its desk: what a turn works with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from recado.assistants.run import Picture, Thought
from recado.channels.port import Sender
from recado.clock import Clock
from recado.conversations.erased import Recall, as_it_is
from recado.conversations.media import Media
from recado.db.pool import Pool
from recado.journey.suspects import Suspects

Think = Callable[..., Awaitable[Thought]]
Step = Callable[[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]], Awaitable[dict[str, Any]]]


async def _nothing(_media: Sequence[Media]) -> Mapping[UUID, Picture]:
    return {}


class EngineFailed(Exception):
    """The workflow engine could not do or record a step; that says nothing of the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDesk:
    """What a turn works with. `step` runs a costly call once, also across a crash; its result is stored.

    `pictures_of` gives the pictures of a turn, for a model that sees. `turns_per_hour` is how many may answer in a
    conversation before it goes to people, 0 for any number. `pause` waits for a long quiet window to end, or raises
    what gives the slot back meanwhile (`journey/pause`). `recall` knows who opted out before they were erased.
    """

    pool: Pool
    clock: Clock
    quiet_window: timedelta
    default_model: str | None
    model_timeout_s: float
    think: Think
    step: Step
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]]
    pictures_of: Callable[[Sequence[Media]], Awaitable[Mapping[UUID, Picture]]] = _nothing
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    turns_per_hour: int = 60
    suspects: Suspects = field(default_factory=Suspects)
    recall: Recall = as_it_is
