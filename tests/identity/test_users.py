from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from recado.db.scope import scoped
from recado.errors import Conflict, NotFound, UsageError
from recado.identity import audit, invitations, keys, owners, plans, users
from recado.identity.callers import at_command_line
from recado.identity.sign_in import sign_in
from recado.identity.users import User
from tests.identity.conftest import CHEAP, PASSWORD, House


async def test_an_address_is_one_user_however_it_is_written(house: House) -> None:
    first = await house.user("ana@padaria.example")
    again = await house.user(" ANA@padaria.Example ", role="viewer")
    assert (again.id, again.role) == (first.id, "viewer")


async def test_an_address_is_a_user_of_each_owner_on_its_own(house: House) -> None:
    ana = await house.user("ana@padaria.example")
    other = await house.another_owner()
    given = {"email": ana.email, "role": "admin", "password_hash": "x", "now": house.clock.now()}
    async with scoped(house.app, other.id) as scope:
        theirs, made = await users.put(scope, **given)
    async with house.platform.connection() as conn:
        root, also = await users.put(conn, **given)
        again, anew = await users.put(conn, **given)
    assert (made, also, anew) == (True, True, False)
    assert (len({ana.id, theirs.id, root.id}), again.id) == (3, root.id)
    async with house.scope() as scope:
        assert await users.get(scope, ana.id) == ana


async def test_owners_users_and_administrators_are_apart(house: House) -> None:
    ana, admin, other = await house.user(), await house.administrator(), await house.another_owner()
    async with house.scope() as scope:
        assert [user.id for user in await users.list_(scope)] == [ana.id]
        with pytest.raises(NotFound):
            await users.get(scope, admin.id)
        with pytest.raises(NotFound):
            await users.disable(scope, admin.id, now=house.clock.now())
    async with house.platform.connection() as conn:
        assert [user.id for user in await users.list_(conn)] == [admin.id]
    async with scoped(house.app, other.id) as scope:
        for change in (
            users.enable(scope, ana.id, now=house.clock.now()),
            users.change(scope, ana.id, role="admin", now=house.clock.now()),
            users.get(scope, ana.id),
        ):
            with pytest.raises(NotFound):
                await change


async def test_an_owner_keeps_one_active_admin_whatever_is_done(house: House) -> None:
    ana = await house.user(role="admin")
    now = house.clock.now()
    await house.user("rui@padaria.example", role="viewer")
    for change in (
        lambda scope: users.disable(scope, ana.id, now=now),
        lambda scope: users.change(scope, ana.id, role="viewer", now=now),
        lambda scope: users.put(scope, email=ana.email, role="operator", password_hash="x", now=now),
    ):
        async with house.scope() as scope:
            with pytest.raises(Conflict, match="last active admin"):
                await change(scope)
    async with house.scope() as scope:
        assert (await users.get(scope, ana.id)) == ana
    eva = await house.user("eva@padaria.example", role="admin")
    async with house.scope() as scope:
        assert (await users.change(scope, ana.id, role="viewer", now=now)).role == "viewer"
        with pytest.raises(Conflict):
            await users.disable(scope, eva.id, now=now)
    # One who is disabled is none who could let others in.
    async with house.scope() as scope:
        await users.change(scope, ana.id, role="admin", status="disabled", now=now)
        with pytest.raises(Conflict):
            await users.disable(scope, eva.id, now=now)


async def test_of_two_admins_who_dismiss_each_other_at_once_one_stays(house: House) -> None:
    ana, eva = await house.user(role="admin"), await house.user("eva@padaria.example", role="admin")

    async def dismiss(user: User) -> User:
        async with house.scope() as scope:
            return await users.change(scope, user.id, role="viewer", now=house.clock.now())

    for _ in range(10):
        results = await asyncio.gather(dismiss(ana), dismiss(eva), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "User"]
        async with house.scope() as scope:
            assert [user.role for user in await users.list_(scope)].count("admin") == 1
            for user in (ana, eva):
                await users.change(scope, user.id, role="admin", now=house.clock.now())


@pytest.mark.parametrize("given", [{"status": "disabled"}, {"name": "Ana"}])
async def test_whoever_changes_a_user_whom_somebody_holds_waits_and_neither_waits_for_the_other(
    house: House, given: dict[str, Any]
) -> None:
    ana, _ = await house.user(role="admin"), await house.user("eva@padaria.example", role="admin")
    waiting = """
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE datname = current_database() AND NOT granted
    """

    async def change() -> None:
        async with house.scope() as scope:
            await users.change(scope, ana.id, **given, now=house.clock.now())

    async with house.scope() as scope:
        await users.get(scope, ana.id, lock=True)
        second = asyncio.create_task(change())
        async with asyncio.timeout(20):
            while await house.value(waiting) == 0:
                assert not second.done()
                await asyncio.sleep(0.02)
        await users.change(scope, ana.id, role="viewer", now=house.clock.now())
    await second
    async with house.scope() as scope:
        left = await users.get(scope, ana.id)
    assert (left.role, left.version) == ("viewer", ana.version + 2)
    assert {name: getattr(left, name) for name in given} == given


async def test_a_users_version_grows_with_name_role_and_status_and_with_nothing_else(house: House) -> None:
    ana, now = await house.user(), house.clock.now()
    assert ana.version == 1
    again: dict[str, Any] = {"email": ana.email, "password_hash": "y", "now": now}
    for change, grows in (
        (lambda scope: users.change(scope, ana.id, name="Ana", now=now), True),
        (lambda scope: users.change(scope, ana.id, name="Ana", role="operator", status="active", now=now), False),
        (lambda scope: users.disable(scope, ana.id, now=now), True),
        (lambda scope: users.enable(scope, ana.id, now=now), True),
        (lambda scope: users.put(scope, role="viewer", **again), True),
        (lambda scope: users.put(scope, role="viewer", **again), False),
        (lambda scope: users.put(scope, role="viewer", name="Ana Lima", **again), True),
        (lambda scope: users.set_password(scope, ana.id, password_hash=CHEAP.hash(PASSWORD), now=now), False),
    ):
        async with house.scope() as scope:
            before = (await users.get(scope, ana.id)).version
            await change(scope)
            assert (await users.get(scope, ana.id)).version == before + grows
    signed_in = await sign_in(house.platform, email=ana.email, password=PASSWORD, source="", hashing=CHEAP)
    async with house.scope() as scope:
        assert (await users.get(scope, ana.id)).version == signed_in.user.version == 6


async def test_an_owners_version_grows_with_name_status_and_plan(house: House) -> None:
    owner = await house.another_owner("Terceira")
    async with house.platform.connection() as conn, conn.transaction():
        await plans.add(conn, "small", messages=100)
        for change, grows in (
            (lambda: owners.rename(conn, owner.id, "Quarta"), True),
            (lambda: owners.rename(conn, owner.id, " Quarta"), False),
            (lambda: owners.set_status(conn, owner.id, "suspended"), True),
            (lambda: owners.set_status(conn, owner.id, "suspended"), False),
            (lambda: plans.assign(conn, owner.id, "small"), True),
            (lambda: plans.assign(conn, owner.id, "small"), False),
            (lambda: plans.release(conn, owner.id), True),
        ):
            before = (await owners.get(conn, owner.id)).version
            await change()
            assert (await owners.get(conn, owner.id)).version == before + grows
        assert (await owners.get(conn, owner.id)).version == 5


async def test_a_platform_administrator_may_go_although_none_is_left(house: House) -> None:
    admin = await house.administrator()
    async with house.platform.connection() as conn:
        assert (await users.disable(conn, admin.id, now=house.clock.now())).status == "disabled"


async def test_a_name_is_one_line_of_what_can_be_seen(house: House) -> None:
    ana = await house.user()
    async with house.scope() as scope:
        named = await users.change(scope, ana.id, name="  Ana\n Luísa ", now=house.clock.now())
        assert named.name == "Ana Luísa"
        for wrong in ("a" * 201, "Ana\u202e", "Ana\0"):
            with pytest.raises(UsageError):
                await users.change(scope, ana.id, name=wrong, now=house.clock.now())


async def test_the_platform_names_owners_and_no_two_alike(house: House) -> None:
    other = await house.another_owner()
    async with house.platform.connection() as conn, conn.transaction():
        assert (await owners.rename(conn, house.owner.id, " Padaria  Nova ")).name == "Padaria Nova"
        await owners.rename(conn, house.owner.id, house.owner.name)
        with pytest.raises(NotFound):
            await owners.rename(conn, uuid4(), "Minha")
    async with house.platform.connection() as conn:
        with pytest.raises(Conflict):
            await owners.rename(conn, house.owner.id, other.name)


async def test_an_owner_may_change_nothing_of_itself(house: House) -> None:
    for change in ("name = 'Padaria Nova'", "status = 'suspended'", "plan_id = NULL", "version = 1", "id = id"):
        async with house.scope() as scope:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await scope.conn.execute(f"UPDATE owners SET {change}")


async def test_an_owner_can_make_no_platform_administrator(house: House) -> None:
    ana = await house.user()
    async with house.scope() as scope:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scope.conn.execute("UPDATE users SET owner_id = NULL, role = 'admin' WHERE id = %s", [ana.id])
    async with house.scope() as scope:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scope.conn.execute(
                "INSERT INTO users (id, email, role, password_hash, password_changed_at) "
                "VALUES (gen_random_uuid(), 'x@x.example', 'admin', 'x', now())"
            )


async def test_a_session_can_not_point_to_another_owners_user(house: House) -> None:
    ana, other = await house.user(), await house.another_owner()
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with scoped(house.app, other.id) as scope:
            await scope.conn.execute(
                "INSERT INTO sessions (owner_id, id, user_id, token_hash, created_at, last_seen_at) "
                "VALUES (%s, gen_random_uuid(), %s, sha256('x'), now(), now())",
                [other.id, ana.id],
            )


async def test_a_role_that_there_is_not_is_wrong_use(house: House) -> None:
    ana = await house.user()
    async with house.scope() as scope:
        with pytest.raises(UsageError):
            await users.change(scope, ana.id, role="root", now=house.clock.now())
    async with house.platform.connection() as conn:
        with pytest.raises(UsageError):
            await users.put(conn, email="x@x.example", role="viewer", password_hash="x", now=house.clock.now())


async def test_an_owner_is_suspended_and_active_again(house: House) -> None:
    async with house.platform.connection() as conn:
        assert (await owners.set_status(conn, house.owner.id, "suspended")).status == "suspended"
        assert (await owners.get(conn, house.owner.id)).status == "suspended"
        assert (await owners.set_status(conn, house.owner.id, "active")).status == "active"
        with pytest.raises(NotFound):
            await owners.set_status(conn, (await house.user()).id, "active")


async def test_the_database_holds_no_password_key_or_token_in_clear(house: House) -> None:
    await house.user()
    async with house.scope() as scope:
        _, key = await keys.make(scope, name="shop", scopes=["admin"])
        _, invitation = await invitations.make(
            scope, email="eva@x.example", role="viewer", by=at_command_line("root"), now=house.clock.now()
        )
    signed_in = await sign_in(
        house.platform,
        email="ana@padaria.example",
        password=PASSWORD,
        source="192.0.2.99",
        clock=house.clock,
        hashing=CHEAP,
    )
    await keys.authenticate(house.app, key, clock=house.clock)
    async with house.platform.connection() as conn:
        tables = await (
            await conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'recado' ORDER BY 1")
        ).fetchall()
        dump = ""
        for table in tables:
            rows = await conn.execute(f"SELECT t::text AS row FROM {table['tablename']} t")
            dump += "\n".join(row["row"] for row in await rows.fetchall())
    assert "ana@padaria.example" in dump
    assert "192.0.2.99" not in dump
    for secret in (PASSWORD, key, invitation, signed_in.token, signed_in.browser):
        assert secret[8:] not in dump
        assert secret[8:].encode().hex() not in dump


async def test_the_audit_is_kept_with_the_change_or_not_at_all_and_nobody_can_alter_it(house: House) -> None:
    caller = at_command_line("maria")
    with suppress(RuntimeError):
        async with house.scope() as scope:
            await audit.record(scope, caller, "add", "number", "1")
            raise RuntimeError
    async with house.scope() as scope:
        assert await audit.entries(scope) == []
        await audit.record(scope, caller, "add", "number", "2", {"address": "whatsapp:+14155238886"})
    for pool in (house.app, house.platform):
        for statement in ("UPDATE audit SET action = 'x'", "TRUNCATE audit"):
            async with scoped(pool, house.owner.id) as scope:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await scope.conn.execute(statement)
    async with house.scope() as scope:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scope.conn.execute("DELETE FROM audit")
    async with house.platform.connection() as conn:
        # Of what goes across owners PostgreSQL hides young entries when it deletes (`tests/ops/test_periods.py`).
        assert (await conn.execute("DELETE FROM audit")).rowcount == 0
    async with house.scope() as scope:
        [entry] = await audit.entries(scope)
    assert (entry.caller_kind, entry.caller_name, entry.thing_id) == ("cli", "maria", "2")
    assert entry.data == {"address": "whatsapp:+14155238886"}


async def test_an_owner_reads_and_writes_its_own_audit_only(house: House) -> None:
    caller, other = at_command_line("maria"), await house.another_owner()
    async with house.platform.connection() as conn:
        await audit.record(conn, caller, "add", "owner", "o", owner_id=other.id)
        await audit.record(conn, caller, "add", "user", "u")
    async with house.scope() as scope:
        assert await audit.entries(scope) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scope.conn.execute(
                "INSERT INTO audit (owner_id, caller_kind, caller_name, action, thing) "
                "VALUES (%s, 'cli', 'x', 'x', 'x')",
                [other.id],
            )
    async with house.platform.connection() as conn:
        assert [entry.thing for entry in await audit.entries(conn)] == ["user", "owner"]
        assert [entry.thing for entry in await audit.entries(conn, owner_id=other.id)] == ["owner"]


async def test_the_audit_is_read_in_pages(house: House) -> None:
    async with house.scope() as scope:
        for number in range(5):
            await audit.record(scope, at_command_line("maria"), "add", "number", str(number))
        first = await audit.entries(scope, limit=3)
        rest = await audit.entries(scope, limit=3, before=first[-1].id)
    assert [entry.thing_id for entry in first + rest] == ["4", "3", "2", "1", "0"]
