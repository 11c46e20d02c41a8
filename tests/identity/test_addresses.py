"""One address, several owners: nobody takes it, learns of the others, or guesses more often for having one."""

from __future__ import annotations

import hashlib

import pytest

from recado.db.scope import scoped
from recado.errors import SignInRefused
from recado.identity import invitations, users
from recado.identity.callers import at_command_line
from recado.identity.owners import Owner
from recado.identity.sign_in import OF_ADDRESS, SignedIn, change_password, sign_in
from recado.identity.users import User
from tests.identity.conftest import CHEAP, PASSWORD, Counted, House

EMAIL = "ceo@other.example"
MINE = "um outro segredo bom"
WRONG = "not the password"


async def joins(house: House, owner: Owner, password: str) -> User:
    """Invited by the owner and accepted, so that the hash has the address's salt."""
    async with scoped(house.app, owner.id) as scope:
        _, token = await invitations.make(
            scope, email=EMAIL, role="admin", by=at_command_line("root"), now=house.clock.now()
        )
    return await invitations.accept(house.platform, token, password, clock=house.clock, hashing=CHEAP)


async def knock(house: House, password: str, source: str = "", **more: object) -> SignedIn:
    given = {"email": EMAIL, "source": source, "clock": house.clock, "hashing": CHEAP} | more
    return await sign_in(house.platform, password=password, **given)  # type: ignore[arg-type]


async def wait_of(house: House, password: str, **more: object) -> int:
    with pytest.raises(SignInRefused) as refused:
        await knock(house, password, **more)
    return refused.value.retry_after_s


async def test_each_owners_user_signs_in_with_a_password_of_their_own_whoever_was_first(house: House) -> None:
    other = await house.another_owner()
    taker, ceo = await joins(house, house.owner, MINE), await joins(house, other, PASSWORD)
    assert (await knock(house, PASSWORD)).user.id == ceo.id
    assert (await knock(house, MINE)).user.id == taker.id
    assert await wait_of(house, MINE, owner_id=other.id) == 0
    changed = await change_password(
        house.platform,
        email=EMAIL,
        user_id=ceo.id,
        password=PASSWORD,
        new="mais um segredo bom",
        source="",
        clock=house.clock,
        hashing=CHEAP,
    )
    assert changed.user.id == ceo.id
    assert (await knock(house, MINE)).user.id == taker.id


async def test_with_one_password_in_two_places_it_is_the_last_one_or_the_one_that_is_named(house: House) -> None:
    other = await house.another_owner()
    one, two = await joins(house, house.owner, PASSWORD), await joins(house, other, PASSWORD)
    for owner, user in ((other, two), (house.owner, one)):
        assert (await knock(house, PASSWORD, owner_id=owner.id)).user.id == user.id
        house.clock.advance(minutes=1)
        assert (await knock(house, PASSWORD)).user.id == user.id
        house.clock.advance(minutes=1)
    changed = await change_password(
        house.platform,
        email=EMAIL,
        user_id=two.id,
        password=PASSWORD,
        new="mais um segredo bom",
        source="",
        clock=house.clock,
        hashing=CHEAP,
    )
    assert changed.user.id == two.id, "whose session it is, not who signed in last"


async def test_the_work_does_not_tell_how_many_owners_know_an_address(house: House) -> None:
    work = []
    for number in range(4):
        counted = Counted()
        for _ in range(2):
            await wait_of(house, WRONG, hashing=counted.hashing)
            house.clock.advance(days=3)
        # Without that for the decoy, which is made once in a process.
        work.append(len(counted.work) - 1)
        await joins(house, await house.another_owner(f"Outra {number}"), f"{MINE} {number}")
    assert work == [2, 2, 2, 2]


async def test_who_has_a_user_of_the_address_guesses_at_anothers_no_more_often(house: House) -> None:
    other = await house.another_owner()
    await joins(house, house.owner, MINE)
    ceo = await joins(house, other, PASSWORD)
    counted = Counted()
    for guess in range(30):
        await wait_of(house, f"{WRONG} {guess}", hashing=counted.hashing)
        # Their own sign-in opens their own user anew, and nobody else's.
        await knock(house, MINE)
    assert await wait_of(house, PASSWORD, owner_id=other.id) > 0
    tries = await house.value("SELECT max(failures) FROM sign_in_failures")
    assert tries == OF_ADDRESS.free + 1
    house.clock.advance(days=2)
    assert (await knock(house, PASSWORD)).user.id == ceo.id


async def test_an_address_is_locked_the_same_whether_it_is_a_user_or_becomes_one(house: House) -> None:
    waits = [await wait_of(house, WRONG) for _ in range(OF_ADDRESS.free)]
    await joins(house, house.owner, MINE)
    waits += [await wait_of(house, WRONG) for _ in range(2)]
    house.clock.advance(days=2)
    await house.user("boss@padaria.example", role="admin")
    async with house.scope() as scope:
        [user] = [one for one in await users.list_(scope) if one.email == EMAIL]
        await users.disable(scope, user.id, now=house.clock.now())
    assert waits == [await wait_of(house, WRONG) for _ in range(OF_ADDRESS.free + 2)]


async def test_a_hash_from_before_gets_the_salt_of_its_address_at_the_next_sign_in(house: House) -> None:
    user = await house.user(EMAIL, role="admin")
    before = await house.value("SELECT password_hash FROM users WHERE id = %s", user.id)
    other = await house.another_owner()
    await joins(house, other, MINE)
    assert (await knock(house, PASSWORD)).user.id == user.id
    after = str(await house.value("SELECT password_hash FROM users WHERE id = %s", user.id))
    theirs = str(await house.value("SELECT password_hash FROM users WHERE owner_id = %s", other.id))
    assert after != before
    assert after.rpartition("$")[0] == theirs.rpartition("$")[0]
    assert (await knock(house, PASSWORD)).user.id == user.id


async def test_a_salt_is_of_its_address_in_this_installation_alone(house: House) -> None:
    async def salt(email: str) -> bytes:
        found: bytes = await house.value("SELECT password_salt(%s)", email)
        return bytes(found)

    first = await salt(EMAIL)
    assert [await salt(EMAIL), await salt("eva@other.example") == first] == [first, False]
    assert first != hashlib.sha256(EMAIL.encode()).digest()[:16], "nobody elsewhere can tell it"
