"""What somebody lent ends with what they had: invitations by people and keys, in whichever order it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from recado.db.scope import scoped
from recado.errors import Forbidden, NotFound
from recado.identity import authority, invitations, keys, sessions, sign_in, users
from recado.identity.callers import Caller, at_command_line, of_user
from recado.identity.users import User
from recado.ids import new_id
from tests.identity.conftest import CHEAP, PASSWORD, House

ROOT = at_command_line("root")
NEW = "um outro segredo bom"
EVA = "eva@padaria.example"


def caller_of(user: User) -> Caller:
    return of_user(user_id=user.id, owner_id=user.owner_id, role=user.role, email=user.email)


async def key_of(house: House, by: Caller, *, lasts: timedelta | None = None) -> Caller:
    now = house.clock.now()
    async with house.scope() as scope:
        made, _ = await keys.make(
            scope, name="CRM", scopes=["admin"], expires_at=now + lasts if lasts else None, by=by, now=now
        )
    return Caller(kind="key", id=made.id, owner_id=house.owner.id, scopes=frozenset({"admin"}), role=None, name="CRM")


async def invite(house: House, by: Caller, *, email: str = EVA, role: str = "admin") -> str:
    async with house.scope() as scope:
        return (await invitations.make(scope, email=email, role=role, by=by, now=house.clock.now()))[1]


async def accept(house: House, token: str) -> User:
    return await invitations.accept(house.platform, token, NEW, clock=house.clock, hashing=CHEAP)


async def two_admins(house: House) -> tuple[User, User]:
    return await house.user("boss@padaria.example", role="admin"), await house.user("ana@padaria.example", role="admin")


async def disabled(house: House, ana: User) -> None:
    async with house.scope() as scope:
        await users.disable(scope, ana.id, now=house.clock.now())


async def demoted(house: House, ana: User) -> None:
    async with house.scope() as scope:
        await users.change(scope, ana.id, role="operator", now=house.clock.now())


async def added_anew_as_less(house: House, ana: User) -> None:
    async with house.scope() as scope:
        await users.put(scope, email=ana.email, role="viewer", password_hash="x", now=house.clock.now())


async def demoted_behind_our_back(house: House, ana: User) -> None:
    await house.value("UPDATE users SET role = 'viewer' WHERE id = %s RETURNING 1", ana.id)


async def moved_behind_our_back(house: House, ana: User) -> None:
    other = await house.another_owner()
    await house.value("UPDATE users SET owner_id = %s WHERE id = %s RETURNING 1", other.id, ana.id)


Act = Callable[[House, User], Awaitable[None]]
WAYS = [disabled, demoted, added_anew_as_less, demoted_behind_our_back, moved_behind_our_back]


@pytest.mark.parametrize("act", WAYS)
@pytest.mark.parametrize("through", [0, 1, 2])
async def test_nobody_comes_in_by_an_invitation_of_somebody_dismissed_or_of_a_key_of_theirs(
    house: House, act: Act, through: int
) -> None:
    _, ana = await two_admins(house)
    by = caller_of(ana)
    for _ in range(through):
        by = await key_of(house, by)
    token = await invite(house, by)
    await act(house, ana)
    with pytest.raises(NotFound):
        await accept(house, token)
    async with house.scope() as scope:
        assert EVA not in [user.email for user in await users.list_(scope)]


@pytest.mark.parametrize("act", WAYS[:3])
async def test_made_admin_again_they_have_lent_nothing(house: House, act: Act) -> None:
    _, ana = await two_admins(house)
    token = await invite(house, caller_of(ana))
    await act(house, ana)
    async with house.scope() as scope:
        await users.change(scope, ana.id, role="admin", status="active", now=house.clock.now())
        [invited] = await invitations.list_(scope)
    assert invited.revoked_at == house.clock.now()
    with pytest.raises(NotFound):
        await accept(house, token)
    await accept(house, await invite(house, caller_of(ana)))


@pytest.mark.parametrize("first", ["dismissal", "acceptance"])
async def test_of_a_dismissal_and_an_acceptance_at_once_one_comes_first(house: House, first: str) -> None:
    _, ana = await two_admins(house)
    token = await invite(house, caller_of(ana))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    if first == "dismissal":
        async with house.scope() as scope:
            await users.disable(scope, ana.id, now=house.clock.now())
            accepting = asyncio.create_task(accept(house, token))
            while not await house.value(waiting):
                await asyncio.sleep(0.01)
        with pytest.raises(NotFound):
            await accepting
        return
    async with house.platform.connection() as conn, conn.transaction():
        # As `accept` holds them until its commit.
        await authority.hold_admins(conn, house.owner.id)
        assert await authority.stands(conn, authority.maker(caller_of(ana)), house.owner.id, now=house.clock.now())
        dismissing = asyncio.create_task(disabled(house, ana))
        while not await house.value(waiting):
            await asyncio.sleep(0.01)
    await dismissing


async def test_many_dismissals_and_acceptances_at_once_never_wait_for_each_other_in_a_circle(house: House) -> None:
    await house.user("boss@padaria.example", role="admin")
    for number in range(8):
        ana = await house.user(f"ana{number}@padaria.example", role="admin")
        target = await house.user(f"eva{number}@padaria.example")
        key = await key_of(house, caller_of(ana))
        token = await invite(house, caller_of(ana), email=target.email, role="viewer")
        second = await invite(house, key, email=f"new{number}@padaria.example")
        results = await asyncio.gather(
            accept(house, token),
            disabled(house, ana),
            accept(house, second),
            disabled(house, target),
            return_exceptions=True,
        )
        assert {type(result).__name__ for result in results} <= {"User", "NotFound", "NoneType", "Conflict"}, results


async def test_a_revoked_or_expired_key_has_lent_nothing(house: House) -> None:
    for ends in ("revoked", "expired"):
        key = await key_of(house, ROOT, lasts=timedelta(hours=1))
        made = await key_of(house, key)
        tokens = [await invite(house, by, email=f"{ends}{by.id}@x.example") for by in (key, made)]
        assert key.id is not None
        if ends == "revoked":
            async with house.scope() as scope:
                await keys.revoke(scope, key.id, now=house.clock.now())
        else:
            house.clock.advance(hours=1)
        for token in tokens:
            with pytest.raises(NotFound):
                await accept(house, token)
        for by in (key, made):
            with pytest.raises(Forbidden):
                await invite(house, by)
            with pytest.raises(Forbidden):
                await key_of(house, by)


async def test_what_a_dismissed_person_left_behind_is_listed_and_makes_nothing_new(house: House) -> None:
    boss, ana = await two_admins(house)
    key = await key_of(house, caller_of(ana))
    second = await key_of(house, key)
    other = await key_of(house, caller_of(boss))
    await disabled(house, ana)
    async with house.scope() as scope:
        left = await keys.made_by(scope, ana.id, now=house.clock.now())
        assert [one.id for one in left] == [key.id, second.id]
        assert [(one.made_by_kind, one.made_by_id, one.made_by_name) for one in left] == [
            ("user", ana.id, ana.email),
            ("key", key.id, "CRM"),
        ]
    for by in (key, second):
        with pytest.raises(Forbidden):
            await key_of(house, by)
        with pytest.raises(Forbidden):
            await invite(house, by)
    await key_of(house, other)
    with pytest.raises(Forbidden):
        await key_of(house, caller_of(ana))


async def test_an_administrator_of_the_platform_who_is_disabled_has_lent_nothing_to_any_owner(house: House) -> None:
    root = await house.administrator()
    token = await invite(house, caller_of(root))
    key = await key_of(house, caller_of(root))
    async with house.platform.connection() as conn, conn.transaction():
        await users.disable(conn, root.id, now=house.clock.now())
    with pytest.raises(NotFound):
        await accept(house, token)
    with pytest.raises(Forbidden):
        await invite(house, key)


async def test_no_owners_user_gives_an_admin_or_themselves_another_password(house: House) -> None:
    boss, ana = await two_admins(house)
    for email, why in ((boss.email, "theirs alone"), (ana.email, "themselves"), (boss.email.upper(), "theirs alone")):
        with pytest.raises(Forbidden, match=why):
            await invite(house, caller_of(ana), email=email, role="viewer")
    rui = await house.user("rui@padaria.example")
    token = await invite(house, caller_of(ana), email=rui.email, role="viewer")
    async with house.scope() as scope:
        await users.change(scope, rui.id, role="admin", now=house.clock.now())
    with pytest.raises(NotFound):
        await accept(house, token)
    signed_in = await sign_in.sign_in(
        house.platform, email=rui.email, password=PASSWORD, source="", clock=house.clock, hashing=CHEAP
    )
    assert signed_in.user.role == "admin"
    await accept(house, await invite(house, ROOT, email=boss.email))


async def test_what_a_user_does_against_a_thief_ends_the_invitation_that_would_give_another_password(
    house: House,
) -> None:
    rui = await house.user("rui@padaria.example")
    for act in ("password", "everywhere", "off and on"):
        token = await invite(house, ROOT, email=rui.email, role="operator")
        async with house.scope() as scope:
            if act == "password":
                await users.set_password(scope, rui.id, password_hash=CHEAP.hash(PASSWORD), now=house.clock.now())
            elif act == "everywhere":
                await users.end_sessions(scope, rui.id, now=house.clock.now())
            else:
                await users.disable(scope, rui.id, now=house.clock.now())
                await users.enable(scope, rui.id, now=house.clock.now())
        with pytest.raises(NotFound):
            await accept(house, token)


async def test_accepting_signs_nobody_in_and_ends_no_session_of_anybody_else(house: House) -> None:
    boss, ana = await two_admins(house)
    other = await house.another_owner()
    tokens = []
    for user in (boss, ana):
        async with house.platform.connection() as conn, conn.transaction():
            tokens.append((await sessions.begin(conn, user, now=house.clock.now()))[1])
    async with scoped(house.app, other.id) as scope:
        _, token = await invitations.make(scope, email=boss.email, role="admin", by=ROOT, now=house.clock.now())
    made = await accept(house, token)
    assert (made.owner_id, made.id == boss.id) == (other.id, False)
    for token in tokens:
        assert await sessions.authenticate(house.app, token, clock=house.clock) is not None
    assert await house.value("SELECT count(*) FROM sessions") == 2


@pytest.mark.parametrize("through", [0, 1])
async def test_what_is_made_at_the_moment_of_the_dismissal_ends_with_it(house: House, through: int) -> None:
    _, ana = await two_admins(house)
    by = caller_of(ana) if not through else await key_of(house, caller_of(ana))
    async with house.scope() as scope:
        await invitations.make(scope, email=EVA, role="admin", by=by, now=house.clock.now())
        dismissing = asyncio.create_task(disabled(house, ana))
        while not await house.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not dismissing.done(), "nobody waits for what is being made"
            await asyncio.sleep(0.01)
    await dismissing
    async with house.scope() as scope:
        [invited] = await invitations.list_(scope)
    assert invited.revoked_at is not None


async def test_what_a_key_makes_at_the_moment_of_its_revocation_ends_with_it(house: House) -> None:
    key = await key_of(house, ROOT)

    async def revoke() -> None:
        async with house.scope() as scope:
            await keys.revoke(scope, key.id or new_id(), now=house.clock.now())

    async with house.scope() as scope:
        await invitations.make(scope, email=EVA, role="admin", by=key, now=house.clock.now())
        revoking = asyncio.create_task(revoke())
        while not await house.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not revoking.done(), "nobody waits for what is being made"
            await asyncio.sleep(0.01)
    await revoking
    async with house.scope() as scope:
        [invited] = await invitations.list_(scope)
    assert invited.revoked_at is not None


async def test_what_an_administrator_of_the_platform_makes_at_the_moment_of_their_dismissal_ends_with_it(
    house: House,
) -> None:
    root = await house.administrator()

    async def disable() -> None:
        async with house.platform.connection() as conn, conn.transaction():
            await users.disable(conn, root.id, now=house.clock.now())

    async with house.scope() as scope:
        await invitations.make(scope, email=EVA, role="admin", by=caller_of(root), now=house.clock.now())
        dismissing = asyncio.create_task(disable())
        while not await house.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not dismissing.done(), "nobody waits for what is being made"
            await asyncio.sleep(0.01)
    await dismissing
    async with house.scope() as scope:
        [invited] = await invitations.list_(scope)
    assert invited.revoked_at is not None


async def test_a_key_without_the_scope_admin_lends_nothing_whoever_asks_in_its_name(house: House) -> None:
    async with house.scope() as scope:
        made, _ = await keys.make(scope, name="CRM", scopes=["write"], by=ROOT, now=house.clock.now())
    claiming = Caller(
        kind="key", id=made.id, owner_id=house.owner.id, scopes=frozenset({"admin"}), role=None, name="CRM"
    )
    with pytest.raises(Forbidden):
        await invite(house, claiming)


async def test_another_owners_key_lends_nothing_here(house: House) -> None:
    key = await key_of(house, ROOT)
    other = await house.another_owner()
    async with house.platform.connection() as conn:
        owners = [house.owner.id, other.id, None]
        stands = [await authority.stands(conn, authority.maker(key), one, now=house.clock.now()) for one in owners]
    assert stands == [True, False, False]


async def test_who_accepts_and_who_changes_the_user_at_once_wait_in_one_order(house: House) -> None:
    rui = await house.user("rui@padaria.example")
    token = await invite(house, ROOT, email=rui.email, role="operator")
    async with house.scope() as scope:
        await scope.conn.execute("UPDATE users SET password_changed_at = now() WHERE id = %s", [rui.id])
        accepting = asyncio.create_task(accept(house, token))
        while not await house.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not accepting.done()
            await asyncio.sleep(0.01)
        await users.end_sessions(scope, rui.id, now=house.clock.now())
    with pytest.raises(NotFound):
        await accepting
