"""answer, before it and when it breaks: what may not be given again, what goes in circles, and the apology for both.

A turn counts up, on the messages that it takes in hand, before it looks at what they say, and is counted down when it
ends, whatever its end: what stays counted was in hand when a worker died, hung or was outlived. Messages that were so
twice are held for people instead of being given again. A conversation in which machines seem to talk goes to people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.assistants import keyless
from recado.conversations import conversations, messages, turns
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.messages import Message
from recado.conversations.turns import Turn
from recado.db.pool import persistently
from recado.db.scope import Scope, scoped
from recado.identity import plans
from recado.journey.answer.desk import AnswerDesk
from recado.journey.answer.drafting import Draft, silent_for
from recado.journey.suspects import blamed
from recado.journey.understand.language import spoken

#: The same words so often in a row, each time answered, within `WITHIN`: a machine, or somebody whom it does not help.
SAME_WORDS: Final = 6
WITHIN: Final = timedelta(hours=1)
#: An apology for a turn that broke is said once in this time.
SORRY_FOR: Final = timedelta(hours=1)

IN_CIRCLES: Final = {
    "pt": "Parece que estamos andando em círculos. Já avisei uma pessoa da equipe, que vai continuar por aqui.",
    "es": "Parece que estamos dando vueltas. Ya avisé a una persona del equipo, que seguirá por aquí.",
    "en": "We seem to be going round in circles. I've told a person on our team, who will go on from here.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Circles:
    """What a conversation was like lately: turns that answered, and what the contact wrote in the last of them.

    `asked` is whether what is to be answered now opted the contact out or in.
    """

    own_number: bool
    turns: int
    said: tuple[str, ...]
    asked: bool


@dataclass(slots=True, kw_only=True)
class InHand:
    """What a turn has counted up; `circles` says in a word why it may not answer, if so.

    `asked` is whether a message of it was heeded as one by which the contact opts out or in.
    """

    begun: dict[UUID, int] = field(default_factory=dict)
    circles: str | None = None
    asked: bool = False


async def take_in_hand(
    desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, turn_id: UUID, heard: Sequence[Message], hand: InHand
) -> list[Message]:
    """What of `heard` may be answered, counted up before anything looks at it; the rest is held, with one apology.

    Raises Later while it can't be told which.
    """
    fresh = [message for message in heard if message.id not in hand.begun]
    if not fresh:
        return list(heard)

    async def begin() -> set[UUID]:
        async with scoped(desk.pool, owner_id) as scope:
            return await _begin(scope, desk, conversation_id, fresh, heard, hand)

    broken = await persistently(begin)
    if broken:
        await give_up(desk, owner_id, conversation_id, turn_id, broken, why="died")
    return [message for message in heard if message.id not in broken]


async def take_at_once(
    scope: Scope, heard: Sequence[Message], *, desk: AnswerDesk, conversation_id: UUID, hand: InHand
) -> None:
    """Count up what was just read, in the transaction that has read it; not what was in hand before without an end."""
    if not any(message.starts for message in heard):
        await _begin(scope, desk, conversation_id, heard, heard, hand)


async def _begin(
    scope: Scope,
    desk: AnswerDesk,
    conversation_id: UUID,
    fresh: Sequence[Message],
    heard: Sequence[Message],
    hand: InHand,
) -> set[UUID]:
    now = desk.clock.now()
    broken = await blamed(scope, fresh, now=now)
    begun = {message.id: message.starts + 1 for message in fresh if message.id not in broken}
    await messages.count_starts(scope, begun, now=now)
    hand.begun |= begun
    lately = await _lately(scope, conversation_id, desk, now, [message.id for message in heard])
    hand.circles = _circles(lately, heard, desk.turns_per_hour)
    hand.asked = lately.asked
    return broken


_LATELY = """
SELECT is_own_number(c.identity_key) AS own_number, EXISTS (
            SELECT FROM events e WHERE e.owner_id = v.owner_id AND e.correlation_id = ANY(%(heard)s)
              AND e.step = 'accept' AND e.what IN ('opted_out', 'opted_in')) AS asked,
       (SELECT count(DISTINCT turn_id)::int FROM (
            SELECT turn_id FROM (
                SELECT m.direction, m.turn_id FROM messages m
                WHERE m.owner_id = v.owner_id AND m.conversation_id = v.id AND m.id > uuid_floor(since)
                ORDER BY m.id DESC LIMIT %(most)s) newest
            WHERE direction = 'outbound') answers) AS turns,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(turn_id, body)), '[]') FROM (
            SELECT turn_id, left(body, 400) AS body FROM (
                SELECT m.* FROM messages m
                WHERE m.owner_id = v.owner_id AND m.conversation_id = v.id AND m.id > uuid_floor(since)
                ORDER BY m.id DESC LIMIT 40) newest
            WHERE direction = 'inbound' AND status = 'answered' AND kind = ANY(%(kinds)s)
            ORDER BY id DESC LIMIT %(same)s) said) AS said
FROM conversations v JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id,
     LATERAL (SELECT greatest(%(since)s::timestamptz, v.circled_at) AS since) lately
WHERE v.owner_id = %(owner)s AND v.id = %(conversation)s
"""


async def _lately(
    scope: Scope, conversation_id: UUID, desk: AnswerDesk, now: datetime, heard: Sequence[UUID]
) -> Circles:
    cursor = await scope.conn.execute(
        _LATELY,
        {
            "owner": scope.owner_id,
            "conversation": conversation_id,
            "heard": list(heard),
            "since": now - WITHIN,
            # A turn says two things at most, to some messages; of a contact who writes ten for each, fewer are counted.
            "most": 12 * desk.turns_per_hour,
            "same": SAME_WORDS - 1,
            "kinds": list(messages.WRITTEN),
        },
    )
    row = await cursor.fetchone()
    if row is None:
        return Circles(own_number=False, turns=0, said=(), asked=False)
    each_by_itself = len({turn_id for turn_id, _ in row["said"] if turn_id}) == len(row["said"])
    return Circles(
        own_number=row["own_number"],
        turns=row["turns"],
        said=tuple(body for _, body in row["said"]) if each_by_itself else (),
        asked=row["asked"],
    )


def _circles(lately: Circles, heard: Sequence[Message], turns_per_hour: int) -> str | None:
    """Why this looks like machines that talk to each other, in a word; None where it does not."""
    if lately.own_number:
        return "own_number"
    if turns_per_hour and lately.turns >= turns_per_hour:
        return "turns"
    written = [message.body[:400] for message in heard if message.kind in messages.WRITTEN]
    words = {" ".join(body.split()).casefold() for body in (*written, *lately.said)}
    if written and len(lately.said) == SAME_WORDS - 1 and len(words) == 1 and "" not in words:
        return "same_words"
    return None


async def leave_circles(
    desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, turn_id: UUID, heard: Sequence[Message], why: str
) -> None:
    """Hold what machines say, unanswered. One transaction, idempotent.

    What another bot says, or somebody who is not helped, goes to people, who may give the conversation back; the
    contact hears that once. One of this installation's own numbers hears nothing: it would answer that too.
    """
    ids = {message.id for message in heard}

    async def hold() -> None:
        now = desk.clock.now()
        async with scoped(desk.pool, owner_id) as scope:
            conversation = await conversations.get(scope, conversation_id, lock=True)
            held = [message for message in await messages.pending(scope, conversation_id) if message.id in ids]
            if not held:
                return
            silent = silent_for(conversation)
            newest = held[-1]
            await turns.add(scope, _turn(turn_id, conversation_id, newest, "silent", f"loop: {why}", now))
            await messages.mark_taken(scope, [m.id for m in held], held_for=silent or "loop", turn_id=turn_id)
            await _note(scope, "loop", conversation_id, newest, why, len(held))
            await conversations.ask_for_people(scope, conversation_id, why="loop")
            if silent is None and why != "own_number":
                assistant = await assistants.for_number(scope, conversation.number_id)
                language = spoken(conversation, assistant)
                await conversations.leave_to_people(scope, conversation_id, now=now)
                await _say(scope, IN_CIRCLES.get(language, IN_CIRCLES["en"]), conversation_id, newest, turn_id, now)

    await persistently(hold)


#: How much is done about what broke, most first: what fails may be what broke, so then less of it is tried.
_WHOLE, _WITHOUT_TURN, _SILENT, _HELD_ONLY = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    """What broke: which messages (None: all that wait), why in a word, and what a model was paid for all the same."""

    conversation_id: UUID
    turn_id: UUID
    ids: set[UUID] | None
    why: str
    draft: Draft | None


async def give_up(
    desk: AnswerDesk,
    owner_id: UUID,
    conversation_id: UUID,
    turn_id: UUID,
    ids: set[UUID] | None,
    *,
    why: str,
    draft: Draft | None = None,
) -> None:
    """Hold these messages as `broken` (None: all that wait), ask for people, and apologise once. Idempotent.

    What broke may break this too, so it looks at nothing that anybody wrote, and does without the rest where even that
    fails; raises what holding them alone raises. `draft` is what the model was paid for all the same.
    """
    broken = _Broken(conversation_id=conversation_id, turn_id=turn_id, ids=ids, why=why, draft=draft)
    for level in range(_HELD_ONLY + 1):
        try:
            await persistently(partial(_hold_broken, desk, owner_id, broken, level))
        except Exception as error:
            await happened(
                owner_id,
                "answer",
                "not_settled",
                conversation_id=conversation_id,
                correlation_id=turn_id,
                error=type(error).__name__,
            )
            if level == _HELD_ONLY:
                raise
        else:
            return


async def _hold_broken(desk: AnswerDesk, owner_id: UUID, broken: _Broken, level: int) -> None:
    now, conversation_id = desk.clock.now(), broken.conversation_id
    async with scoped(desk.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id, lock=True)
        waiting = await messages.pending(scope, conversation_id)
        held = [m for m in waiting if (m.id in broken.ids if broken.ids is not None else not m.awaits_media)]
        if not held:
            return
        says = (
            level < _SILENT and silent_for(conversation) is None and not await _was_sorry(scope, conversation_id, now)
        )
        await messages.mark_taken(scope, [m.id for m in held], held_for="broken", turn_id=None)
        await conversations.ask_for_people(scope, conversation_id, why="broken")
        if level == _WHOLE:
            await _record_broken_turn(scope, broken, held[-1], now)
        await _note(
            scope,
            "broken" if level < _HELD_ONLY else "broken_untold",
            conversation_id,
            held[-1],
            broken.why,
            len(held),
        )
        if says:
            words = await apology(scope, conversation) if level == _WHOLE else keyless.words_for_person("en")
            turn_id = broken.turn_id if level == _WHOLE else None
            await _say(scope, words, conversation_id, held[-1], turn_id, now)


async def _record_broken_turn(scope: Scope, broken: _Broken, newest: Message, now: datetime) -> None:
    """The turn, and what a model was paid for all the same."""
    why, draft = f"broken: {broken.why}", broken.draft
    await turns.add(scope, _turn(broken.turn_id, broken.conversation_id, newest, "apology", why, now, draft))
    if draft is not None:
        await plans.meter(scope, "model_tokens", draft.input_tokens + draft.output_tokens, now=now)
        await plans.meter(scope, "money", draft.cost_micros, now=now)


async def apology_unless_silent(scope: Scope, conversation: Conversation) -> str | None:
    """The same, or None where nobody but people may write to them now."""
    return await apology(scope, conversation) if silent_for(conversation) is None else None


async def apology(scope: Scope, conversation: Conversation) -> str:
    """What the contact of this conversation hears when something of ours broke."""
    assistant = await assistants.for_number(scope, conversation.number_id)
    return assistant.apology or keyless.words_for_person(spoken(conversation, assistant))


async def _was_sorry(scope: Scope, conversation_id: UUID, now: datetime) -> bool:
    """Whether the contact has heard of a turn that broke, not long ago."""
    cursor = await scope.conn.execute(
        """
        SELECT FROM messages said JOIN messages asked ON asked.owner_id = said.owner_id AND asked.id = said.reply_to
        WHERE said.owner_id = %s AND said.conversation_id = %s AND said.id > uuid_floor(%s)
          AND said.direction = 'outbound' AND said.author = 'system' AND asked.held_for = 'broken' LIMIT 1
        """,
        [scope.owner_id, conversation_id, now - SORRY_FOR],
    )
    return await cursor.fetchone() is not None


def _turn(
    turn_id: UUID,
    conversation_id: UUID,
    newest: Message,
    outcome: str,
    error: str,
    now: datetime,
    draft: Draft | None = None,
) -> Turn:
    return Turn(
        id=turn_id,
        conversation_id=conversation_id,
        correlation_id=newest.correlation_id,
        model=draft.model if draft else None,
        outcome=outcome,
        rounds=1,
        input_tokens=draft.input_tokens if draft else 0,
        output_tokens=draft.output_tokens if draft else 0,
        cost_micros=draft.cost_micros if draft else 0,
        error=error,
        started_at=now,
        finished_at=now,
    )


async def _note(scope: Scope, what: str, conversation_id: UUID, newest: Message, why: str, count: int) -> None:
    await happened(
        scope,
        "answer",
        what,
        conversation_id=conversation_id,
        message_id=newest.id,
        correlation_id=newest.correlation_id,
        why=why,
        reason=why,
        messages=count,
    )


async def _say(
    scope: Scope, words: str, conversation_id: UUID, newest: Message, turn_id: UUID | None, now: datetime
) -> None:
    await messages.enqueue_outbound(
        scope,
        conversation_id=conversation_id,
        author="system",
        body=words,
        correlation_id=newest.correlation_id,
        reply_to=newest.id,
        turn_id=turn_id,
        now=now,
    )
