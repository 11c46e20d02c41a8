"""What an owner keeps no longer goes, in small transactions; what is younger, waits, or is another's stays."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors
from structlog.testing import capture_logs

from recado.db.pool import conninfo, open_pool
from recado.db.scope import scoped
from recado.errors import UsageError
from recado.identity import retention
from recado.identity.retention import Periods
from recado.media.folder import Folder
from recado.media.storage import Storage, StorageUnavailable, key_of
from recado.ops.privacy import periods
from tests import lending
from tests.db.owned_rows import Tenant, insert, settle

NOW = datetime.now(UTC)


def id_at(age: timedelta) -> UUID:
    """A UUIDv7 of that age."""
    milliseconds = int((NOW - age).timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62 | uuid4().int & (1 << 60) - 1)


class House:
    """An owner with things of many ages, and a stranger beside."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        self.storage: Storage = Folder(home)
        self.conn = psycopg.connect(url, autocommit=True, options="-c search_path=recado")
        self.ours, self.theirs = settle(self.conn), settle(self.conn)
        self.conn.execute("DELETE FROM retention")
        self.conn.execute("DELETE FROM webhooks")

    def message(self, age_days: float, tenant: Tenant | None = None, **more: Any) -> UUID:
        owner = tenant or self.ours
        message_id = id_at(timedelta(days=age_days))
        row = owner.fresh("messages") | {"id": message_id, **more}
        insert(self.conn, "messages", row)
        return message_id

    def file(self, age_days: float, message_id: UUID | None, tenant: Tenant | None = None) -> UUID:
        owner = tenant or self.ours
        media_id = id_at(timedelta(days=age_days))
        insert(
            self.conn,
            "media",
            owner.fresh("media")
            | {
                "id": media_id,
                "message_id": message_id,
                "status": "stored",
                "size_bytes": 4,
                "sha256": hashlib.sha256(b"data").digest(),
                "storage_key": key_of(owner.id, media_id),
                "text": "o que o documento diz",
            },
        )
        place = self.home / key_of(owner.id, media_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"data")
        return media_id

    def has(self, table: str, key: UUID) -> bool:
        return bool(lending.rows(self.url, f"SELECT FROM {table} WHERE id = %s", key))

    async def set(self, **days: int) -> dict[str, int]:
        """Set the periods; what would go, as it is said beforehand."""
        async with open_pool(self.url, "recado_app", size=1) as pool, scoped(pool, self.ours.id) as scope:
            await retention.put(scope, Periods(**days))
            return await periods.count(scope, Periods(**days), now=NOW)

    async def keep_to(self) -> dict[str, int]:
        async with open_pool(self.url, "recado_platform", size=2) as platform:
            return dict(await periods.keep_to(platform, self.storage, now=NOW))


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    made = House(database_url, tmp_path)
    yield made
    made.conn.close()


async def test_old_messages_go_with_what_belongs_to_them_and_what_waits_stays(house: House) -> None:
    old = house.message(40)
    answer = house.message(39, direction="outbound", author="assistant", reply_to=old, provider_sid=None)
    insert(house.conn, "message_parts", house.ours.fresh("message_parts") | {"message_id": answer, "part": 1})
    insert(house.conn, "delivery_attempts", house.ours.fresh("delivery_attempts") | {"message_id": answer})
    file = house.file(40, old)
    held = house.message(50, status="held", held_for="people")
    quoted = house.message(1, reply_to=answer)
    young, theirs = house.message(29), house.message(40, house.theirs)
    would_go = await house.set(messages=30)
    gone = await house.keep_to()
    assert (would_go, gone["messages"]) == ({"messages": 2, "messages_waiting": 1}, 2)
    assert [house.has("messages", one) for one in (old, answer, held, quoted, young, theirs)] == [
        *(False, False, True, True, True, True)
    ]
    assert not house.has("media", file)
    assert not (house.home / key_of(house.ours.id, file)).exists()
    (left,) = lending.rows(house.url, "SELECT reply_to FROM messages WHERE id = %s", quoted)
    assert left["reply_to"] is None
    assert await house.keep_to() == {}


async def test_who_has_nothing_left_goes_too_but_for_who_wants_no_messages(house: House) -> None:
    for opted_out in (False, True):
        contact, conversation = id_at(timedelta(days=90)), id_at(timedelta(days=90))
        insert(house.conn, "contacts", house.ours.fresh("contacts") | {"id": contact, "identity_key": str(contact)})
        insert(
            house.conn,
            "conversations",
            house.ours.fresh("conversations")
            | {"id": conversation, "contact_id": contact, "last_inbound_at": NOW - timedelta(days=60)},
        )
        house.message(60, conversation_id=conversation)
        if opted_out:
            insert(house.conn, "suppressions", house.ours.fresh("suppressions") | {"identity_key": str(contact)})
        await house.set(messages=30)
        await house.keep_to()
        assert not house.has("conversations", conversation)
        assert house.has("contacts", contact) is opted_out


async def test_old_files_go_and_what_came_is_still_known(house: House) -> None:
    message = house.message(1)
    old, young, theirs = house.file(40, message), house.file(5, message), house.file(40, None, house.theirs)
    unused, used = house.file(40, None), house.file(40, None)
    house.message(2, direction="outbound", content=psycopg.types.json.Jsonb({"media_id": str(used)}))
    before = await house.set(media=30)
    gone = await house.keep_to()
    assert (before, gone) == ({"files": 2, "bytes": 8}, {"files": 2})
    (expired,) = lending.rows(house.url, "SELECT * FROM media WHERE id = %s", old)
    assert (expired["status"], expired["reason"]) == ("refused", "expired")
    assert all(expired[name] is None for name in ("url", "file_name", "text", "sha256", "storage_key"))
    assert [house.has("media", one) for one in (young, theirs, unused, used)] == [True, True, False, True]
    there = {path.name for path in house.home.glob("*/*")}
    assert there == {str(one) for one in (young, theirs, used)}
    assert await house.keep_to() == {}


async def test_old_events_and_entries_of_the_audit_go_and_no_others(house: House) -> None:
    for tenant in (house.ours, house.theirs):
        for table in ("events", "audit"):
            for age in (100, 40, 1):
                insert(house.conn, table, tenant.fresh(table) | {"at": NOW - timedelta(days=age)})
    before = await house.set(events=30, audit=60)
    gone = await house.keep_to()
    assert before == {"events": 2, "audit": 1} == gone
    for tenant, left in ((house.ours, (2, 3)), (house.theirs, (4, 4))):
        for table, count in zip(("events", "audit"), left, strict=True):
            (row,) = lending.rows(house.url, f"SELECT count(*) AS n FROM {table} WHERE owner_id = %s", tenant.id)
            assert row["n"] == count, table


async def test_an_event_that_an_endpoint_has_yet_to_be_told_stays_until_it_was(house: House) -> None:
    for _ in range(3):
        insert(house.conn, "events", house.ours.fresh("events") | {"at": NOW - timedelta(days=40)})
    newest = house.conn.execute("SELECT max(id) FROM events WHERE owner_id = %s", [house.ours.id]).fetchone()
    assert newest is not None
    insert(house.conn, "webhooks", house.ours.fresh("webhooks") | {"reached": newest[0] - 1, "status": "enabled"})
    assert (await house.set(events=30), await house.keep_to()) == ({"events": 2}, {"events": 2})
    house.conn.execute("UPDATE webhooks SET reached = %s", newest)
    assert (await house.set(events=30), await house.keep_to()) == ({"events": 1}, {"events": 1})


async def test_without_a_period_nothing_goes(house: House) -> None:
    message, file = house.message(4000), house.file(4000, None)
    assert await house.set() == {}
    assert await house.keep_to() == {}
    assert house.has("messages", message)
    assert house.has("media", file)


async def test_a_row_that_somebody_has_locked_is_left_for_the_next_round(house: House) -> None:
    locked, free = house.message(40), house.message(41)
    await house.set(messages=30)
    with psycopg.connect(house.url, options="-c search_path=recado") as other:
        other.execute("SELECT FROM messages WHERE id = %s FOR UPDATE", [locked])
        assert (await house.keep_to())["messages"] == 1
        assert [house.has("messages", one) for one in (locked, free)] == [True, False]
    assert (await house.keep_to())["messages"] == 1


@pytest.mark.parametrize("days", [{"messages": 2}, {"media": 0}, {"events": -1}, {"audit": 29}, {"media": 40_000}])
async def test_a_period_that_is_too_short_or_long_is_none(house: House, days: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="kept for"):
        await house.set(**days)
    [(what, number)] = days.items()
    with pytest.raises(errors.CheckViolation):
        insert(house.conn, "retention", {"owner_id": house.ours.id, "what": what, "days": number})


class AwayFor(Folder):
    """A storage that does not answer for one owner's files."""

    def __init__(self, root: Path, owner_id: UUID) -> None:
        super().__init__(root)
        self.owner_id = owner_id

    async def delete(self, key: str) -> None:
        if key.startswith(str(self.owner_id)):
            raise StorageUnavailable("away")
        await super().delete(key)


async def test_a_storage_that_is_away_holds_up_nothing_but_what_needs_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periods, "PAUSE_S", 0.0)
    files: dict[UUID, UUID] = {}
    for tenant in (house.ours, house.theirs):
        files[tenant.id] = house.file(40, house.message(40, tenant), tenant)
        insert(house.conn, "events", tenant.fresh("events") | {"at": NOW - timedelta(days=40)})
        insert(house.conn, "audit", tenant.fresh("audit") | {"at": NOW - timedelta(days=40)})
        for what in ("messages", "media", "events", "audit"):
            insert(house.conn, "retention", {"owner_id": tenant.id, "what": what, "days": 31})
    # Whoever comes first by id is who the storage is away for.
    first, second = sorted(files)
    house.storage = AwayFor(house.home, first)
    with pytest.raises(StorageUnavailable):
        await house.keep_to()
    for table in ("events", "audit"):
        old = f"SELECT FROM {table} WHERE at < %s"
        assert lending.rows(house.url, old, NOW - timedelta(days=31)) == [], table
    assert [house.has("media", files[one]) for one in (first, second)] == [True, False]


async def test_a_storage_that_is_away_is_warned_of_once(house: House) -> None:
    house.file(40, house.message(40))
    await house.set(messages=30, media=30)
    async with open_pool(house.url, "recado_platform", size=1) as platform:
        with capture_logs() as logs:
            await periods.sweep(platform, AwayFor(house.home, house.ours.id), now=NOW)
    assert [one["event"] for one in logs] == ["storage_unavailable"]


class Slow(Folder):
    """A storage that deletes when it is let."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached, self.let = asyncio.Event(), asyncio.Event()

    async def delete(self, key: str) -> None:
        self.reached.set()
        await self.let.wait()
        await super().delete(key)


@pytest.mark.parametrize("what", ["messages", "media"])
async def test_while_the_storage_does_not_answer_others_have_the_connection(house: House, what: str) -> None:
    file = house.file(40, house.message(40))
    await house.set(**{what: 30})
    slow = Slow(house.home)
    async with open_pool(house.url, "recado_platform", size=1) as platform:
        work = asyncio.create_task(periods.keep_to(platform, slow, now=NOW))
        try:
            async with asyncio.timeout(20):
                await slow.reached.wait()
                async with platform.connection(timeout=2) as conn:
                    await conn.execute("SELECT 1")
        finally:
            slow.let.set()
            await work
    assert not (house.home / key_of(house.ours.id, file)).exists()


def test_the_audit_of_the_last_month_is_deleted_by_nobody(database_url: str) -> None:
    """PostgreSQL holds what goes across owners to that, whatever period somebody has set."""
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        tenant = settle(conn)
        for age in (40, 29, 0):
            insert(conn, "audit", tenant.fresh("audit") | {"at": NOW - timedelta(days=age)})
    with psycopg.connect(conninfo(database_url, "recado_platform"), autocommit=True) as platform:
        assert platform.execute("DELETE FROM audit").rowcount == 1
        with pytest.raises(errors.InsufficientPrivilege):
            platform.execute("UPDATE audit SET action = 'nothing'")
        with pytest.raises(errors.InsufficientPrivilege):
            platform.execute("DELETE FROM erasures")
