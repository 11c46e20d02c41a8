from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from psycopg.errors import CheckViolation

from recado.db.scope import scoped
from recado.errors import NotFound, UsageError
from recado.identity import keys
from recado.identity.callers import SCOPES, Caller
from recado.identity.keys import CACHE_S, ApiKey
from tests.identity.conftest import House


async def new_key(house: House, *scopes: str, days: float | None = None) -> tuple[ApiKey, str]:
    until = house.clock.now() + timedelta(days=days) if days is not None else None
    async with house.scope() as scope:
        return await keys.make(scope, name="shop", scopes=scopes or ("read",), expires_at=until)


async def caller_of(house: House, key: str) -> Caller | None:
    return await keys.authenticate(house.app, key, clock=house.clock)


async def test_a_key_lets_its_owner_in_with_its_scopes(house: House) -> None:
    made, key = await new_key(house, "write", "webhooks")
    assert len(key) == 46
    caller = await caller_of(house, key)
    assert caller is not None
    assert (caller.kind, caller.id, caller.owner_id, caller.name) == ("key", made.id, house.owner.id, "shop")
    assert [scope for scope in SCOPES if caller.may(scope)] == ["read", "write", "webhooks"]


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read", {"read"}),
        ("write", {"read", "write"}),
        ("admin", {"read", "write", "admin"}),
        ("webhooks", {"webhooks"}),
    ],
)
def test_a_scope_covers_the_lesser_ones_and_webhooks_stands_apart(scope: str, allowed: set[str]) -> None:
    caller = Caller(kind="key", id=None, owner_id=None, scopes=frozenset({scope}), role=None, name="x")
    assert {asked for asked in SCOPES if caller.may(asked)} == allowed


def test_a_caller_without_scopes_may_nothing() -> None:
    caller = Caller(kind="key", id=None, owner_id=None, scopes=frozenset(), role=None, name="x")
    assert not any(caller.may(asked) for asked in SCOPES)


async def test_a_keys_end_is_ahead_and_ten_years_at_most(house: House) -> None:
    now = house.clock.now()
    for good in (now + timedelta(seconds=1), now + keys.LONGEST, (now + timedelta(days=1)).replace(tzinfo=None)):
        assert keys.end_at(good, now=now).replace(tzinfo=None) == good.replace(tzinfo=None)
    for wrong in (now, now - timedelta(days=1), now + keys.LONGEST + timedelta(seconds=1)):
        with pytest.raises(UsageError):
            keys.end_at(wrong, now=now)
    assert keys.end_in(3650, now=now) == now + keys.LONGEST
    for days in (0, -1, 3651, 10**12):
        with pytest.raises(UsageError):
            keys.end_in(days, now=now)


async def test_a_revocation_counts_within_the_caches_time_in_a_process_that_knew_the_key(house: House) -> None:
    made, key = await new_key(house)
    assert await caller_of(house, key) is not None
    async with house.scope() as scope:
        revoked = await keys.revoke(scope, made.id, now=house.clock.now())
    assert revoked.revoked_at == house.clock.now()
    house.clock.advance(seconds=CACHE_S - 0.1)
    assert await caller_of(house, key) is not None, "believed as long as the cache lasts"
    house.clock.advance(seconds=0.1)
    assert await caller_of(house, key) is None
    assert CACHE_S <= 30
    async with house.scope() as scope:
        house.clock.advance(days=1)
        assert (await keys.revoke(scope, made.id, now=house.clock.now())).revoked_at == revoked.revoked_at


async def test_use_does_not_prolong_what_the_cache_believes(house: House) -> None:
    made, key = await new_key(house)
    assert await caller_of(house, key) is not None
    async with house.scope() as scope:
        await keys.revoke(scope, made.id, now=house.clock.now())
    for _ in range(6):
        house.clock.advance(seconds=5)
        await caller_of(house, key)
    assert await caller_of(house, key) is None


async def test_an_expiry_counts_at_once_also_for_a_cached_key(house: House) -> None:
    _, key = await new_key(house, days=1)
    house.clock.advance(days=1, seconds=-1)
    assert await caller_of(house, key) is not None
    house.clock.advance(seconds=1)
    assert await caller_of(house, key) is None


async def test_a_cached_key_costs_no_query_and_neither_does_an_unknown_one(house: House) -> None:
    _, key = await new_key(house)
    unknown = "rk_" + "A" * 43
    assert await caller_of(house, key) is not None
    assert await caller_of(house, unknown) is None
    asked = house.app.get_stats()["requests_num"]
    for _ in range(50):
        assert await caller_of(house, key) is not None
        assert await caller_of(house, unknown) is None
        assert await caller_of(house, "no key at all") is None
    assert house.app.get_stats()["requests_num"] == asked


async def test_a_flood_of_unknown_keys_drives_no_real_one_out_of_the_cache(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "CACHE_SIZE", 5)
    made, key = await new_key(house)
    assert await caller_of(house, key) is not None
    async with house.scope() as scope:
        await keys.revoke(scope, made.id, now=house.clock.now())
    for number in range(12):
        assert await caller_of(house, f"rk_{number:043d}") is None
    assert await caller_of(house, key) is not None, "still cached: it was revoked a moment ago"


async def test_last_use_is_written_once_a_minute_at_most(house: House) -> None:
    made, key = await new_key(house)

    async def last_used() -> object:
        return await house.value("SELECT last_used_at FROM api_keys WHERE id = %s", made.id)

    assert await last_used() is None
    first = house.clock.now()
    await caller_of(house, key)
    house.clock.advance(seconds=40)
    await caller_of(house, key)
    assert await last_used() == first
    house.clock.advance(seconds=40)
    await caller_of(house, key)
    assert await last_used() == first + timedelta(seconds=80)


async def test_what_is_no_key_is_nobodys(house: House) -> None:
    _, key = await new_key(house)
    for wrong in ("", key[:-1], key + "A", key + "\n", key.swapcase(), "rk_" + "é" * 43, "rk_\0", "\ud800"):
        assert await caller_of(house, wrong) is None


async def test_many_callers_of_one_key_at_once_are_all_let_in(house: House) -> None:
    _, key = await new_key(house)
    assert None not in await asyncio.gather(*(caller_of(house, key) for _ in range(30)))


async def test_an_owner_lists_and_revokes_no_key_of_another(house: House) -> None:
    made, key = await new_key(house)
    other = await house.another_owner()
    async with scoped(house.app, other.id) as scope:
        assert await keys.list_(scope) == []
        with pytest.raises(NotFound):
            await keys.revoke(scope, made.id, now=house.clock.now())
    async with house.scope() as scope:
        assert [listed.id for listed in await keys.list_(scope)] == [made.id]
    assert await caller_of(house, key) is not None


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("", ["read"]), ("  ", ["read"]), ("x" * 101, ["read"]), ("shop", []), ("shop", ["root"]), ("s", ["read", "x"])],
)
async def test_a_key_without_a_name_or_with_other_scopes_is_wrong_use(
    house: House, name: str, scopes: list[str]
) -> None:
    async with house.scope() as scope:
        with pytest.raises(UsageError):
            await keys.make(scope, name=name, scopes=scopes)


async def test_the_database_too_refuses_a_scope_that_there_is_not(house: House) -> None:
    made, _ = await new_key(house)
    async with house.scope() as scope:
        with pytest.raises(CheckViolation):
            await scope.conn.execute("UPDATE api_keys SET scopes = '{root}' WHERE id = %s", [made.id])
