"""Numbers are asked for at Twilio again and again: a new one soon, a proven one each day, nobody at others' cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from recado.channels.twilio import numbers
from recado.db.pool import open_pool
from recado.ops.proving import prove_numbers
from tests.db.owned_rows import Conn, Tenant, insert, settle
from tests.lending import Databases

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OURS, GONE = "whatsapp:+551133330000", "whatsapp:+551133330001"


@pytest.fixture
def there(databases: Databases) -> Iterator[tuple[str, Conn]]:
    with databases.one() as url, psycopg.connect(url, autocommit=True, options="-c search_path=recado") as conn:
        yield url, conn


def company(conn: Conn, *addresses: str) -> Tenant:
    """An owner with a proven account and these numbers alone."""
    owner = settle(conn)
    account = owner.of("twilio_accounts")
    conn.execute("UPDATE twilio_accounts SET proven_at = now() WHERE id = %s", [account])
    conn.execute("UPDATE numbers SET status = 'unrouted' WHERE owner_id = %s", [owner.id])
    for address in addresses:
        insert(conn, "numbers", {"owner_id": owner.id, "id": uuid4(), "account_id": account, "address": address})
    return owner


def proven(conn: Conn) -> set[str]:
    return {address for (address,) in conn.execute("SELECT address FROM numbers WHERE proven_at IS NOT NULL")}


async def test_what_twilio_says_is_kept_and_asked_for_again_a_new_number_soon_and_a_proven_one_a_day_later(
    there: tuple[str, Conn],
) -> None:
    url, conn = there
    owner = company(conn, OURS, GONE)
    asked: list[tuple[UUID, UUID]] = []
    lists: frozenset[str] | None = frozenset({OURS, GONE})

    async def listed_of(owner_id: UUID, account_id: UUID) -> frozenset[str] | None:
        asked.append((owner_id, account_id))
        return lists

    async with open_pool(url, "recado_platform", size=2) as platform, open_pool(url, "recado_app", size=2) as pool:

        async def later(passed: timedelta) -> int:
            return await prove_numbers(platform, pool, listed_of, NOW + passed)

        lists = None
        assert await later(timedelta(0)) == 0
        assert await later(numbers.ASKED_EVERY) == 0, "not so soon again"
        assert (asked, proven(conn)) == ([(owner.id, owner.of("twilio_accounts"))], set())
        lists = frozenset({OURS, GONE})
        assert await later(numbers.ASKED_EVERY * 1.1) == 1
        assert proven(conn) == {OURS, GONE}
        lists = frozenset({OURS})
        assert await later(numbers.PROVEN_FOR) == 0
        assert await later(numbers.ASKED_EVERY * 1.1 + numbers.PROVEN_FOR * 1.1) == 1
        assert proven(conn) == {OURS}, "Twilio has given it to somebody else, or it is a person's"
    assert len(asked) == 3


async def test_an_owner_of_many_accounts_or_one_that_hangs_keeps_no_other_from_being_asked_for(
    there: tuple[str, Conn], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, conn = there
    many, hanging, other = company(conn, OURS), company(conn, OURS), company(conn, GONE)
    for _ in range(numbers._EACH + 2):
        account = uuid4()
        row = {**many.fresh("twilio_accounts"), "id": account, "proven_at": NOW}
        insert(conn, "twilio_accounts", row)
        insert(conn, "numbers", {"owner_id": many.id, "id": uuid4(), "account_id": account, "address": OURS})
    conn.execute("UPDATE twilio_accounts SET proven_at = NULL WHERE id = %s", [many.of("twilio_accounts")])
    monkeypatch.setattr("recado.ops.proving.ASKED_AT_ONCE", 2)
    asked: list[UUID] = []

    async def listed_of(owner_id: UUID, account_id: UUID) -> frozenset[str] | None:
        asked.append(owner_id)
        if owner_id == hanging.id:
            raise TimeoutError
        return frozenset({GONE})

    async with open_pool(url, "recado_platform", size=2) as platform, open_pool(url, "recado_app", size=2) as pool:
        await prove_numbers(platform, pool, listed_of, NOW)
        assert (asked.count(many.id), asked.count(hanging.id), asked.count(other.id)) == (numbers._EACH, 1, 1)
        assert asked.index(other.id) < 3, "owners take turns"
        assert proven(conn) == {GONE}
        asked.clear()
        await prove_numbers(platform, pool, listed_of, NOW + timedelta(seconds=60))
        assert asked == [many.id] * 2, "what was not its turn, and nobody twice"
