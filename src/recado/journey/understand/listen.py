"""understand: wait until the contact has finished speaking, then take all they said since the last answer.

The quiet window counts from the arrival of the newest message, so the queue's polling hides inside it. It is
bounded: someone who never stops is answered all the same. What came with attachments is taken once they have been
fetched and voice has been made text (`journey/understand/attachments`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from uuid import UUID

from recado.clock import Clock
from recado.conversations.messages import Message, pending
from recado.db.pool import Pool, persistently
from recado.db.scope import Scope, scoped

#: The longest wait, in quiet windows from the arrival of the first message.
PATIENCE = 5
#: What a turn that has thought already waits for attachments that came meanwhile, and how often it looks.
MEDIA_S, LOOK = 10.0, timedelta(milliseconds=200)


Then = Callable[[Scope, list[Message]], Awaitable[None]]


async def listen(
    pool: Pool,
    clock: Clock,
    quiet_window: timedelta,
    owner_id: UUID,
    conversation_id: UUID,
    *,
    since: datetime,
    again: bool = False,
    pause: Callable[[float], Awaitable[None]] | None = None,
    then: Then | None = None,
) -> list[Message]:
    """All that waits for an answer in the conversation, in order; empty when another turn has taken it, or will.

    `since` is the arrival that the turn was made for: nothing is read before its quiet window is over. A message whose
    attachments are being fetched gets a turn of its own when they are there, which takes what waits with it. Only a
    turn that listens `again` has an answer to lose: it waits a while for them, then takes what came before.

    The clock that gave a message its time may be another machine's, and ahead: no message came later than it was seen
    here. `pause` is how it waits, if not by the clock, and may raise what has the turn run again later. `then` is done
    with what it answers, if that is anything, in the transaction that has read it; again where the outcome of its
    commit was lost.
    """
    ear = _Ear(clock=clock, quiet_window=quiet_window, again=again)

    now = clock.now()
    # Run again it would wait again for a time that is still ahead.
    await _until(clock, min(since, now) + quiet_window, pause if since <= now else None)
    ear.media_until = clock.monotonic() + MEDIA_S
    while True:
        heard = await persistently(partial(_read, pool, owner_id, conversation_id, ear, then))
        if heard.messages is None:
            await clock.sleep_until(clock.now() + LOOK)
            continue
        if heard.quiet_at is None:
            return heard.messages
        now = clock.now()
        behind = all(message.received_at <= now for message in heard.messages)
        await _until(clock, heard.quiet_at, pause if behind and since <= now else None)


@dataclass(slots=True, kw_only=True)
class _Ear:
    """What one listening knows: when each message was first seen, and until when it waits for attachments."""

    clock: Clock
    quiet_window: timedelta
    again: bool
    media_until: float = 0.0
    seen: dict[UUID, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is taken, and when it is quiet: None for a look again soon, and for what is quiet already."""

    messages: list[Message] | None
    quiet_at: datetime | None = None


async def _read(pool: Pool, owner_id: UUID, conversation_id: UUID, ear: _Ear, then: Then | None) -> _Heard:
    async with scoped(pool, owner_id) as scope:
        heard = _taken(ear, await pending(scope, conversation_id))
        if heard.messages and heard.quiet_at is None and then is not None:
            await then(scope, heard.messages)
        return heard


def _taken(ear: _Ear, heard: list[Message]) -> _Heard:
    if any(message.awaits_media for message in heard):
        if ear.again and ear.clock.monotonic() < ear.media_until:
            return _Heard(None)
        heard = list(takewhile(lambda message: not message.awaits_media, heard)) if ear.again else []
    if not heard:
        return _Heard([])
    now = ear.clock.now()
    came = [ear.seen.setdefault(message.id, min(message.received_at, now)) for message in heard]
    quiet_at = min(max(came) + ear.quiet_window, min(came) + ear.quiet_window * PATIENCE)
    return _Heard(heard, None if quiet_at <= now else quiet_at)


async def _until(clock: Clock, moment: datetime, pause: Callable[[float], Awaitable[None]] | None) -> None:
    if pause is None:
        await clock.sleep_until(moment)
    elif (left_s := (moment - clock.now()).total_seconds()) > 0:
        await pause(left_s)
