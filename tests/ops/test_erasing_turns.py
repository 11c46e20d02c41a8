"""Erasures of one worker: they wait for others with no connection, stay this worker's meanwhile, and take turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from recado.channels.port import Eraser
from recado.db.pool import Pool, open_pool
from recado.media.folder import Folder
from recado.media.storage import StorageUnavailable, key_of
from recado.ops.privacy import at_twilio, erase, running
from recado.ops.privacy.running import EraseDesk, take
from tests import lending
from tests.db.owned_rows import Tenant, insert, settle
from tests.db.test_secrets import RING

WAIT_S = 20


class Gate:
    """Holds whoever comes until it is opened."""

    def __init__(self, *, is_open: bool) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        if is_open:
            self.opened.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class SlowFolder(Folder):
    """A storage that answers when its gates are open; `away` when it does not answer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts, self.deletes = Gate(is_open=True), Gate(is_open=True)
        self.away = False

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        await self.puts.pass_through()
        await super().put(key, path, content_type=content_type)

    async def delete(self, key: str) -> None:
        await self.deletes.pass_through()
        if self.away:
            raise StorageUnavailable("away")
        await super().delete(key)


class SlowEraser:
    """A Twilio that answers when its gate is open, and has nothing."""

    def __init__(self) -> None:
        self.gate = Gate(is_open=True)

    async def erase(self, message_sid: str, *, with_media: bool) -> int | None:
        await self.gate.pass_through()
        return None

    async def find(self, *, to: str, from_: str | None, since: Any) -> list[Any]:
        return []

    async def erase_content(self, content_sid: str) -> bool:
        return False


class House:
    """Two owners, each with a contact who has messages and files, and erasures of them."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        self.storage, self.twilio = SlowFolder(home), SlowEraser()
        self.conn = psycopg.connect(url, autocommit=True, options="-c search_path=recado")
        self.ours, self.theirs = settle(self.conn), settle(self.conn)
        for tenant in (self.ours, self.theirs):
            key = tenant.fresh("erasure_keys") | {"id": tenant.id}
            insert(self.conn, "erasure_keys", key)

    def erasure(self, tenant: Tenant, status: str, **more: Any) -> UUID:
        row = tenant.fresh("erasures") | {"status": status, "contact_ids": [tenant.of("contacts")], **more}
        insert(self.conn, "erasures", row)
        found: UUID = row["id"]
        return found

    def messages(self, tenant: Tenant, count: int) -> None:
        for _ in range(count):
            insert(self.conn, "messages", tenant.fresh("messages"))

    def of(self, erasure_id: UUID) -> dict[str, Any]:
        (found,) = lending.rows(self.url, "SELECT * FROM erasures WHERE id = %s", erasure_id)
        return found

    def left(self, tenant: Tenant) -> int:
        return len(lending.rows(self.url, "SELECT FROM messages WHERE owner_id = %s", tenant.id))

    def item(self, tenant: Tenant, erasure_id: UUID) -> None:
        row = tenant.fresh("erasure_items") | {"erasure_id": erasure_id, "what": "SM" + uuid4().hex}
        insert(self.conn, "erasure_items", row)

    @asynccontextmanager
    async def desk(self, *, size: int = 1) -> AsyncIterator[EraseDesk]:
        async def eraser_of(_owner: UUID, _account: UUID) -> Eraser:
            return self.twilio

        async with open_pool(self.url, "recado_platform", size=size) as platform:
            yield EraseDesk(platform=platform, storage=self.storage, keyring=RING, eraser_of=eraser_of)


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    made = House(database_url, tmp_path)
    yield made
    made.conn.close()


async def borrow(pool: Pool) -> None:
    """Have a connection of the pool's. Raises PoolTimeout."""
    async with pool.connection(timeout=2) as conn:
        await conn.execute("SELECT 1")


@pytest.mark.parametrize("slow", ["ledger", "files", "twilio"])
async def test_while_storage_or_twilio_do_not_answer_others_have_the_connection(house: House, slow: str) -> None:
    erasure_id = house.erasure(house.ours, "twilio" if slow == "twilio" else "erasing")
    house.item(house.ours, erasure_id)
    gate = {"ledger": house.storage.puts, "files": house.storage.deletes, "twilio": house.twilio.gate}[slow]
    gate.opened.clear()
    async with house.desk() as desk:
        work = asyncio.create_task(erase.carry_on(desk))
        try:
            async with asyncio.timeout(WAIT_S):
                await gate.reached.wait()
                await borrow(desk.platform)
        finally:
            gate.opened.set()
            await work
    assert house.of(erasure_id)["status"] == "done"


@pytest.mark.parametrize("slow", ["ledger", "files", "twilio"])
async def test_an_erasure_stays_whose_it_is_however_long_storage_or_twilio_take(
    house: House, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "HELD_S", 1.5)
    erasure_id = house.erasure(house.ours, "twilio" if slow == "twilio" else "erasing")
    house.item(house.ours, erasure_id)
    gate = {"ledger": house.storage.puts, "files": house.storage.deletes, "twilio": house.twilio.gate}[slow]
    gate.opened.clear()
    async with house.desk(size=2) as desk:
        work = asyncio.create_task(erase.carry_on(desk))
        try:
            async with asyncio.timeout(WAIT_S):
                await gate.reached.wait()
                held_until = house.of(erasure_id)["look_again_at"]
                while house.of(erasure_id)["look_again_at"] <= held_until:
                    async with desk.platform.connection() as conn:
                        assert await take(conn) is None
        finally:
            gate.opened.set()
            await work
    assert house.of(erasure_id)["status"] == "done"


async def test_a_file_that_cannot_be_deleted_now_is_waited_for_and_its_row_stays(house: House) -> None:
    erasure_id = house.erasure(house.ours, "erasing")
    house.storage.away = True
    async with house.desk() as desk:
        await erase.carry_on(desk)
        assert (house.of(erasure_id)["waits_for"], house.left(house.ours)) == ("storage", 1)
        house.storage.away = False
        house.conn.execute("UPDATE erasures SET look_again_at = now() WHERE id = %s", [erasure_id])
        await erase.carry_on(desk)
    assert (house.of(erasure_id)["status"], house.left(house.ours)) == ("done", 0)


async def test_who_has_much_to_be_erased_lets_others_go_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erase, "TURN_S", 0.0)
    monkeypatch.setattr(erase, "BATCH", 2)
    monkeypatch.setattr(erase, "MOST", 2)
    house.messages(house.ours, 6)
    much = house.erasure(house.ours, "erasing", look_again_at="2026-02-01")
    little = house.erasure(house.theirs, "erasing", look_again_at="2026-02-02")
    async with house.desk() as desk:
        assert await erase.carry_on(desk) == 2
        assert (house.left(house.ours), house.left(house.theirs)) == (5, 0)
        assert house.of(much)["status"] == "erasing"
        monkeypatch.setattr(erase, "MOST", 50)
        await erase.carry_on(desk)
    assert [house.of(one)["status"] for one in (much, little)] == ["done", "done"]
    assert house.of(much)["counts"]["messages"] == 7


async def test_twilio_that_is_slow_for_one_erasure_lets_others_go_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_twilio, "TURN_S", 0.0)
    monkeypatch.setattr(at_twilio, "BATCH", 1)
    monkeypatch.setattr(erase, "MOST", 2)
    much = house.erasure(house.ours, "twilio", look_again_at="2026-02-01")
    little = house.erasure(house.theirs, "twilio", look_again_at="2026-02-02")
    for _ in range(3):
        house.item(house.ours, much)
    house.item(house.theirs, little)
    async with house.desk() as desk:
        assert await erase.carry_on(desk) == 2
        assert [house.of(one)["status"] for one in (much, little)] == ["twilio", "done"]
        monkeypatch.setattr(erase, "MOST", 50)
        await erase.carry_on(desk)
    assert house.of(much)["status"] == "done"


async def test_an_erasure_is_in_the_ledger_before_anything_of_it_is_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "MOST", 1)
    erasure_id = house.erasure(house.ours, "stopping")
    async with house.desk() as desk:
        house.storage.puts.opened.clear()
        work = asyncio.create_task(erase.carry_on(desk))
        async with asyncio.timeout(WAIT_S):
            await house.storage.puts.reached.wait()
        assert house.of(erasure_id)["status"] == "stopping"
        house.storage.puts.opened.set()
        await work
    assert house.of(erasure_id)["status"] == "erasing"
    assert house.left(house.ours) == 1
    assert (house.home / key_of(UUID(int=0), erasure_id)).exists()


async def test_who_comes_late_takes_an_erasure_no_step_back(house: House) -> None:
    """Another worker has ended it meanwhile."""
    erasure_id = house.erasure(house.ours, "erasing")
    async with house.desk() as desk, desk.platform.connection() as conn:
        mine = await take(conn)
        assert mine is not None
        house.conn.execute("UPDATE erasures SET status = 'done' WHERE id = %s", [erasure_id])
        await running.become(conn, mine, "erasing")
    assert house.of(erasure_id)["status"] == "done"
