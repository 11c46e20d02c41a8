"""Nobody's guesses keep a user out of a browser that they have signed in with before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from recado.db.scope import Scope
from recado.errors import SignInRefused
from recado.identity import known_browsers, sessions, users
from recado.identity.sign_in import OF_ADDRESS, OF_BROWSER, SignedIn, change_password, sign_in
from recado.identity.users import User
from tests.identity.conftest import CHEAP, PASSWORD, House

EMAIL = "ana@padaria.example"
WRONG = "not the password"


async def knock(
    house: House, browser: str | None = None, *, email: str = EMAIL, password: str = PASSWORD, source: str = "192.0.2.1"
) -> SignedIn:
    return await sign_in(
        house.platform,
        email=email,
        password=password,
        source=source,
        browser=browser,
        clock=house.clock,
        hashing=CHEAP,
    )


async def wait_of(house: House, browser: str | None = None, **how: str) -> int:
    with pytest.raises(SignInRefused) as refused:
        await knock(house, browser, **how)
    return refused.value.retry_after_s


async def lock(house: House, email: str = EMAIL) -> None:
    """Guess at the address from four places, until it is locked for a quarter of an hour."""
    for guess in range(OF_ADDRESS.free + 6):
        house.clock.advance(seconds=await wait_of(house, email=email, password=WRONG, source=f"198.51.100.{guess % 4}"))
    await wait_of(house, email=email, password=WRONG, source="198.51.100.9")


async def is_known(house: House, browser: str) -> bool:
    async with house.platform.connection() as conn:
        return await known_browsers.find(conn, browser, email=EMAIL, now=house.clock.now()) is not None


async def test_while_others_guesses_lock_an_address_its_user_gets_in_from_a_known_browser(house: House) -> None:
    await house.user()
    browser = (await knock(house)).browser
    await lock(house)
    assert await wait_of(house) == OF_ADDRESS.longest_s
    again = await knock(house, browser)
    assert await sessions.authenticate(house.app, again.token, clock=house.clock) is not None
    assert await wait_of(house) == OF_ADDRESS.longest_s, "for the others it stays locked"
    changed = await change_password(
        house.platform,
        email=EMAIL,
        password=PASSWORD,
        new="um outro segredo bom",
        source="192.0.2.1",
        browser=again.browser,
        clock=house.clock,
        hashing=CHEAP,
    )
    await knock(house, changed.browser, password="um outro segredo bom")


async def test_a_known_browser_guesses_no_more_often_than_anybody_and_locks_nobody_else_out(house: House) -> None:
    await house.user()
    browser = (await knock(house)).browser
    waits = [await wait_of(house, browser, password=WRONG) for _ in range(OF_BROWSER.free + 1)]
    assert waits == [0] * OF_BROWSER.free + [30]
    assert await wait_of(house, browser) == 30, "the right password waits too"
    await knock(house)
    house.clock.advance(seconds=30)
    browser = (await knock(house, browser)).browser
    assert await wait_of(house, browser, password=WRONG) == 0, "a success forgets"


async def test_a_browser_is_known_for_the_user_who_signed_in_with_it_and_for_no_other(house: House) -> None:
    await house.user()
    eva = await house.user("eva@padaria.example")
    browser = (await knock(house)).browser
    await lock(house, eva.email)
    for token in (browser, "rb_" + "A" * 43, "rb_", "\ud800", ""):
        assert await wait_of(house, token, email=eva.email) == OF_ADDRESS.longest_s


async def test_each_sign_in_gives_another_token_and_the_one_before_is_none(house: House) -> None:
    await house.user()
    first = await knock(house)
    second = await knock(house, first.browser)
    assert [await is_known(house, token) for token in (first.browser, second.browser)] == [False, True]
    assert await house.value("SELECT count(*) FROM known_browsers") == 1
    stored = str(await house.value("SELECT b::text FROM known_browsers b"))
    assert second.browser not in stored
    assert second.token not in stored


async def another_password(scope: Scope, user: User, house: House) -> None:
    await users.set_password(scope, user.id, password_hash=CHEAP.hash(PASSWORD), now=house.clock.now())


async def the_password_anew(scope: Scope, user: User, house: House) -> None:
    await users.put(scope, email=user.email, role=user.role, password_hash=CHEAP.hash(PASSWORD), now=house.clock.now())


async def out_everywhere(scope: Scope, user: User, house: House) -> None:
    await users.end_sessions(scope, user.id, now=house.clock.now())


async def off_and_on(scope: Scope, user: User, house: House) -> None:
    await users.disable(scope, user.id, now=house.clock.now())
    await users.enable(scope, user.id, now=house.clock.now())


@pytest.mark.parametrize("act", [another_password, the_password_anew, out_everywhere, off_and_on])
async def test_what_ends_all_sessions_makes_every_browser_unknown(
    house: House, act: Callable[[Scope, User, House], Awaitable[None]]
) -> None:
    user = await house.user()
    tokens = [(await knock(house)).browser for _ in range(2)]
    async with house.scope() as scope:
        await act(scope, user, house)
    assert [await is_known(house, token) for token in tokens] == [False, False]


async def test_a_browser_is_known_for_half_a_year_after_its_last_sign_in_and_so_many_of_them(house: House) -> None:
    await house.user()
    oldest = (await knock(house)).browser
    house.clock.advance(days=179)
    newer = [(await knock(house)).browser for _ in range(known_browsers.MOST - 1)]
    assert await is_known(house, oldest)
    newer.append((await knock(house)).browser)
    assert [await is_known(house, token) for token in (oldest, *newer)] == [False] + [True] * known_browsers.MOST
    house.clock.advance(days=180)
    assert not await is_known(house, newer[-1])
    async with house.platform.connection() as conn:
        house.clock.advance(seconds=1)
        assert await known_browsers.delete_old(conn, now=house.clock.now()) == known_browsers.MOST
