"""However many requests of one owner are in work, another owner's begin at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from recado.api.shared import door
from recado.api.shared.door import Visit
from recado.errors import Busy
from recado.ids import new_id


class Pool:
    """Connections, of which nothing counts but how many there are."""

    max_size = 16


async def test_requests_of_one_owner_take_their_share_of_the_connections_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_work, go_on = list[UUID](), asyncio.Event()

    @asynccontextmanager
    async def scoped(_pool: Pool, owner_id: UUID) -> AsyncIterator[None]:
        in_work.append(owner_id)
        yield

    monkeypatch.setattr(door, "scoped", scoped)
    pool, caller = Pool(), object()

    async def ask(owner_id: UUID) -> None:
        wiring: Any = type("Wiring", (), {"pool": pool})()
        who: Any = caller
        async with Visit(caller=who, owner_id=owner_id, wiring=wiring).scope():
            await go_on.wait()

    busy, other = new_id(), new_id()
    asking = [asyncio.create_task(ask(busy)) for _ in range(100)]
    await asyncio.sleep(0)
    asking.append(asyncio.create_task(ask(other)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert in_work[-1] == other
    assert 1 < in_work.count(busy) <= Pool.max_size // 2
    monkeypatch.setattr(door, "TURN_S", 0.01)
    with pytest.raises(Busy):
        await ask(busy)
    go_on.set()
    await asyncio.gather(*asking)
    assert len(in_work) == 101
