"""Sessions, whatever people and admins do in whatever order: the database lets in whom a few lines of Python let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test

from recado.db.pool import open_pool
from recado.errors import Conflict, NotFound, SignInRefused
from recado.identity import owners, sessions, users
from recado.identity.sessions import IDLE, LONGEST, SEEN_EVERY
from recado.identity.sign_in import SignedIn, change_password, sign_in
from recado.identity.users import Where
from tests.clock import TestClock
from tests.identity.conftest import CHEAP, PASSWORD, House
from tests.lending import empty

T = TypeVar("T")
PEOPLE = ("ana@x.example", "eva@x.example", "root@platform.example")
OTHER = "um outro segredo bom"
who = st.sampled_from(PEOPLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the model remembers of a session."""

    id: UUID
    email: str
    began: datetime
    seen: datetime
    ended: bool = False


class Sessions(RuleBasedStateMachine):
    """Two admins of an owner and a platform administrator."""

    url = ""
    tokens: Bundle[str] = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.known: dict[str, Known] = {}
        self.passwords = dict.fromkeys(PEOPLE, PASSWORD)
        self.disabled: set[str] = set()
        empty(self.url)
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> None:
        app = await self.stack.enter_async_context(open_pool(self.url, "recado_app", size=2))
        platform = await self.stack.enter_async_context(open_pool(self.url, "recado_platform", size=2))
        async with platform.connection() as conn:
            owner = await owners.add(conn, "Padaria")
        self.house = House(app=app, platform=platform, owner=owner, clock=TestClock())
        self.ids: dict[str, UUID] = {}
        for email in PEOPLE:
            made = await (self.house.administrator(email) if "root" in email else self.house.user(email, role="admin"))
            self.ids[email] = made.id

    def teardown(self) -> None:
        for token in self.known:
            self.uses(token)
        self.run(self.stack.aclose())
        self.runner.close()

    def lives(self, token: str) -> bool:
        known, now = self.known[token], self.house.clock.now()
        return not known.ended and now - known.seen < IDLE and now - known.began < LONGEST

    def end_all(self, email: str) -> None:
        for token, known in self.known.items():
            if known.email == email:
                self.known[token] = replace(known, ended=True)

    def unless_refused(self, work: Callable[[], Coroutine[Any, Any, SignedIn]], *, wrong: bool) -> SignedIn | None:
        """What the work answers; it must be refused if it is wrong, and may be while the address has to wait."""
        waits_s = 0
        try:
            done = self.run(work())
        except SignInRefused as refused:
            done, waits_s = None, refused.retry_after_s
        assert (done is None) is wrong or waits_s
        return done

    def begin(self, signed_in: SignedIn, email: str) -> str:
        token, now = signed_in.token, self.house.clock.now()
        assert token not in self.known
        assert signed_in.session.user_id == self.ids[email]
        self.known[token] = Known(id=signed_in.session.id, email=email, began=now, seen=now)
        return token

    @asynccontextmanager
    async def where(self, email: str) -> AsyncIterator[Where]:
        if email == PEOPLE[2]:
            async with self.house.platform.connection() as conn, conn.transaction():
                yield conn
        else:
            async with self.house.scope() as scope:
                yield scope

    @rule(target=tokens, email=who, right=st.integers(0, 9), previous=st.none() | tokens)
    def signs_in(self, email: str, right: int, previous: str | None) -> Any:
        async def knock() -> SignedIn:
            password = self.passwords[email] if right else "not the password"
            given = {"email": email, "password": password, "source": "", "previous": previous}
            return await sign_in(self.house.platform, clock=self.house.clock, hashing=CHEAP, **given)

        signed_in = self.unless_refused(knock, wrong=not right or email in self.disabled)
        if signed_in is None:
            return multiple()
        if previous is not None:
            self.known[previous] = replace(self.known[previous], ended=True)
        return self.begin(signed_in, email)

    @rule(token=tokens)
    def uses(self, token: str) -> None:
        found = self.run(sessions.authenticate(self.house.app, token, clock=self.house.clock))
        assert (found is not None) is self.lives(token)
        known, now = self.known[token], self.house.clock.now()
        if found is not None:
            assert found[1].name == known.email
            if now - known.seen >= SEEN_EVERY:
                self.known[token] = replace(known, seen=now)

    @rule(token=tokens)
    def signs_out(self, token: str) -> None:
        async def end() -> bool:
            async with self.house.platform.connection() as conn:
                return await sessions.end(conn, token, now=self.house.clock.now())

        assert self.run(end()) is not self.known[token].ended
        self.known[token] = replace(self.known[token], ended=True)

    @rule(token=tokens, email=who)
    def ends_one_by_its_id(self, token: str, email: str) -> None:
        known = self.known[token]

        async def end() -> bool:
            async with self.where(email) as where:
                try:
                    await sessions.end_one(where, self.ids[email], known.id, now=self.house.clock.now())
                except NotFound:
                    return False
                return True

        assert self.run(end()) is (known.email == email and not known.ended)
        self.known[token] = replace(known, ended=known.ended or known.email == email)

    @rule(email=who)
    def ends_all(self, email: str) -> None:
        async def end() -> int:
            async with self.where(email) as where:
                return await users.end_sessions(where, self.ids[email], now=self.house.clock.now())

        alive = [known for known in self.known.values() if known.email == email and not known.ended]
        assert self.run(end()) == len(alive)
        self.end_all(email)

    @rule(target=tokens, email=who)
    def changes_the_password(self, email: str) -> Any:
        new = OTHER if self.passwords[email] == PASSWORD else PASSWORD

        async def change() -> SignedIn:
            given = {"email": email, "password": self.passwords[email], "new": new, "source": ""}
            return await change_password(self.house.platform, clock=self.house.clock, hashing=CHEAP, **given)

        changed = self.unless_refused(change, wrong=email in self.disabled)
        if changed is None:
            return multiple()
        self.end_all(email)
        self.passwords[email] = new
        return self.begin(changed, email)

    @rule(email=who, on=st.booleans())
    def is_switched(self, email: str, on: bool) -> None:
        async def switch() -> bool:
            async with self.where(email) as where:
                try:
                    await (users.enable if on else users.disable)(where, self.ids[email], now=self.house.clock.now())
                except Conflict:
                    return False
                return True

        others = {other for other in PEOPLE[:2] if other != email} - self.disabled
        last = email in PEOPLE[:2] and email not in self.disabled and not others
        assert self.run(switch()) is (on or not last)
        if on:
            self.disabled.discard(email)
        elif not last:
            self.disabled.add(email)
            self.end_all(email)

    @rule(minutes=st.sampled_from([0.5, 1, 5, 59, 119, 120, 300]))
    def time_passes(self, minutes: float) -> None:
        self.house.clock.advance(minutes=minutes)


def test_a_session_lets_in_exactly_while_it_lasts_whatever_is_done_in_whatever_order(database_url: str) -> None:
    machine = type("Machine", (Sessions,), {"url": database_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            phases=[Phase.generate],  # without shrinking, which takes minutes: the steps are printed anyway
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
