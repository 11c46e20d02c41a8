"""The typing indicator: nobody waits for it, and its calls take no connection that a delivery needs."""

from __future__ import annotations

import asyncio
from typing import Any

from recado.ids import new_id
from recado.journey.answer import typing_sign


async def test_calls_that_hang_are_few_of_one_owner_and_hide_no_other_owners() -> None:
    asked, answer = list[str](), asyncio.Event()

    class Hanging:
        async def typing(self, message_sid: str) -> None:
            asked.append(message_sid)
            await answer.wait()

    def show(owner: Any, name: str) -> asyncio.Task[None]:
        sender: Any = Hanging()
        return asyncio.create_task(typing_sign._show_typing(sender, owner, name))

    busy, other = new_id(), new_id()
    calls = [show(busy, "busy") for _ in range(100)]
    await asyncio.sleep(0)
    calls.append(show(other, "other"))
    await asyncio.sleep(0)
    assert (asked.count("busy"), asked.count("other")) == (typing_sign.CALLS_EACH, 1)
    calls += [show(new_id(), "many") for _ in range(100)]
    await asyncio.sleep(0)
    assert len(asked) == typing_sign.CALLS
    answer.set()
    await asyncio.gather(*calls)
    await show(busy, "again")
    assert asked[-1] == "again"
