"""answer, what the assistant knows of before: all that was said, whoever had the conversation, each thing once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recado.conversations import messages
from recado.db.scope import scoped
from recado.delivery.content import Button, Content, QuickReplies
from recado.ids import new_id
from recado.ops import failed
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, desk_of, run, say, turn


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@dataclass(slots=True)
class Remembering(Mind):
    """A model that keeps what it was told of before."""

    before: list[str] = field(default_factory=list)

    async def __call__(self, assistant: Any, **given: Any) -> Any:
        self.before = [line.text for line in given["history"]]
        return await Mind.__call__(self, assistant, **given)


async def hear(front: Front, body: str, mind: Mind) -> None:
    """The contact says it, and its turn takes it."""
    await turn(front, desk_of(front, mind), await say(front, body))


async def write(front: Front, body: str, *, status: str = "read", content: Content | None = None) -> None:
    """A person of the team writes it."""
    (row,) = front.rows("SELECT id FROM conversations")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        message_id = await messages.enqueue_outbound(
            scope, conversation_id=row["id"], author="operator", body=body, correlation_id=new_id(),
            now=front.wiring.clock.now(), content=content,
        )  # fmt: skip
        await scope.conn.execute(
            "UPDATE messages SET status = %s, held_for = %s WHERE id = %s",
            [status, "setup" if status == "held" else None, message_id],
        )


async def test_what_the_contact_said_to_people_is_known_once_the_assistant_has_the_conversation_again(
    front: Front,
) -> None:
    mind = Remembering()
    await hear(front, "Oi", mind)
    run(front, "UPDATE conversations SET status = 'handoff'")
    await hear(front, "Meu pedido é o 42", mind)
    await write(front, "Já vejo!")
    run(front, "UPDATE conversations SET status = 'open'")
    await hear(front, "E então?", mind)
    assert mind.before == ["Oi", "Olá!", "Meu pedido é o 42", "Já vejo!"]
    assert mind.shown[1:] == [["E então?"]]


async def test_what_is_given_to_the_assistant_after_all_is_told_once(front: Front) -> None:
    mind = Remembering()
    await say(front, "Oi")
    run(front, "UPDATE conversations SET status = 'handoff'")
    await hear(front, "Meu pedido é o 42", mind)
    run(front, "UPDATE conversations SET status = 'open'")
    *_, held = front.stored()
    async with front.wiring.platform_pool() as platform, platform.connection() as conn:
        assert await failed.retry(conn, held["id"]) == "queued"
    await turn(front, desk_of(front, mind), held["conversation_id"])
    assert (mind.before, mind.shown) == (["Oi"], [["Meu pedido é o 42"]])
    await hear(front, "E então?", mind)
    assert mind.before == ["Oi", "Meu pedido é o 42", "Olá!"]


async def test_the_assistant_knows_which_buttons_it_sent(front: Front) -> None:
    mind = Remembering()
    await hear(front, "Oi", mind)
    await write(front, "Quer bolo?", content=QuickReplies(buttons=(Button(id="y", title="Sim"),)))
    await hear(front, "Sim", mind)
    assert mind.before == ["Oi", "Olá!", "Quer bolo? [buttons: Sim]"]


@pytest.mark.parametrize("status", ["held", "failed"])
async def test_what_never_reached_the_contact_was_not_said(front: Front, status: str) -> None:
    mind = Remembering()
    await hear(front, "Oi", mind)
    await write(front, "Nunca chegou", status=status)
    await hear(front, "E então?", mind)
    assert mind.before == ["Oi", "Olá!"]


async def test_a_flood_over_the_limit_does_not_stand_in_the_place_of_what_was_said(
    front_url: str, tmp_path: Path
) -> None:
    mind = Remembering()
    async with open_front(front_url, tmp_path) as front:
        await hear(front, "Oi", mind)
        arrivals = [await front.arrival(f"flood {number}") for number in range(messages.HISTORY + 5)]
        await front.accept(*(replace(one, held="limit") for one in arrivals))
        await hear(front, "E então?", mind)
    assert mind.before == ["Oi", "Olá!"]
