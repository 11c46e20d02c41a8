from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.db.scope import scoped
from recado.errors import NotFound
from recado.identity import sessions, users
from recado.identity.sessions import IDLE, LONGEST, SEEN_EVERY, Session, cookie
from tests.identity.conftest import CHEAP, House

START = datetime(2026, 3, 1, tzinfo=UTC)


def session_of(*, seen: datetime, revoked: datetime | None = None) -> Session:
    return Session(id=uuid4(), owner_id=None, user_id=uuid4(), created_at=START, last_seen_at=seen, revoked_at=revoked)


@given(st.lists(st.floats(0, 3 * 3600), max_size=80))
def test_a_session_lives_while_it_is_used_but_never_past_its_longest_time(pauses: list[float]) -> None:
    seen = now = START
    alive = True
    for pause in pauses:
        now += timedelta(seconds=pause)
        expected = alive and now - seen < IDLE and now - START < LONGEST
        assert session_of(seen=seen).is_alive(now) is expected
        alive = expected
        if not alive:
            break
        seen = now


@given(st.floats(0, 30 * 24 * 3600))
def test_a_session_that_has_ended_stays_so(later_s: float) -> None:
    session = session_of(seen=START)
    assert not session.is_alive(session.ends_at + timedelta(seconds=later_s))


@given(st.floats(0, 24 * 3600))
def test_a_revoked_session_is_never_alive(later_s: float) -> None:
    assert not session_of(seen=START, revoked=START).is_alive(START + timedelta(seconds=later_s))


def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http() -> None:
    kept = cookie(secure=True)
    assert (kept.secure, kept.httponly, kept.samesite, kept.path) == (True, True, "lax", "/")
    assert kept.name.startswith("__Host-")
    plain = cookie(secure=False)
    assert (plain.secure, plain.httponly, plain.samesite) == (False, True, "lax")
    assert not plain.name.startswith("__")


async def begin(house: House) -> tuple[Session, str]:
    user = await house.user()
    async with house.platform.connection() as conn:
        return await sessions.begin(conn, user, now=house.clock.now())


async def lets_in(house: House, token: str) -> bool:
    return await sessions.authenticate(house.app, token, clock=house.clock) is not None


async def test_use_prolongs_a_session_until_its_longest_time(house: House) -> None:
    _, token = await begin(house)
    step = IDLE - SEEN_EVERY
    for _ in range(int(LONGEST / step)):
        house.clock.advance(seconds=step.total_seconds())
        assert await lets_in(house, token)
    house.clock.advance(seconds=step.total_seconds())
    assert not await lets_in(house, token)


async def test_a_session_that_is_not_used_ends(house: House) -> None:
    _, token = await begin(house)
    house.clock.advance(seconds=IDLE.total_seconds())
    assert not await lets_in(house, token)


async def test_last_seen_is_written_once_a_minute_at_most(house: House) -> None:
    _, token = await begin(house)
    writes = "SELECT xmin::text FROM sessions"
    before = await house.value(writes)
    house.clock.advance(seconds=59)
    assert await lets_in(house, token)
    assert await house.value(writes) == before
    house.clock.advance(seconds=1)
    assert await lets_in(house, token)
    assert await house.value(writes) != before


async def test_signing_out_ends_the_session_at_once(house: House) -> None:
    _, token = await begin(house)
    assert await lets_in(house, token)
    async with house.platform.connection() as conn:
        assert await sessions.end(conn, token, now=house.clock.now())
        assert not await sessions.end(conn, token, now=house.clock.now())
    assert not await lets_in(house, token)


async def test_a_new_password_and_disabling_end_all_sessions_of_the_user(house: House) -> None:
    session, token = await begin(house)
    async with house.scope() as scope:
        assert [alive.id for alive in await sessions.list_(scope, session.user_id, now=house.clock.now())] == [
            session.id
        ]
        hashed = CHEAP.hash("another good password")
        await users.set_password(scope, session.user_id, password_hash=hashed, now=house.clock.now())
        assert await sessions.list_(scope, session.user_id, now=house.clock.now()) == []
    assert not await lets_in(house, token)
    _, token = await begin(house)
    async with house.scope() as scope:
        await users.disable(scope, session.user_id, now=house.clock.now())
    assert not await lets_in(house, token)
    async with house.scope() as scope:
        await users.enable(scope, session.user_id, now=house.clock.now())
    assert not await lets_in(house, token), "what ended stays so"


async def test_a_user_ends_one_session_of_their_own_and_no_other(house: House) -> None:
    ana = await house.user()
    async with house.platform.connection() as conn:
        (first, token), (_, kept) = [await sessions.begin(conn, ana, now=house.clock.now()) for _ in range(2)]
    rui = await house.user("rui@padaria.example")
    async with house.scope() as scope:
        with pytest.raises(NotFound):
            await sessions.end_one(scope, rui.id, first.id, now=house.clock.now())
        await sessions.end_one(scope, first.user_id, first.id, now=house.clock.now())
        with pytest.raises(NotFound):
            await sessions.end_one(scope, first.user_id, first.id, now=house.clock.now())
    assert not await lets_in(house, token)
    assert await lets_in(house, kept)


async def test_the_application_role_knows_a_platform_administrators_session_by_its_token_only(house: House) -> None:
    admin = await house.administrator()
    async with house.platform.connection() as conn:
        _, token = await sessions.begin(conn, admin, now=house.clock.now())
    async with house.app.connection() as conn:
        for query in ("SELECT * FROM sessions", "SELECT * FROM users", "SELECT * FROM session_by_hash(NULL)"):
            assert await (await conn.execute(query)).fetchall() == []
    house.clock.advance(minutes=90)
    assert await lets_in(house, token)
    house.clock.advance(minutes=90)
    assert await lets_in(house, token), "its use counts as any other's"


async def test_a_session_lets_no_disabled_user_in_however_they_were_disabled(house: House) -> None:
    _, token = await begin(house)
    async with house.platform.connection() as conn:
        await conn.execute("UPDATE users SET status = 'disabled'")
    assert not await lets_in(house, token)


async def test_another_role_counts_with_the_next_request(house: House) -> None:
    session, token = await begin(house)
    async with house.scope() as scope:
        await users.change(scope, session.user_id, role="viewer", now=house.clock.now())
    found = await sessions.authenticate(house.app, token, clock=house.clock)
    assert found is not None
    _, caller = found
    assert (caller.role, caller.may("read"), caller.may("write")) == ("viewer", True, False)


async def test_what_is_no_token_is_no_session(house: House) -> None:
    _, token = await begin(house)
    for wrong in ("", token[:-1], token + "A", "rs_" + "A" * 43, token.replace("rs_", "rk_"), "rs_\0", "\ud800"):
        assert not await lets_in(house, wrong)


async def test_another_owner_sees_and_ends_no_session(house: House) -> None:
    session, token = await begin(house)
    other = await house.another_owner()
    async with scoped(house.app, other.id) as scope:
        assert await sessions.list_(scope, session.user_id, now=house.clock.now()) == []
        assert await users.end_sessions(scope, session.user_id, now=house.clock.now()) == 0
    assert await lets_in(house, token)


async def test_sessions_that_ended_long_ago_are_deleted(house: House) -> None:
    await begin(house)
    async with house.platform.connection() as conn:
        house.clock.advance(days=30)
        assert await sessions.delete_old(conn, now=house.clock.now()) == 0
        house.clock.advance(days=2)
        assert await sessions.delete_old(conn, now=house.clock.now()) == 1
