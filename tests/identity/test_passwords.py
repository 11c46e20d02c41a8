from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from recado.errors import UsageError
from recado.identity import passwords
from tests.identity.conftest import CHEAP, PASSWORD, Counted

EMAIL = "ana.maria.silva@padaria.example"


@pytest.mark.parametrize(
    "password",
    [
        "short-pass1",
        "",
        "x" * 1025,
        "aaaaaaaaaaaa",
        "abababababab",
        "123456789012",
        "qwertyuiopas",
        "Password1234",
        "Senha@123456",
        "!!iloveyou!!2024",
        "WhatsApp#2026",
        "correct-horse"[:11],
        EMAIL,
        "Ana.Maria.Silva9",
    ],
)
def test_a_password_that_is_short_or_tried_first_is_refused(password: str) -> None:
    with pytest.raises(UsageError):
        passwords.check_new(password, email=EMAIL)


@pytest.mark.parametrize("password", [PASSWORD, "p4ss phrases are fine", "ação é reação, não?", "x7Kp2mQ9vLw4"])
def test_a_password_that_nobody_tries_first_is_taken(password: str) -> None:
    passwords.check_new(password, email=EMAIL)


async def test_the_hash_is_argon2id_with_the_parameters_of_the_rfc_and_holds_no_password() -> None:
    hashed = await passwords.make_hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert PASSWORD not in hashed
    assert (await passwords.verify(PASSWORD, hashed)).right


async def test_only_the_right_password_is_right() -> None:
    hashed = await passwords.make_hash(PASSWORD, hashing=CHEAP)
    assert await passwords.verify(PASSWORD, hashed, hashing=CHEAP) == passwords.Verdict(True)
    for wrong in (PASSWORD.upper(), PASSWORD + " ", PASSWORD[:-1], "", "x" * 100_000, "\ud800", "\0"):
        assert await passwords.verify(wrong, hashed, hashing=CHEAP) == passwords.Verdict(False)


async def test_a_password_is_the_same_however_its_accents_are_composed() -> None:
    hashed = await passwords.make_hash("cora\u00e7\u00e3o valente", hashing=CHEAP)
    assert (await passwords.verify("corac\u0327a\u0303o valente", hashed, hashing=CHEAP)).right


async def test_a_hash_with_other_parameters_is_made_again_at_the_next_sign_in() -> None:
    dearer = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=16, parallelism=1),))
    old = await passwords.make_hash(PASSWORD, hashing=CHEAP)
    verdict = await passwords.verify(PASSWORD, old, hashing=dearer)
    assert verdict.right
    assert verdict.rehashed is not None
    assert "m=16,t=2" in verdict.rehashed
    assert (await passwords.verify("wrong password!", old, hashing=dearer)).rehashed is None
    assert (await passwords.verify(PASSWORD, verdict.rehashed, hashing=dearer)).rehashed is None


async def test_for_an_unknown_user_the_same_work_is_done_from_the_very_first_time() -> None:
    known = await passwords.make_hash(PASSWORD, hashing=CHEAP)
    work = []
    for stored in (known, None):
        counted = Counted()
        for _ in range(2):
            await passwords.verify("not the password", stored, hashing=counted.hashing)
        work.append(counted.work)
    assert work[0] == work[1]
    assert [done.partition(" ")[0] for done in work[0]] == ["hash", "verify", "verify"]


# In a thread, on a machine that may be busy.
@settings(deadline=None)
@example("no password that anyone has")
@given(st.text(max_size=30))
def test_no_password_is_right_for_an_unknown_user(password: str) -> None:
    assert not asyncio.run(passwords.verify(password, None, hashing=CHEAP)).right


async def test_hashing_leaves_the_event_loop_free() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    dear = PasswordHash((Argon2Hasher(time_cost=20, memory_cost=32 * 1024, parallelism=1),))
    begun = time.monotonic()
    await passwords.make_hash(PASSWORD, hashing=dear)
    took_s = time.monotonic() - begun
    ticking.cancel()
    assert ticks > 3, f"{ticks} rounds of the loop in {took_s:.3f} s"
