"""The floor of a turn: its SQL statements, one direct request by the same model client and one POST to Twilio.

Nothing is claimed, queued, recorded step by step or recovered; no prompt is made and no answer cleaned. What a worker
needs more than this is what the engine and our own code cost.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from recado.wiring import Wiring


async def run(home: Path, *, model_url: str, twilio_url: str) -> None:
    """Answer everything that waits under this home, as many at once as one owner has places in a worker."""
    from recado.assistants.run import _make
    from recado.channels.twilio.senders import Senders
    from recado.settings import Settings
    from recado.wiring import wire

    given = {"OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "bench"}
    settings = Settings(home=home, database_url=None, secret_keys=None, _env_file=None)
    with patch.dict(os.environ, given):
        model = _make("openai:scripted")
    async with wire(settings) as wiring, model:
        senders = Senders(wiring.pool, wiring.keyring, api_url=twilio_url, messaging_url=None)
        places, connections = asyncio.Semaphore(settings.turns_at_once // 2), asyncio.Semaphore(wiring.pool.max_size)

        async def one(owner_id: UUID, conversation_id: UUID) -> None:
            async with places:
                await _turn(wiring, connections, model, senders, owner_id, conversation_id)

        async with await wiring.connect("recado_platform") as conn:
            rows = await (
                await conn.execute("SELECT DISTINCT owner_id, conversation_id FROM messages WHERE status = 'received'")
            ).fetchall()
        try:
            await asyncio.gather(*(one(row["owner_id"], row["conversation_id"]) for row in rows))
        finally:
            await senders.aclose()


async def _turn(
    wiring: Wiring,
    connections: asyncio.Semaphore,
    model: Any,
    senders: Any,
    owner_id: UUID,
    conversation_id: UUID,
) -> None:
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import ModelRequest

    from recado.assistants import assistant as assistants
    from recado.assistants import knowledge
    from recado.conversations import conversations, events, messages, parts, reading, turns
    from recado.conversations.turns import Turn
    from recado.db.scope import scoped
    from recado.identity import plans

    now = wiring.clock.now()
    async with connections, scoped(wiring.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id)
        waiting = await messages.pending(scope, conversation_id)
        newest, ids = waiting[-1], [message.id for message in waiting]
        await messages.count_starts(scope, dict.fromkeys(ids, 1), now=now)
        assistant = await assistants.for_number(scope, conversation.number_id)
        await plans.budget(scope, now)
        await messages.history(scope, conversation_id)
        await knowledge.search(scope, newest.body, language=assistant.language)
        await reading.of(scope, ids)
    answer = await model_request(model, [ModelRequest.user_text_prompt(newest.body)])
    text = answer.text or ""
    turn = Turn(
        id=newest.id,
        conversation_id=conversation_id,
        correlation_id=newest.correlation_id,
        model="openai:scripted",
        outcome="answered",
        rounds=1,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost_micros=0,
        error=None,
        started_at=now,
        finished_at=wiring.clock.now(),
    )
    async with connections, scoped(wiring.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id, lock=True)
        await messages.pending(scope, conversation_id)
        await turns.add(scope, turn)
        await messages.mark_taken(scope, ids, held_for=None, turn_id=turn.id)
        message_id = await messages.enqueue_outbound(
            scope,
            conversation_id=conversation_id,
            author="assistant",
            body=text,
            correlation_id=newest.correlation_id,
            reply_to=newest.id,
            turn_id=turn.id,
            now=now,
        )
        await events.record(
            scope,
            step="answer",
            what="answered",
            conversation_id=conversation_id,
            message_id=newest.id,
            correlation_id=newest.correlation_id,
        )
        await plans.meter(scope, "model_tokens", turn.input_tokens + turn.output_tokens, now=now)
        await plans.meter(scope, "money", 0, now=now)
    async with connections, scoped(wiring.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id)
        await parts.held_before(scope, conversation_id, message_id)
        await parts.plan(scope, message_id, [text])
        attempt = await parts.begin_attempt(scope, message_id, 1, address=conversation.contact_address)
    assert attempt is not None, "nobody else sends it"
    sender = await senders.of(owner_id, conversation.account_id)
    sent = await sender.send(
        to=conversation.contact_address, from_=conversation.number_address, body=text, status_callback=None
    )
    async with connections, scoped(wiring.pool, owner_id) as scope, scope.conn.pipeline():
        await parts.end_attempt(scope, attempt.id, "taken")
        await parts.move_status(scope, message_id=message_id, part=1, sid=sent.sid, status=sent.status, error_code=None)
