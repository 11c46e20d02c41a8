from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from recado.db.scope import scoped
from recado.errors import Conflict, Forbidden, NotFound, RecadoError, UsageError
from recado.identity import audit, invitations, keys, users
from recado.identity.callers import Caller, at_command_line, of_user
from recado.identity.invitations import LASTS, Invitation
from recado.identity.sign_in import sign_in
from recado.identity.users import User
from tests.identity.conftest import CHEAP, PASSWORD, House

EMAIL = "eva@padaria.example"


ROOT = at_command_line("root")


async def invite(
    house: House, *, role: str = "operator", email: str = EMAIL, by: Caller = ROOT
) -> tuple[Invitation, str]:
    async with house.scope() as scope:
        return await invitations.make(scope, email=email, role=role, by=by, now=house.clock.now())


async def a_key(house: House, by: Caller = ROOT) -> Caller:
    """A key with the scope admin, as a caller."""
    async with house.scope() as scope:
        made, _ = await keys.make(scope, name="CRM", scopes=["admin"], by=by, now=house.clock.now())
    return Caller(kind="key", id=made.id, owner_id=house.owner.id, scopes=frozenset({"admin"}), role=None, name="CRM")


async def accept(house: House, token: str, password: str = PASSWORD) -> User:
    return await invitations.accept(house.platform, token, password, clock=house.clock, hashing=CHEAP)


async def signs_in(house: House, email: str, password: str) -> Any:
    return await sign_in(
        house.platform, email=email, password=password, source="192.0.2.1", clock=house.clock, hashing=CHEAP
    )


async def test_an_invited_user_chooses_a_password_and_signs_in_with_the_invited_role(house: House) -> None:
    made, token = await invite(house, role="viewer", email=" Eva@Padaria.EXAMPLE")
    user = await accept(house, token)
    assert (user.email, user.role, user.owner_id) == (EMAIL, "viewer", house.owner.id)
    assert (await signs_in(house, EMAIL, PASSWORD)).caller.role == "viewer"
    async with house.scope() as scope:
        [listed] = await invitations.list_(scope)
        accepted = [entry for entry in await audit.entries(scope) if entry.action == "accept"]
    assert listed.accepted_at == house.clock.now()
    assert [(entry.caller_id, entry.thing_id) for entry in accepted] == [(user.id, str(made.id))]


async def test_an_invitation_works_once_also_when_it_is_used_twice_at_once(house: House) -> None:
    _, token = await invite(house)
    results = await asyncio.gather(*(accept(house, token) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NotFound", "NotFound", "NotFound", "User"]
    with pytest.raises(NotFound):
        await accept(house, token)


async def test_of_two_who_invite_an_address_at_once_each_invites_or_hears_of_the_other(house: House) -> None:
    outcomes = []
    for _ in range(10):
        results = await asyncio.gather(*(invite(house) for _ in range(4)), return_exceptions=True)
        outcomes += [type(result).__name__ for result in results]
        assert await house.value("SELECT count(*) FROM invitations WHERE revoked_at IS NULL") == 1
    assert set(outcomes) <= {"tuple", "Conflict"}
    assert "tuple" in outcomes


async def test_an_invited_user_says_their_name_and_keeps_it_if_they_say_none_later(house: House) -> None:
    for said in ("  Eva  Lima ", "", None):
        _, token = await invite(house)
        user = await invitations.accept(house.platform, token, PASSWORD, name=said, clock=house.clock, hashing=CHEAP)
        assert user.name == "Eva Lima"


async def test_the_last_admin_stays_admin_whatever_they_are_invited_as(house: House) -> None:
    ana = await house.user(EMAIL, role="admin")
    _, token = await invite(house, role="viewer")
    with pytest.raises(Conflict):
        await accept(house, token)
    async with house.scope() as scope:
        assert await users.get(scope, ana.id) == ana
    await house.user("rui@padaria.example", role="admin")
    assert (await accept(house, token)).role == "viewer"


async def test_expired_revoked_replaced_and_invented_tokens_get_the_same_answer(house: House) -> None:
    _, replaced = await invite(house)
    made, revoked = await invite(house)
    async with house.scope() as scope:
        await invitations.revoke(scope, made.id, now=house.clock.now())
    _, expired = await invite(house)
    house.clock.advance(seconds=LASTS.total_seconds())
    answers = set()
    for token in (replaced, revoked, expired, "ri_" + "A" * 43, "", "\ud800", "ri_\0"):
        with pytest.raises(NotFound) as refused:
            await accept(house, token)
        answers.add(str(refused.value))
    assert len(answers) == 1


async def test_an_invitation_lasts_until_it_expires(house: House) -> None:
    _, token = await invite(house)
    house.clock.advance(seconds=(LASTS - timedelta(seconds=1)).total_seconds())
    await accept(house, token)


async def test_a_bad_password_uses_no_invitation_up(house: House) -> None:
    _, token = await invite(house)
    with pytest.raises(UsageError):
        await accept(house, token, "password1234")
    await accept(house, token)


async def test_an_invitation_for_a_user_gives_a_new_password_and_ends_the_sessions(house: House) -> None:
    await house.user(EMAIL, role="viewer")
    await signs_in(house, EMAIL, PASSWORD)
    _, token = await invite(house)
    user = await accept(house, token, "a quite different one")
    assert user.role == "operator"
    assert await house.value("SELECT count(*) FROM sessions WHERE revoked_at IS NULL") == 0
    await signs_in(house, EMAIL, "a quite different one")


async def test_whoever_sets_a_users_password_anew_by_an_invitation_is_named(house: House) -> None:
    boss, ana = await house.user("boss@padaria.example", role="admin"), await house.user(EMAIL)
    by = of_user(user_id=boss.id, owner_id=boss.owner_id, role="admin", email=boss.email)
    made, token = await invite(house, by=by)
    assert (made.resets_password, made.invited_by_kind, made.invited_by_id) == (True, "user", boss.id)
    assert (await accept(house, token, "a quite different one")).id == ana.id
    async with house.scope() as scope:
        accepted = (await audit.entries(scope))[0]
    assert (accepted.caller_id, accepted.data) == (
        ana.id,
        {"role": "operator", "resets_password": True, "invited_by_kind": "user", "invited_by_id": str(boss.id)},
    )


async def test_an_invitation_from_before_the_user_gives_them_no_password(house: House) -> None:
    key = await a_key(house)
    _, token = await invite(house, by=key)
    await house.user(EMAIL)
    with pytest.raises(Conflict):
        await accept(house, token, "a quite different one")
    await signs_in(house, EMAIL, PASSWORD)
    with pytest.raises(Forbidden):
        await invite(house, by=key)


async def test_an_invitation_enables_no_disabled_user(house: House) -> None:
    disabled = await house.user(EMAIL)
    async with house.scope() as scope:
        await users.disable(scope, disabled.id, now=house.clock.now())
    before = await house.value("SELECT json_agg(u ORDER BY id) FROM users u")
    _, token = await invite(house)
    with pytest.raises(Conflict):
        await accept(house, token, "a quite different one")
    assert await house.value("SELECT json_agg(u ORDER BY id) FROM users u") == before


async def test_the_platforms_invitation_makes_an_administrator_and_no_owner_sees_it(house: House) -> None:
    async with house.platform.connection() as conn, conn.transaction():
        _, token = await invitations.make(
            conn, email="root@platform.example", role="admin", by=ROOT, now=house.clock.now()
        )
        with pytest.raises(UsageError):
            await invitations.make(conn, email="x@platform.example", role="viewer", by=ROOT, now=house.clock.now())
    async with house.scope() as scope:
        assert await invitations.list_(scope) == []
    user = await accept(house, token)
    assert user.owner_id is None
    assert (await signs_in(house, user.email, PASSWORD)).caller.kind == "platform"


async def test_an_accepted_invitation_stays_accepted_and_another_owners_is_not_found(house: House) -> None:
    made, token = await invite(house)
    other = await house.another_owner()
    async with scoped(house.app, other.id) as scope:
        with pytest.raises(NotFound):
            await invitations.revoke(scope, made.id, now=house.clock.now())
    await accept(house, token)
    async with house.scope() as scope:
        assert (await invitations.revoke(scope, made.id, now=house.clock.now())).revoked_at is None


@pytest.mark.parametrize(
    ("email", "role"),
    [("", "viewer"), ("eva", "viewer"), ("eva@x", "viewer"), ("a b@x.example", "viewer"), ("éva@x.example", "viewer"),
     ("\u212aai@x.example", "viewer"), ("eva\u200b@x.example", "viewer"), ("ｅva@x.example", "viewer"),
     ("еva@x.example", "viewer"), ("eva@x。example", "viewer"), ("eva＠x.example", "viewer"),
     ("eva@x.example\0", "viewer"), ("a" * 250 + "@x.example", "viewer"), (EMAIL, "root"), (EMAIL, "")],
)  # fmt: skip
async def test_what_is_no_address_or_role_is_wrong_use(house: House, email: str, role: str) -> None:
    with pytest.raises(RecadoError) as wrong:
        await invite(house, email=email, role=role)
    assert type(wrong.value) is UsageError
