"""understand, its end: what became of a message's attachments, in one transaction with the work of its turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from uuid import UUID

from recado.conversations import conversations, messages
from recado.conversations import media as attachments
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.media import FAILED, REFUSED
from recado.conversations.messages import Awaiting
from recado.db.scope import Scope, scoped
from recado.identity import plans
from recado.journey.understand.media_desk import FOR_PEOPLE, Case, MediaDesk, Outcome, is_late, is_open
from recado.text import storable


async def conclude(desk: MediaDesk, case: Case, done: Sequence[Outcome]) -> list[str]:
    """Write down what became of them; answers the files for which the owner's plan has no room.

    Another executor may have done the same work meanwhile: what it settled is neither counted nor told again.
    """
    now = desk.clock.now()
    async with scoped(desk.pool, case.owner_id) as scope:
        message, conversation = await _locked(scope, case.message.id)
        there = (await attachments.of_messages(scope, [message.id])).get(message.id, [])
        unsettled = {one.id for one in there if is_open(one)}
        outcomes = [outcome for outcome in done if outcome.media_id in unsettled]
        if done and not outcomes:
            return []
        outcomes, refused = await _within_quota(scope, case, outcomes)
        if any(outcome.reason in FOR_PEOPLE for outcome in outcomes):
            await conversations.ask_for_people(scope, message.conversation_id, why="unheard")
        for outcome in outcomes:
            await _settle(scope, outcome, now)
        said = [one.transcript for one in outcomes if one.transcript is not None and one.transcript.text]
        await messages.release(
            scope,
            message.id,
            transcript="\n".join(transcript.text for transcript in said) or None,
            language=said[0].language if said else None,
            again=any(is_late(one) for one in there) and bool(said) and conversation.status == "open",
        )
        await _tell(scope, case, message, outcomes, now)
    return refused


async def _locked(scope: Scope, message_id: UUID) -> tuple[Awaiting, Conversation]:
    """The message and its conversation, which is locked before it, as a turn does: none ends that lacks the words."""
    message = await messages.awaiting(scope, message_id)
    conversation = await conversations.get(scope, message.conversation_id, lock=True)
    message = await messages.awaiting(scope, message_id, lock=True)
    if message.conversation_id != conversation.id:  # it came into another one this moment
        conversation = await conversations.get(scope, message.conversation_id, lock=True)
    return message, conversation


async def _settle(scope: Scope, outcome: Outcome, now: datetime) -> None:
    got, read = outcome.downloaded, outcome.read
    await attachments.settle(
        scope,
        outcome.media_id,
        status=outcome.status,
        now=now,
        reason=outcome.reason,
        content_type=got.content_type if got else None,
        size_bytes=got.size_bytes if got else None,
        sha256=got.sha256 if got else None,
        storage_key=outcome.storage_key,
        duration_s=outcome.transcript.duration_s if outcome.transcript else None,
        width=read.width if read else None,
        height=read.height if read else None,
        pages=read.pages if read else None,
        text=storable(read.text) if read and read.text else None,
    )


async def _tell(scope: Scope, case: Case, message: Awaiting, outcomes: Sequence[Outcome], now: datetime) -> None:
    """What became of them, and the speech that was made text, which the owner pays for."""
    reasons = sorted({outcome.reason for outcome in outcomes if outcome.reason})
    lengths_s = [outcome.transcript.duration_s for outcome in outcomes if outcome.transcript is not None]
    what = _what(outcomes)
    await happened(
        scope,
        "understand",
        what,
        conversation_id=message.conversation_id,
        message_id=message.id,
        correlation_id=message.correlation_id,
        duration_s=time.monotonic() - case.began_at,
        outcome=what,
        attachments=len(outcomes),
        count=len(outcomes),
        reasons=reasons,
        reason=next(iter(reasons), None),
        seconds=sum(lengths_s),
    )
    await plans.meter(scope, "transcription_seconds", sum(map(ceil, lengths_s)), now=now)


async def give_up(desk: MediaDesk, owner_id: UUID, message_id: UUID) -> None:
    """Settle what is open as failed, look at nothing else, and let the turn have the message."""
    now = desk.clock.now()
    async with scoped(desk.pool, owner_id) as scope:
        message = await messages.awaiting(scope, message_id, lock=True)
        there = (await attachments.of_messages(scope, [message_id])).get(message_id, [])
        for one in there:
            if is_open(one):
                await attachments.settle(
                    scope, one.id, status=FAILED, now=now, reason="fault", storage_key=one.storage_key
                )
        await messages.release(scope, message_id, transcript=None, language=None)
        await conversations.ask_for_people(scope, message.conversation_id, why="unheard")
        await happened(
            scope,
            "understand",
            "not_understood",
            conversation_id=message.conversation_id,
            message_id=message_id,
            correlation_id=message.correlation_id,
            reasons=["fault"],
            outcome="not_understood",
            reason="fault",
        )


async def _within_quota(scope: Scope, case: Case, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """The outcomes, those refused for which there is no room, and where their files are. What was kept before stays."""
    before = {one.id for one in case.media if one.storage_key is not None}
    found: list[Outcome] = []
    refused: list[str] = []
    more_bytes = 0
    for outcome in outcomes:
        if outcome.storage_key is None or outcome.downloaded is None or outcome.media_id in before:
            found.append(outcome)
        elif await plans.has_room(scope, more_bytes + outcome.downloaded.size_bytes):
            more_bytes += outcome.downloaded.size_bytes
            found.append(outcome)
        else:
            refused.append(outcome.storage_key)
            found.append(replace(outcome, status=REFUSED, reason="quota", storage_key=None))
    return found, refused


def _what(outcomes: Sequence[Outcome]) -> str:
    if any(outcome.transcript is not None and outcome.transcript.text for outcome in outcomes):
        return "transcribed"
    return "fetched" if all(outcome.reason is None for outcome in outcomes) else "not_understood"
