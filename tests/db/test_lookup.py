"""Look-ups: one question for all who ask at once, bounded, and forgotten when told."""

from __future__ import annotations

import asyncio

import pytest

from recado.db.lookup import Lookup


class Register:
    """Counts what it is asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.value = 1

    async def ask(self, key: str) -> int:
        self.asked.append(key)
        value = self.value
        await self.let.wait()
        if key == "bad":
            raise LookupError(key)
        return value

    def lookup(self, *, size: int = 10, keep_s: float = 60.0) -> Lookup[str, int]:
        return Lookup(self.ask, lambda _: keep_s, size=size)


async def test_a_hundred_who_ask_at_once_make_one_question() -> None:
    register = Register()
    lookup = register.lookup()
    asking = [asyncio.create_task(lookup.get("a")) for _ in range(100)]
    await asyncio.sleep(0)
    register.let.set()
    assert set(await asyncio.gather(*asking)) == {1}
    assert await lookup.get("a") == 1
    assert register.asked == ["a"]


async def test_one_who_leaves_takes_the_answer_from_nobody() -> None:
    register = Register()
    lookup = register.lookup()
    first, second = asyncio.create_task(lookup.get("a")), asyncio.create_task(lookup.get("a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    register.let.set()
    assert await second == 1


async def test_an_answer_is_asked_for_again_when_its_time_is_over() -> None:
    register = Register()
    register.let.set()
    lookup = register.lookup(keep_s=0.0)
    await lookup.get("a")
    await lookup.get("a")
    assert register.asked == ["a", "a"]


async def test_an_error_reaches_all_who_asked_and_is_not_kept() -> None:
    register = Register()
    lookup = register.lookup()
    asking = [asyncio.create_task(lookup.get("bad")) for _ in range(3)]
    await asyncio.sleep(0)
    register.let.set()
    assert all(isinstance(answer, LookupError) for answer in await asyncio.gather(*asking, return_exceptions=True))
    with pytest.raises(LookupError):
        await lookup.get("bad")
    assert register.asked == ["bad", "bad"]


async def test_what_is_used_stays_and_what_is_not_goes_first() -> None:
    register = Register()
    register.let.set()
    lookup = register.lookup(size=3)
    for key in ("a", "b", "c", "a", "d"):
        await lookup.get(key)
    assert len(lookup) == 3
    register.asked.clear()
    for key in ("a", "c", "d", "b"):
        await lookup.get(key)
    assert register.asked == ["b"]


async def test_an_answer_from_before_a_change_is_not_kept() -> None:
    register = Register()
    lookup = register.lookup()
    before = asyncio.create_task(lookup.get("a"))
    while not register.asked:
        await asyncio.sleep(0)
    register.value = 2
    lookup.forget()
    after = asyncio.create_task(lookup.get("a"))
    await asyncio.sleep(0)
    register.let.set()
    assert (await before, await after, await lookup.get("a")) == (1, 2, 2)


async def test_forgetting_some_leaves_the_others() -> None:
    register = Register()
    register.let.set()
    lookup = register.lookup()
    await lookup.get("a")
    await lookup.get("b")
    lookup.forget(lambda key, _: key == "a")
    register.asked.clear()
    await lookup.get("a")
    await lookup.get("b")
    assert register.asked == ["a"]
