"""Shares: however much one owner has in hand or waiting, something of another starts at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.fair import Gate, allot, may_take, reserve, share

owners = st.text("abcdefgh", min_size=1, max_size=1)
slots = st.integers(1, 300)


@given(slots=slots, mine=st.integers(0, 300), others=st.integers(0, 300))
def test_nothing_is_taken_beyond_the_slots_and_one_with_nothing_gets_any_that_is_free(
    slots: int, mine: int, others: int
) -> None:
    if may_take(slots, mine, others):
        assert mine + others < slots
    if mine == 0 and others < slots:
        assert may_take(slots, 0, others)


@given(slots=slots)
def test_one_owner_alone_leaves_half_of_what_may_be_shared_and_is_never_without_any(slots: int) -> None:
    mine = 0
    while may_take(slots, mine, 0):
        mine += 1
    assert mine == share(slots, 0)
    assert mine == 1 or mine <= (slots - reserve(slots) + 1) // 2


@given(slots=st.integers(16, 300), greedy=st.integers(1, 8))
def test_after_several_owners_who_take_all_they_may_there_is_a_slot_for_the_next(slots: int, greedy: int) -> None:
    in_hand = allot({f"greedy{n}": 1000 for n in range(greedy)}, {}, slots, free=slots)
    if greedy <= reserve(slots):
        assert sum(in_hand.values()) < slots
    before = sum(in_hand.values())
    given = allot({**dict.fromkeys(in_hand, 1000), "new": 1}, in_hand, slots, free=slots - before)
    assert given.get("new", 0) == (1 if before < slots else 0)


@given(
    waiting=st.dictionaries(owners, st.integers(0, 40)),
    in_hand=st.dictionaries(owners, st.integers(0, 20)),
    slots=slots,
    free=st.integers(0, 300),
)
def test_what_is_given_waits_fits_and_goes_to_who_has_least(
    waiting: dict[str, int], in_hand: dict[str, int], slots: int, free: int
) -> None:
    given = allot(waiting, in_hand, slots, free=free)
    assert sum(given.values()) <= free
    assert all(number <= waiting[owner] for owner, number in given.items())
    total = sum(in_hand.values()) + sum(given.values())
    if given:
        assert total <= slots
    after = Counter(in_hand) + Counter(given)
    for owner, number in waiting.items():
        # Whoever got nothing although something is free is at their share.
        if number > given.get(owner, 0) and sum(given.values()) < free:
            assert not may_take(slots, after[owner], total - after[owner])


def test_two_owners_who_have_all_waiting_come_to_have_the_same() -> None:
    given = allot({"first": 500, "second": 500}, {}, 128, free=128)
    assert abs(given["first"] - given["second"]) <= 1


async def test_at_a_gate_an_owner_with_nothing_in_hand_goes_before_many_that_came_earlier() -> None:
    gate, order, leave = Gate(2), list[str](), asyncio.Event()

    async def work(owner: str) -> None:
        async with gate.turn(owner):
            order.append(owner)
            await leave.wait()

    busy = [asyncio.create_task(work("busy")) for _ in range(20)]
    await asyncio.sleep(0)
    assert order == ["busy"], "one alone has half"
    other = asyncio.create_task(work("other"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["busy", "other"]
    leave.set()
    await asyncio.gather(other, *busy)
    assert len(order) == 21


async def test_at_a_gate_of_one_owners_take_turns_however_many_of_one_came_first() -> None:
    gate, order = Gate(1), list[str]()

    async def work(owner: str) -> None:
        async with gate.turn(owner):
            order.append(owner)
            await asyncio.sleep(0)

    await asyncio.gather(*(work("busy") for _ in range(10)), work("other"), work("third"))
    assert order[:3] == ["busy", "other", "third"]
    assert len(order) == 12


async def test_who_gives_up_at_a_gate_leaves_no_place_taken() -> None:
    gate = Gate(1)
    async with gate.turn("a"):
        waiting = [asyncio.create_task(enter(gate, owner)) for owner in "bcd"]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()  # its turn may have come this moment
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert done[2] == "d"
    async with asyncio.timeout(10), gate.turn("a"):
        pass


async def enter(gate: Gate, owner: str) -> str:
    async with gate.turn(owner):
        return owner


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_slots_are_not_reserved_for_nobody(number: int) -> None:
    assert reserve(number) == 0
    assert may_take(number, 0, number - 1)
