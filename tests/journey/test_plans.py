"""Plans are made once and kept: one made while the tables were empty must hold when they are full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from bench.million import _LOAD as FULL
from recado.channels.port import Receipt, Sent
from recado.db.group_commit import GroupCommit
from recado.db.pool import Connection, Pool
from recado.journey.accept import accept
from recado.journey.accept.accept import Acceptor
from recado.journey.answer.turn import process_ai_response
from recado.journey.confirm import confirm
from recado.journey.confirm.confirm import Callback, Confirmer
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from recado.ops import again, recovery
from tests.journey.front import ACCOUNT_SID, PUBLIC_URL, Front, open_front
from tests.journey.test_answer import Mind, desk_of

#: So many rows are in each large table before the last look.
ROWS = 4000


class Taker:
    """A Twilio that takes everything."""

    numbers = count(1)

    async def send(self, **given: Any) -> Sent:
        sid = f"SM{next(self.numbers):032x}"
        return Sent(
            sid=sid, status="queued", date_created=datetime.now(UTC), body=given["body"], to=given["to"], from_=None
        )

    async def typing(self, _message_sid: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a process keeps open: `lanes` are the connections of its two acceptors, each with its plans."""

    front: Front
    acceptor: Acceptor
    confirmer: Confirmer
    platform: Pool
    lanes: list[Connection]

    async def journey(self, contact: int) -> None:
        """A contact's message from webhook to read receipt, and a round of what looks after strays."""
        front = self.front
        given = await front.arrival(From=f"whatsapp:+55119{contact:08}", WaId=f"55119{contact:08}")
        await self.acceptor.submit(given)
        (row,) = front.rows("SELECT conversation_id FROM messages WHERE id = %s", given.message_id)
        await process_ai_response(
            desk_of(front, Mind()),
            front.owner_id,
            row["conversation_id"],
            given.message_id,
            arrived_at=front.wiring.clock.now(),
        )
        (reply,) = front.rows("SELECT id FROM messages WHERE reply_to = %s", given.message_id)
        await send_whatsapp_message(self._desk(), front.owner_id, reply["id"])
        (part,) = front.rows("SELECT provider_sid FROM message_parts WHERE message_id = %s", reply["id"])
        for status in ("sent", "delivered", "read"):
            receipt = Receipt(account_sid=ACCOUNT_SID, message_sid=part["provider_sid"], status=status)
            row_ = Callback(owner_id=front.owner_id, message_id=reply["id"], part=1, receipt=receipt)
            await self.confirmer.submit(row_)
        (read,) = front.rows("SELECT status FROM messages WHERE id = %s", reply["id"])
        assert read["status"] == "read"
        await recovery.give_work_to_strays(self.platform)
        await recovery.fetch_stray_media(self.platform)
        await recovery.give_up_late_media(self.platform, at_work=timedelta(minutes=5))
        await again.put_back_deliveries(self.platform, front.wiring.clock.now())
        await again.put_back_arrivals(self.platform, front.wiring.clock.now())

    def _desk(self) -> DeliverDesk:
        async def taker(_owner_id: UUID, _account_id: UUID) -> Any:
            return Taker()

        return DeliverDesk(
            pool=self.front.wiring.pool,
            clock=self.front.wiring.clock,
            split_chars=1500,
            public_url=PUBLIC_URL,
            sender_of=taker,
            contents_of=taker,
            media_link=lambda *_: "",
        )

    async def read(self) -> dict[str, int]:
        """Rows read so far of each table, after all connections have said so."""
        async with AsyncExitStack() as stack:
            kept = [*self.lanes]
            for pool in (self.platform, self.front.wiring.pool):
                size = pool.get_stats()["pool_size"]
                kept += [await stack.enter_async_context(pool.connection()) for _ in range(size)]
            for conn in kept:
                await conn.execute("SELECT pg_stat_force_next_flush()")
        found = self.front.rows(
            "SELECT schemaname || '.' || relname AS name, seq_tup_read + coalesce(idx_tup_fetch, 0) AS rows "
            "FROM pg_stat_user_tables"
        )
        return {row["name"]: row["rows"] for row in found}

    async def read_in(self, contact: int) -> dict[str, int]:
        """Rows that one journey reads of each table."""
        before = await self.read()
        await self.journey(contact)
        return {name: rows - before[name] for name, rows in (await self.read()).items()}


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(open_front(database_url, tmp_path))
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE")  # PostgreSQL has counted: there is nothing
        lanes: list[Connection] = []

        def lane(prepare: Callable[[Connection], Awaitable[None]]) -> Callable[[], Awaitable[Connection]]:
            async def connect() -> Connection:
                made = await front.wiring.connect()
                await prepare(made)
                lanes.append(made)
                return made

            return connect

        yield House(
            front=front,
            acceptor=await stack.enter_async_context(GroupCommit(lane(accept.prepare), accept.write, lambda _: 0)),
            confirmer=await stack.enter_async_context(GroupCommit(lane(confirm.prepare), confirm.write, lambda _: 0)),
            platform=await stack.enter_async_context(front.wiring.platform_pool()),
            lanes=lanes,
        )


async def test_no_step_goes_on_reading_more_when_its_tables_have_grown_since_its_plan_was_made(house: House) -> None:
    for contact in range(12):
        await house.journey(contact)
    few = await house.read_in(100)
    with psycopg.connect(house.front.database_url) as conn:
        conn.execute("SET session_replication_role TO replica")
        psycopg.ClientCursor(conn).execute(FULL, {"messages": ROWS, "conversations": ROWS})
        conn.execute(
            "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, queue_name, queue_partition_key, "
            "created_at, updated_at, priority) SELECT 'w' || n, 'SUCCESS', 'work', 'turns', "
            "%s || ':' || md5('v' || n)::uuid, n, 0, 0 FROM generate_series(1, %s) n",
            [str(house.front.owner_id), ROWS],
        )
    for contact in range(200, 200 + 40):  # as many again, and every plan has been made anew
        await house.journey(contact)
    many = await house.read_in(300)
    grown = {name: (few[name], rows) for name, rows in many.items() if rows > few[name] + ROWS // 10}
    assert grown == {}
