"""Passwords: which are good enough, and how they are hashed (argon2id), off the event loop and two at a time.

Whoever comes with one takes a place, and there are few: a flood of sign-ins holds neither connections nor memory.
"""

from __future__ import annotations

import asyncio
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, wraps
from hmac import compare_digest
from typing import Any, Final, ParamSpec, TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from recado.errors import Busy, UsageError

P = ParamSpec("P")
T = TypeVar("T")

LEAST_CHARS: Final = 12
MOST_CHARS: Final = 1024
#: A password of fewer different characters is a pattern, however long it is.
LEAST_DIFFERENT: Final = 5

#: argon2id with the second recommendation of RFC 9106 (section 4): 64 MiB, 3 passes, 4 lanes.
HASHING: Final = PasswordHash((Argon2Hasher(time_cost=3, memory_cost=64 * 1024, parallelism=4),))

# Two at a time: a flood of sign-ins takes neither the memory nor the threads that others need.
_WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="passwords")

#: Who may be at work with a password or wait for it, in this process: the last waits about four seconds.
PLACES: Final = 22
BUSY_S: Final = 5
_taken = 0

#: What people choose when they are asked for twelve characters, without digits and signs at its end.
_COMMON = """
abcdefghijkl abcdefghijklm administrador administrator admin adminadmin adminadminadmin asdfasdfasdf asdfghjkl
asdfghjklqwerty baseball basketball bemvindo brasil bemvindobrasil buenosdias changeme changemenow
changemeplease chocolate computador computer contrasena contraseña corinthians cristiano default defaultpassword
deusefiel dragondragon eusouocara facebook flamengo football futebol iloveyou iloveyouforever ilovemyself internet
jesuscristo jesusteama letmein letmeinletmein letmeinnow liverpool manchester master meuamor minhasenha
minhasenhasecreta monkeymonkey mudarsenha mudar naoesqueca newpassword palmeiras passphrase password passwordone
passwordpassword p@ssw0rd passw0rd pa$$word princesa princess qazwsxedcrfv qwerty qwertyqwerty qwertyuiop
qwertyuiopasdf q1w2e3r4t5y6 1q2w3e4r5t6y 1qaz2wsx3edc 1qaz2wsx recado recadorecado saopaulo secret secretpassword
segredo senha senhasenha senhaforte senhasecreta senhasegura starwars sunshine superman teamomuito temporary
temporarypassword test testtest testtesttest testpassword trocarsenha trustno trustnoone twilio user username
welcome welcomehome welcometo whatever whatsapp winter summer zaq12wsxcde
"""
_COMMON_WORDS: Final = frozenset(_COMMON.split())
_RUNS: Final = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password was right, and a new hash to store when the old one's parameters are outdated."""

    right: bool
    rehashed: str | None = None


def check_new(password: str, *, email: str) -> None:
    """Raise UsageError, saying why, for a password that is too short, too long or one that others try first."""
    text = _normal(password)
    if not LEAST_CHARS <= len(text) <= MOST_CHARS:
        raise UsageError(f"a password has {LEAST_CHARS} to {MOST_CHARS} characters")
    plain = text.lower()
    if len(set(plain)) < LEAST_DIFFERENT or _is_run(plain):
        raise UsageError("this password is a simple pattern: take one that is not")
    # The pattern of digits and signs around a word is what is guessed first.
    edges = "0123456789!?.,;:-_*#@$%&+= "
    if {plain, plain.rstrip(edges), plain.strip(edges)} & _COMMON_WORDS:
        raise UsageError("this password is one of those that are tried first: take another")
    if plain.strip(edges) in {email.lower(), email.lower().partition("@")[0]}:
        raise UsageError("the password must not be the e-mail address")


def _is_run(text: str) -> bool:
    return any(text in run or text in run[::-1] for run in (keys * 2 for keys in _RUNS))


def in_turn(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Work for whoever comes with a password, of which `PLACES` go on at once; for one more it raises Busy at once."""

    @wraps(work)
    async def placed(*args: P.args, **kwargs: P.kwargs) -> T:
        global _taken
        if _taken >= PLACES:
            raise Busy(BUSY_S)
        _taken += 1
        try:
            return await work(*args, **kwargs)
        finally:
            _taken -= 1

    return placed


async def make_hash(password: str, *, salt: bytes | None = None, hashing: PasswordHash = HASHING) -> str:
    """What to store for a password, with its address's salt (`users.salt_of`); tens of milliseconds in a thread."""
    return await _in_thread(lambda: hashing.hash(_bytes(password), salt=salt))


async def verify(password: str, stored: str | None, *, hashing: PasswordHash = HASHING) -> Verdict:
    """Whether the password is the stored one; for an unknown user (None) the same work, and no."""

    def work() -> Verdict:
        # Made for a known user too: who is first in this process must not take longer for being unknown.
        decoy = _decoy(hashing)
        right, rehashed = hashing.verify_and_update(_bytes(password[:MOST_CHARS]), stored or decoy)
        if stored is None or len(password) > MOST_CHARS or not right:
            return Verdict(False)
        return Verdict(True, rehashed)

    return await _in_thread(work)


async def verify_all(
    password: str, stored: Sequence[str], *, salt: bytes | None = None, hashing: PasswordHash = HASHING
) -> list[Verdict]:
    """The verdict on each of the users of one address, for as much work as one of them is, or none.

    The time that a sign-in takes must not tell how many owners know an address, one of whom may be asking. So the users
    of an address have one salt, and the password is hashed once. A hash with another salt, from before, or other
    parameters takes work of its own until its user signs in: then it gets this salt.
    """
    if len(stored) < 2:
        verdict = await verify(password, stored[0] if stored else None, hashing=hashing)
        return [await _moved(password, verdict, stored[0], salt, hashing)] if stored else []

    def work() -> list[Verdict]:
        _decoy(hashing)
        typed = _bytes(password[:MOST_CHARS])
        hashed: dict[str, str] = {}
        for begin in {_begin(one) for one in stored}:
            if sum(_begin(one) == begin for one in stored) > 1:
                hashed[begin] = hashing.hash(typed, salt=_salt_in(begin))
        verdicts = []
        for one in stored:
            ours = hashed.get(_begin(one), "")
            if _begin(ours) == _begin(one):
                verdicts.append(Verdict(compare_digest(ours, one) and len(password) <= MOST_CHARS))
            else:
                right, rehashed = hashing.verify_and_update(typed, one)
                right = right and len(password) <= MOST_CHARS
                verdicts.append(Verdict(right, rehashed if right else None))
        return verdicts

    verdicts = await _in_thread(work)
    return [await _moved(password, verdict, one, salt, hashing) for verdict, one in zip(verdicts, stored, strict=True)]


async def _moved(password: str, verdict: Verdict, stored: str, salt: bytes | None, hashing: PasswordHash) -> Verdict:
    """The verdict, with a new hash where the right password was hashed with another salt than its address's."""
    if not verdict.right or salt is None or (verdict.rehashed is None and _salt_in(_begin(stored)) == salt):
        return verdict
    return Verdict(True, await make_hash(password, salt=salt, hashing=hashing))


def _begin(stored: str) -> str:
    """Parameters and salt of a stored hash."""
    return stored.rpartition("$")[0]


def _salt_in(begin: str) -> bytes:
    text = begin.rpartition("$")[2]
    return b64decode(text + "=" * (-len(text) % 4))


@cache
def _decoy(hashing: PasswordHash) -> str:
    """A hash with today's parameters, of nobody's password."""
    return hashing.hash(b"no password that anyone has")


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_WORKERS, work)


def _normal(password: str) -> str:
    # NIST SP 800-63B, 3.1.1.2: the same characters however a keyboard composes them.
    return unicodedata.normalize("NFKC", password)


def _bytes(password: str) -> bytes:
    return _normal(password).encode("utf-8", "surrogatepass")
