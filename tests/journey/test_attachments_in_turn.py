"""understand, attachments beside words: one turn in the order sent, whichever is ready first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.journey.attached import SAID, Outside, message, note, replies, turn, understand
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


async def test_an_earlier_turn_leaves_everything_to_the_notes_own_in_the_order_sent(
    front: Front, outside: Outside
) -> None:
    first = await front.arrival("primeiro")
    await front.accept(first)
    message_id = await note(front)
    await front.accept(await front.arrival("terceiro"))
    mind = Mind()
    await turn(front, first.message_id, mind)
    assert mind.shown == [], "nothing was taken"
    await understand(front, outside, message_id)
    await turn(front, message_id, mind)
    ((one, two, three),) = mind.shown
    assert (one, three) == ("primeiro", "terceiro")
    assert SAID in two
    assert len(replies(front)) == 1


async def test_a_note_that_comes_while_the_model_thinks_is_waited_for(front: Front, outside: Outside) -> None:
    first = await front.arrival("primeiro")
    await front.accept(first)
    came: list[UUID] = []

    async def meanwhile() -> None:
        if not came:
            came.append(await note(front))

    mind = Mind(meanwhile=meanwhile)

    async def soon() -> None:
        while not came:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.4)
        await understand(front, outside, came[0])

    later = asyncio.create_task(soon())
    await turn(front, first.message_id, mind)
    await later
    assert [len(lines) for lines in mind.shown] == [1, 2]
    assert len(replies(front)) == 1


async def test_a_note_that_takes_too_long_is_left_to_its_own_turn(
    front: Front, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.journey.understand.listen.MEDIA_S", 0.3)
    first = await front.arrival("primeiro")
    await front.accept(first)
    came: list[UUID] = []

    async def meanwhile() -> None:
        if not came:
            came.append(await note(front))

    mind = Mind(meanwhile=meanwhile)
    await turn(front, first.message_id, mind)
    assert [len(lines) for lines in mind.shown] == [1, 1], "thought again once, and not once more"
    assert len(replies(front)) == 1
    assert message(front, came[0])["status"] == "received"
    await understand(front, outside, came[0])
    await turn(front, came[0], mind)
    assert SAID in mind.shown[-1][0]
    assert len(replies(front)) == 2
