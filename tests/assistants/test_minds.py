from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from recado.assistants import minds
from recado.assistants.minds import MOST, agent_of
from recado.errors import SettingsError


class Counted:
    """Models that count who is open, in place of a provider's with its HTTP client."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.made = 0

    def make(self, name: str) -> Any:
        from pydantic_ai.models.test import TestModel

        counted = self
        self.made += 1

        class Model(TestModel):
            async def __aenter__(self) -> Any:
                counted.open.append(name)
                return self

            async def __aexit__(self, *_: object) -> None:
                counted.open.remove(name)

        if name == "broken":
            raise SettingsError("no key")
        return Model()


@pytest.fixture
async def models() -> AsyncIterator[Counted]:
    yield Counted()
    await minds.aclose()


async def test_so_many_clients_are_open_at_most_and_those_used_last_stay(models: Counted) -> None:
    for number in range(3 * MOST):
        async with agent_of(f"m{number}", models.make) as agent:
            assert agent is not None
        async with agent_of("m0", models.make):
            pass
    assert len(models.open) == MOST
    assert "m0" in models.open
    assert models.made == 3 * MOST


async def test_a_client_that_somebody_uses_is_not_closed(models: Counted) -> None:
    async with agent_of("long", models.make):
        for number in range(2 * MOST):
            async with agent_of(f"m{number}", models.make):
                pass
        assert "long" in models.open
    assert len(models.open) == MOST


async def test_many_who_ask_for_one_model_at_once_open_it_once(models: Counted) -> None:
    async def ask() -> None:
        async with agent_of("one", models.make):
            await asyncio.sleep(0)

    await asyncio.gather(*(ask() for _ in range(50)))
    assert (models.made, models.open) == (1, ["one"])


async def test_who_gives_up_while_a_model_is_opened_takes_it_from_nobody_else(models: Counted) -> None:
    may_go_on = threading.Event()

    def slow(name: str) -> Any:
        may_go_on.wait(30)
        return models.make(name)

    async def ask() -> bool:
        async with agent_of("one", slow) as agent:
            return agent is not None

    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    may_go_on.set()
    assert await second
    assert (first.cancelled(), models.made) == (True, 1)


async def test_what_can_not_be_made_is_tried_again_the_next_time(models: Counted) -> None:
    for made in (1, 2):
        async with agent_of("broken", models.make) as agent:
            assert agent is None
        assert models.made == made


async def test_the_end_closes_all_of_them(models: Counted) -> None:
    async with agent_of("one", models.make):
        pass
    await minds.aclose()
    assert models.open == []
