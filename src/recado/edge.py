"""The edge: how often a stranger may fail before anyone has looked at who calls.

`Edge` limits the failed calls of one address; what connections may cost is bounded in `connections.py`. Authentic calls
never count: Twilio calls from few addresses, and a stranger who makes Twilio call us with another account's webhooks
could otherwise close them for everyone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import structlog
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from recado import metrics
from recado.counters import Counted, Counters
from recado.settings import Network, Rate

log = structlog.get_logger(__name__)

#: Answers of the webhooks that say: this call was not authentic, or nothing that anyone here understands.
FAILED = frozenset([400, 401, 403, 404, 405, 408, 413, 415])
#: So many times its limit, and an address is not even read any more.
SHUT = 10
#: Addresses that are over their limit, at most; those whose window is over are forgotten first.
ADDRESSES = 20_000
WARN_S = 60.0


class Edge:
    """ASGI: counts the failed calls of each address, and answers 429 beyond the limit.

    `failures` has the beginnings of the paths that are counted, and the statuses that are failures there. Over the
    limit a failed call is answered 429 whatever failed, and an authentic one as always. Over ten times the limit
    nothing of the address is read.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        failures: Mapping[str, frozenset[int]],
        counters: Counters,
        rate: Rate,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self.app = app
        self._failures = tuple(failures.items())
        self._counters = counters
        self._rate = rate
        self._callers = Callers(trusted_proxies)
        self._over: dict[str, tuple[float, int]] = {}

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer 429, or hand on and look at what comes back."""
        failed = self._failed(scope["path"]) if scope["type"] == "http" else None
        if failed is None:
            await self.app(scope, receive, send)
            return
        caller = self._callers.of(scope)
        over = self._over.get(caller) if self._over else None
        if over is not None:
            left_s = over[0] - time.monotonic()
            if left_s <= 0:
                del self._over[caller]
                over = None
            elif over[1] >= SHUT * self._rate.amount:
                await _too_many(send, left_s)
                return
        status = 0

        async def watch(event: Message) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                if over is not None and status in failed:
                    await _too_many(send, left_s)
                    return
            if over is None or status not in failed:
                await send(event)

        await self.app(scope, receive, watch)
        if status in failed and caller:
            await self._count(caller)

    def _failed(self, path: str) -> frozenset[int] | None:
        for beginning, failed in self._failures:
            if path.startswith(beginning):
                return failed
        return None

    async def _count(self, caller: str) -> None:
        [count] = await self._counters.add(Counted(kind="ip", key=caller, rate=self._rate))
        if count.number < self._rate.amount:
            return
        if caller not in self._over:
            log.warning("limited", step="receive", kind="ip", count=count.number)
            if len(self._over) >= ADDRESSES:
                now = time.monotonic()
                self._over = {known: over for known, over in self._over.items() if over[0] > now}
                if len(self._over) >= ADDRESSES:
                    self._over.clear()
        self._over[caller] = (time.monotonic() + count.ends_in_s, count.number)


async def _too_many(send: Send, left_s: float) -> None:
    metrics.LIMITED("ip").inc()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(_TOO_MANY)).encode()),
        (b"retry-after", str(max(1, int(left_s + 0.999))).encode()),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _TOO_MANY})


_TOO_MANY = b'{"type":"about:blank","title":"Too many requests","status":429}'


class Callers:
    """Tells whose call it is: the peer, or whom a trusted proxy says that it took the call from."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = tuple(trusted_proxies)
        self._warned_at = -WARN_S
        # Peers are few, and one that calls once calls again.
        self._peer = lru_cache(maxsize=4096)(self._describe)

    def of(self, scope: ASGIScope) -> str:
        """The address to count under; an IPv6 one with its whole /64, which one caller has. Empty: don't count.

        Of what trusted proxies say (X-Forwarded-For, or Forwarded of RFC 7239) the rightmost address counts that is
        not one of theirs: what stands left of it anyone can write. A peer inside our own walls that sends such a
        header is a proxy of which we were not told. To count under its address would be to count all callers as one,
        so it is not counted, and a warning says what to set.
        """
        client = scope.get("client")
        if not client:
            return ""
        name, trusted, inside = self._peer(client[0])
        if not trusted and not inside:
            return name
        hops = _hops(scope["headers"])
        if not trusted:
            if hops:
                self._warn()
            return "" if hops else name
        for text in reversed(hops):
            hop, also_trusted, _ = self._peer(text)
            if not also_trusted:
                return hop
        return ""

    def bounded(self, peer: str) -> str:
        """The name under which a peer's connections are bounded; empty for one that may be a proxy: don't."""
        name, trusted, inside = self._peer(peer)
        return "" if trusted or inside else name

    def _describe(self, text: str) -> tuple[str, bool, bool]:
        """The address's name in the counters, whether it is a trusted proxy, whether it is inside our own walls."""
        try:
            address = _address(text)
        except ValueError:
            return "?", False, False
        trusted = any(address in network for network in self._trusted)
        return group_of(address), trusted, any(address in network for network in _INSIDE)

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARN_S:
            self._warned_at = now
            log.warning("proxy_not_trusted", note="its calls are not limited by address: set RECADO_TRUSTED_PROXIES")


_INSIDE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The addresses that proxies have added, the nearest last; of Forwarded only where there is no X-Forwarded-For."""
    said = {b"x-forwarded-for": b"", b"forwarded": b""}
    for name, value in headers:
        if name in said:
            said[name] = said[name] + b"," + value if said[name] else value
    if said[b"x-forwarded-for"]:
        return [text.strip()[:64] for text in said[b"x-forwarded-for"].decode("latin-1").split(",")]
    elements = said[b"forwarded"].decode("latin-1").split(",") if said[b"forwarded"] else []
    found = [re.search(r"(?:^|;)\s*for\s*=\s*\"?([^;\"]{1,64})", element, re.IGNORECASE) for element in elements]
    return [match[1].strip() if match else "" for match in found]


def _address(text: str) -> IPv4Address | IPv6Address:
    """The address of `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]:80`. Raises ValueError."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def group_of(address: IPv4Address | IPv6Address) -> str:
    """What is counted together: an IPv4 address, or the /64 that one IPv6 caller may choose from."""
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
