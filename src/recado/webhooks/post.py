"""One POST to an owner's endpoint, and what became of it: nothing of the answer is kept but its status."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import aiohttp
from yarl import URL

from recado import __version__
from recado.media.guarded import NotPublic, guarded_session
from recado.settings import Network
from recado.webhooks.addresses import passes

#: How long an endpoint may take to answer, connecting included.
ANSWER_S: Final = 15.0
_CONNECT_S: Final = 5.0
#: So much of an answer is read, and for so long, so that its connection can be used again; then it is closed.
_DRAINED: Final = 16 * 1024
_DRAIN_S: Final = 1.0
#: Retry-After counts up to a day: a wrong one must not end an endpoint.
LONGEST_WAIT_S: Final = 86_400.0

Outcome = Literal["delivered", "refused", "gone", "redirect", "slow", "unreachable", "tls", "address", "secret"]
#: What each outcome means, for the documentation and the API.
OUTCOMES: Final[Mapping[Outcome, str]] = {
    "delivered": "The endpoint answered with 2xx.",
    "refused": "It answered with another status: tried again.",
    "gone": "It answered with 410: it is disabled and gets nothing more.",
    "redirect": "It answered with a redirect, which is not followed: tried again.",
    "slow": "It did not answer within 15 s: tried again.",
    "unreachable": "No connection, no such name, or cut off before the answer: tried again.",
    "tls": "Its certificate does not hold: tried again.",
    "address": "Its name leads to an address that is not of the public internet: tried again.",
    "secret": "The secret can't be decrypted here: see `recado doctor`.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of a POST; `retry_after_s` is what the endpoint asked for."""

    outcome: Outcome
    http_status: int | None = None
    duration_ms: int = 0
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has it."""
        return self.outcome == "delivered"


class Poster:
    """Posts for one process; belongs to the event loop that first posts with it.

    `guards` stand in for the system's where a test is its own internet (`media.guarded.guarded_session`).
    """

    def __init__(self, networks: Sequence[Network] = (), *, answer_s: float = ANSWER_S, **guards: object) -> None:
        self._networks = tuple(networks)
        self._answer_s = answer_s
        self._guards = guards
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(self, url: str, body: str, headers: Mapping[str, str]) -> Posted:
        """Post once; a connection that was idle for too long does not count, and is tried anew at once."""
        allowed = passes(url, self._networks)
        if allowed is None:
            return Posted(outcome="address")
        session = self._session(url.partition(":")[0], allowed)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._answer_s):
                try:
                    posted = await _post(session, url, body, headers)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    if isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    posted = await _post(session, url, body, headers)
        except TimeoutError:
            posted = Posted(outcome="slow")
        except aiohttp.ClientConnectorCertificateError:
            posted = Posted(outcome="tls")
        except aiohttp.ClientConnectorSSLError:
            posted = Posted(outcome="tls")
        except aiohttp.ClientConnectorError as error:
            posted = Posted(outcome="address" if isinstance(error.os_error, NotPublic) else "unreachable")
        except (aiohttp.ClientError, OSError, ValueError):
            posted = Posted(outcome="unreachable")
        return Posted(
            outcome=posted.outcome,
            http_status=posted.http_status,
            duration_ms=round((time.monotonic() - began) * 1000),
            retry_after_s=posted.retry_after_s,
        )

    def _session(self, scheme: str, allowed: Callable[[str], bool]) -> aiohttp.ClientSession:
        session = self._sessions.get(scheme)
        if session is None:
            session = self._sessions[scheme] = guarded_session(
                allowed,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                headers={"User-Agent": f"recado/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"},
                limit=0,
                **self._guards,  # type: ignore[arg-type]
            )
        return session

    async def aclose(self) -> None:
        """Close the connections."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()


async def _post(session: aiohttp.ClientSession, url: str, body: str, headers: Mapping[str, str]) -> Posted:
    async with session.post(
        URL(url, encoded=True), data=body.encode(), headers=headers, allow_redirects=False
    ) as answer:
        status = answer.status
        await _drain(answer)
        if 200 <= status < 300:
            return Posted(outcome="delivered", http_status=status)
        waits = retry_after_s(answer.headers.get("Retry-After")) if status in (429, 503) else None
        outcome: Outcome = "gone" if status == 410 else "redirect" if 300 <= status < 400 else "refused"
        return Posted(outcome=outcome, http_status=status, retry_after_s=waits)


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a little of the answer, and forget it; what is longer, or comes slowly, ends with its connection."""
    left = _DRAINED
    try:
        async with asyncio.timeout(_DRAIN_S):
            while left > 0 and (piece := await answer.content.read(left)):
                left -= len(piece)
    except (TimeoutError, aiohttp.ClientError, OSError):
        left = 0
    if left <= 0:
        answer.close()


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """What a Retry-After asks for, in seconds from now, a day at most: RFC 9110, section 10.2.3. None: nothing."""
    if value is None or len(value) > 40:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return min(seconds, LONGEST_WAIT_S) if math.isfinite(seconds) and seconds > 0 else None
