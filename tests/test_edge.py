"""The edge: strangers cost little, wait for nothing, and close the door for nobody else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from recado import edge
from recado.counters import open_counters
from recado.edge import FAILED, Callers, Edge
from recado.settings import Network, Rate, Settings
from tests.channels.examples import inbound
from tests.journey.front import Front, message_sid, open_front
from tests.product import INBOUND

STRANGER, TWILIO = "203.0.113.7", "54.172.60.1"


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    """Three failed calls of one address are enough."""
    async with open_front(database_url, tmp_path, limits="ip=3/day", trusted_proxies="10.0.0.0/8") as opened:
        yield opened


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Our own log lines of that event."""
    return [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == event]


def text() -> list[tuple[str, str]]:
    return inbound("text", MessageSid=message_sid())


async def forge(front: Front, count: int = 1, client: str = STRANGER, **headers: str) -> list[int]:
    return [(await front.post(text(), token="wrong", client=client, headers=headers)).status_code for _ in range(count)]


async def test_an_address_that_fails_too_often_is_answered_429_with_retry_after(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    assert await forge(front, 6) == [403, 403, 403, 429, 429, 429]
    answer = await front.post(text(), token=None, client=STRANGER)
    assert answer.json() == {"type": "about:blank", "title": "Too many requests", "status": 429}
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= 24 * 3600
    assert front.stored() == []
    assert [line["kind"] for line in said(caplog, "limited")] == ["ip"], "said once a window"


async def test_every_kind_of_failure_counts(front: Front) -> None:
    answers = [
        await front.post(text(), token=None, client=STRANGER),
        await front.post(content=b"Body=%FF", client=STRANGER),
        await front.post(content=b"x" * 300_000, client=STRANGER),
        await front.post(content=b"x", headers={"Content-Type": "text/plain"}, client=STRANGER),
    ]
    assert [answer.status_code for answer in answers] == [403, 400, 413, 429]


async def test_authentic_calls_do_not_count_and_are_not_closed_out_by_others_of_their_address(front: Front) -> None:
    for _ in range(10):
        assert (await front.post(text(), client=TWILIO)).status_code == 200
    assert await forge(front, 5, TWILIO) == [403, 403, 403, 429, 429]
    assert (await front.post(text(), client=TWILIO)).status_code == 200
    assert len(front.stored()) == 11


async def test_an_address_at_ten_times_its_limit_is_not_even_read(front: Front) -> None:
    await forge(front, 3 * edge.SHUT)
    taken = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield b"Body=x"

    assert (await front.post(content=stream(), client=STRANGER)).status_code == 429
    assert (await front.post(text(), client=STRANGER)).status_code == 429
    assert front.stored() == []


async def test_other_addresses_and_other_pages_are_open_as_always(front: Front) -> None:
    await forge(front, 40)
    assert await forge(front, 1, "203.0.113.8") == [403]
    assert (await front.post(path="/healthz", method="GET", client=STRANGER)).status_code == 200


async def test_an_addresses_calls_count_again_from_nothing_in_the_next_window(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forge(front, 40)
    later_s = 24 * 3600 + 1.0
    now, monotonic = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: now() + later_s)
    monkeypatch.setattr(edge.time, "monotonic", lambda: monotonic() + later_s)
    assert await forge(front, 1) == [403]


async def test_behind_a_trusted_proxy_the_caller_is_whom_the_proxy_took_the_call_from(front: Front) -> None:
    chain = {"X-Forwarded-For": f"198.51.100.9, {STRANGER}, 10.0.0.2"}
    assert await forge(front, 4, "10.0.0.1", **chain) == [403, 403, 403, 429]
    assert await forge(front, 1, "10.0.0.1", **{"X-Forwarded-For": "203.0.113.8"}) == [403]
    assert await forge(front, 1, STRANGER) == [429], "the same caller, with and without the proxy"


async def test_a_stranger_can_not_name_another_caller(front: Front) -> None:
    names = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(4)]
    assert [(await forge(front, 1, STRANGER, **name))[0] for name in names] == [403, 403, 403, 429]
    names = [{"X-Forwarded-For": f"192.0.2.{number}, 203.0.113.50"} for number in range(4)]
    assert [(await forge(front, 1, "10.0.0.1", **name))[0] for name in names] == [403, 403, 403, 429]


async def test_a_proxy_of_which_nobody_told_us_is_not_taken_for_one_caller(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        assert await forge(front, 1, "127.0.0.1", **{"X-Forwarded-For": f"203.0.113.{number}"}) == [403]
    (warning,) = said(caplog, "proxy_not_trusted")
    assert "RECADO_TRUSTED_PROXIES" in warning["note"]


@pytest.mark.parametrize(
    ("peer", "headers", "name"),
    [
        ("203.0.113.7", {}, "203.0.113.7"),
        ("::ffff:203.0.113.7", {}, "203.0.113.7"),
        ("2001:db8:1:2:aaaa::1", {}, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", {}, "2001:db8:1:2::/64"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.7:4711"}, "203.0.113.7"),
        ("10.0.0.1", {"x-forwarded-for": "[2001:db8:1:2::1]:4711"}, "2001:db8:1:2::/64"),
        ("10.0.0.1", {"forwarded": 'for=192.0.2.1;proto=https, For="[2001:db8:1:2::1]:80"'}, "2001:db8:1:2::/64"),
        ("10.0.0.1", {"forwarded": "for=203.0.113.7;proto=https"}, "203.0.113.7"),
        ("10.0.0.1", {}, ""),
        ("10.0.0.1", {"x-forwarded-for": "10.2.3.4"}, ""),
        ("10.0.0.1", {"x-forwarded-for": "nonsense"}, "?"),
        ("192.168.0.9", {}, "192.168.0.9"),
        ("192.168.0.9", {"x-forwarded-for": "203.0.113.7"}, ""),
    ],
)
def test_who_counts_as_the_caller(peer: str, headers: dict[str, str], name: str) -> None:
    networks: list[Network] = list(Settings(trusted_proxies="10.0.0.0/8", _env_file=None).trusted_proxies)  # type: ignore[arg-type]
    scope = {"client": (peer, 1), "headers": [(key.encode(), value.encode()) for key, value in headers.items()]}
    assert Callers(networks).of(scope) == name


async def test_looking_at_an_authentic_call_costs_a_few_microseconds() -> None:
    async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ignore(_event: Any) -> None: ...

    guarded = Edge(
        nothing,
        failures={INBOUND: FAILED},
        counters=open_counters("memory://"),
        rate=Rate(amount=3, window_s=60),
        trusted_proxies=(),
    )
    scope = {"type": "http", "path": INBOUND, "client": (TWILIO, 1), "headers": [(b"host", b"x")] * 10}

    async def cost(app: Any) -> float:
        began = time.process_time()
        for _ in range(5000):
            await app(scope, None, ignore)
        return (time.process_time() - began) / 5000

    assert await cost(guarded) - await cost(nothing) < 50e-6
