from __future__ import annotations

import asyncio

import pytest

from recado.db.scope import scoped
from recado.errors import SignInRefused, UsageError
from recado.identity import audit, passwords, sessions, users
from recado.identity.passwords import HASHING
from recado.identity.sign_in import OF_ADDRESS, OF_SOURCE, SignedIn, change_password, forget_old, sign_in
from tests.identity.conftest import CHEAP, PASSWORD, Counted, House

EMAIL = "ana@padaria.example"
WRONG = "not the password"


async def knock(
    house: House, email: str = EMAIL, password: str = PASSWORD, source: str = "192.0.2.1", **more: str
) -> SignedIn:
    return await sign_in(
        house.platform, email=email, password=password, source=source, clock=house.clock, hashing=CHEAP, **more
    )


async def refusal(house: House, **how: str) -> int:
    with pytest.raises(SignInRefused) as refused:
        await knock(house, **how)
    return refused.value.retry_after_s


async def test_the_right_password_gives_a_session_that_lets_the_user_in(house: House) -> None:
    user = await house.user()
    signed_in = await knock(house, email="  ANA@Padaria.example ")
    found = await sessions.authenticate(house.app, signed_in.token, clock=house.clock)
    assert found == (signed_in.session, signed_in.caller)
    caller = signed_in.caller
    assert (caller.kind, caller.id, caller.owner_id, caller.role) == ("user", user.id, house.owner.id, "operator")
    assert [caller.may(scope) for scope in ("read", "write", "admin", "webhooks")] == [True, True, False, False]
    async with house.scope() as scope:
        assert (await users.get(scope, user.id)).last_sign_in_at == house.clock.now()
        [entry] = await audit.entries(scope)
    assert (entry.action, entry.thing, entry.caller_id) == ("sign_in", "session", user.id)


async def test_a_platform_administrator_signs_in_without_an_owner(house: House) -> None:
    admin = await house.administrator()
    caller = (await knock(house, email=admin.email)).caller
    assert (caller.kind, caller.owner_id, caller.may("admin")) == ("platform", None, True)


async def test_the_token_is_a_new_one_and_the_session_that_the_browser_came_with_ends(house: House) -> None:
    await house.user()
    first = await knock(house)
    second = await knock(house, previous=first.token)
    assert second.token != first.token
    assert await sessions.authenticate(house.app, first.token, clock=house.clock) is None
    assert await sessions.authenticate(house.app, second.token, clock=house.clock) is not None
    planted = "rs_" + "A" * 43
    assert (await knock(house, previous=planted)).token != planted
    assert await sessions.authenticate(house.app, planted, clock=house.clock) is None


async def test_wrong_unknown_and_disabled_get_the_same_answer_at_every_try(house: House) -> None:
    await house.user()
    disabled = await house.user("rui@padaria.example")
    async with house.scope() as scope:
        await users.disable(scope, disabled.id, now=house.clock.now())
    told = []
    for number, (email, password) in enumerate(
        [(EMAIL, WRONG), ("nobody@padaria.example", PASSWORD), (disabled.email, PASSWORD), ("no address", PASSWORD)]
    ):
        answers = []
        for _ in range(9):
            with pytest.raises(SignInRefused) as refused:
                await knock(house, email=email, password=password, source=f"192.0.2.{number}")
            answers.append((str(refused.value), refused.value.retry_after_s))
            house.clock.advance(seconds=refused.value.retry_after_s)
        told.append(answers)
    assert told[0] == told[1] == told[2] == told[3]
    assert [wait for _, wait in told[0]] == [0, 0, 0, 0, 0, 30, 60, 120, 240]


async def test_the_same_work_is_done_whether_the_user_exists_or_not(house: House) -> None:
    await house.user()
    work = []
    for email in (EMAIL, "nobody@padaria.example"):
        counted = Counted()
        for source in ("192.0.2.1", "192.0.2.2"):
            with pytest.raises(SignInRefused):
                await sign_in(
                    house.platform,
                    email=email,
                    password=WRONG,
                    source=source,
                    clock=house.clock,
                    hashing=counted.hashing,
                )
        work.append(counted.work)
    assert work[0] == work[1]
    assert len(work[0]) == 3


async def test_while_locked_the_right_password_is_refused_too_and_no_work_is_done(house: House) -> None:
    await house.user()
    for _ in range(OF_ADDRESS.free + 1):
        await refusal(house, password=WRONG)
    counted = Counted()
    with pytest.raises(SignInRefused) as refused:
        await sign_in(
            house.platform,
            email=EMAIL,
            password=PASSWORD,
            source="198.51.100.7",
            clock=house.clock,
            hashing=counted.hashing,
        )
    assert refused.value.retry_after_s == 30
    assert counted.work == []
    house.clock.advance(seconds=29)
    assert await refusal(house) == 1
    house.clock.advance(seconds=1)
    await knock(house)


async def test_a_try_while_locked_makes_the_lock_no_longer(house: House) -> None:
    await house.user()
    for _ in range(OF_ADDRESS.free + 1):
        await refusal(house, password=WRONG)
    for _ in range(20):
        assert await refusal(house, password=WRONG) == 30


async def test_a_success_forgets_the_failures_of_the_address_but_not_those_of_the_source(house: House) -> None:
    await house.user()
    await house.user("eva@padaria.example")
    for _ in range(OF_ADDRESS.free - 1):
        await refusal(house, password=WRONG)
    await knock(house)
    for _ in range(OF_ADDRESS.free):
        assert await refusal(house, password=WRONG) == 0
    # Signing in to an account of one's own between the guesses gives no new ones.
    for guessed in range(OF_SOURCE.free):
        await knock(house, email="eva@padaria.example", source="203.0.113.5")
        waits = await refusal(house, email=f"u{guessed}@padaria.example", password=WRONG, source="203.0.113.5")
        assert waits == 0
    assert await refusal(house, email="u@padaria.example", password=WRONG, source="203.0.113.5") == 30
    assert await refusal(house, email="eva@padaria.example", source="203.0.113.5") == 30
    await knock(house, email="eva@padaria.example", source="203.0.113.6")


async def test_one_customers_ipv6_addresses_are_one_source(house: House) -> None:
    for number in range(OF_SOURCE.free):
        await refusal(house, email=f"u{number}@x.example", source=f"2001:db8:1:2::{number:x}")
    assert await refusal(house, email="another@x.example", source="2001:db8:1:2:ffff::1") == 30
    assert await refusal(house, email="third@x.example", source="2001:db8:1:3::1") == 0


async def test_guesses_made_at_once_are_tried_no_more_often_than_in_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "PLACES", 40)  # there is room for all of them
    await house.user()
    # The count is there already: making it would put the guesses in turn by itself.
    await refusal(house, password=WRONG)
    counted = Counted()

    async def guess(number: int) -> None:
        with pytest.raises(SignInRefused):
            await sign_in(
                house.platform,
                email=EMAIL,
                password=f"{WRONG} {number}",
                source=f"192.0.2.{number}",
                clock=house.clock,
                hashing=counted.hashing,
            )

    await asyncio.gather(*(guess(number) for number in range(40)))
    assert [done.partition(" ")[0] for done in counted.work].count("verify") == OF_ADDRESS.free


async def change(house: House, password: str, new: str = "um outro segredo bom") -> SignedIn:
    return await change_password(
        house.platform, email=EMAIL, password=password, new=new, source="192.0.2.1", clock=house.clock, hashing=CHEAP
    )


async def test_a_new_password_needs_the_present_one_and_leaves_one_session_with_a_new_token(house: House) -> None:
    user = await house.user()
    tokens = [(await knock(house)).token for _ in range(2)]
    changed = await change(house, PASSWORD)
    for token in tokens:
        assert await sessions.authenticate(house.app, token, clock=house.clock) is None
    assert await sessions.authenticate(house.app, changed.token, clock=house.clock) is not None
    assert await refusal(house) == 0, "the one before is none any more"
    await knock(house, password="um outro segredo bom")
    async with house.scope() as scope:
        entries = await audit.entries(scope)
    assert ("set_password", "user", str(user.id)) in [(entry.action, entry.thing, entry.thing_id) for entry in entries]


async def test_who_has_a_session_guesses_the_password_no_more_often_than_at_the_sign_in(house: House) -> None:
    await house.user()
    waits = []
    for _ in range(OF_ADDRESS.free + 1):
        with pytest.raises(SignInRefused) as refused:
            await change(house, WRONG)
        waits.append(refused.value.retry_after_s)
    assert waits == [0] * OF_ADDRESS.free + [30]
    assert await refusal(house) == 30


async def test_a_bad_new_password_changes_nothing_and_counts_as_no_try(house: House) -> None:
    await house.user()
    for _ in range(OF_ADDRESS.free + 1):
        with pytest.raises(UsageError):
            await change(house, PASSWORD, "password1234")
    await knock(house)


async def test_where_nobody_can_tell_the_source_only_the_address_counts(house: House) -> None:
    for number in range(OF_SOURCE.free + 5):
        assert await refusal(house, email=f"u{number}@x.example", source="") == 0
    assert await house.value("SELECT count(*) FROM sign_in_failures") == OF_SOURCE.free + 5


async def test_an_outdated_hash_is_replaced_at_sign_in(house: House) -> None:
    user = await house.user()
    await sign_in(
        house.platform,
        email=EMAIL,
        password=PASSWORD,
        source="192.0.2.1",
        clock=house.clock,
        hashing=HASHING,
    )
    stored = await house.value("SELECT password_hash FROM users WHERE id = %s", user.id)
    assert str(stored).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_counts_that_no_rule_looks_at_any_more_are_deleted(house: House) -> None:
    await refusal(house)
    async with house.platform.connection() as conn:
        assert await forget_old(conn, now=house.clock.now()) == 0
        house.clock.advance(days=2)
        assert await forget_old(conn, now=house.clock.now()) == 2


async def test_the_application_role_sees_no_count_of_failures(house: House) -> None:
    import psycopg

    async with scoped(house.app, house.owner.id) as scope:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scope.conn.execute("SELECT * FROM sign_in_failures")
