"""Ten thousand malformed or forged requests of fifty kinds: what is answered, stored, and left in memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil

from bench import load, stack

FORM = "application/x-www-form-urlencoded"
STATUS = "/channels/twilio/v1/webhooks/outbound"
#: Kinds that promise more than they send: the server waits for the rest, and the attacker does not.
QUIET = frozenset({"a body shorter than announced", "half a chunk", "no end of headers"})


def _request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = load.PATH,
    content_type: str | None = FORM,
    signature: str | None = "c2lnbmF0dXJlIHRoYXQgaXMgbm9uZSE=",
    length: str | None = None,
    more: bytes = b"",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hooks.example.com", f"Content-Length: {length or len(body)}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if signature is not None:
        lines.append(f"X-Twilio-Signature: {signature}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n" + more + b"\r\n" + body


def _kinds(base_url: str, chance: random.Random) -> dict[str, Callable[[], bytes]]:
    def hexadecimal(digits: int) -> str:
        return f"{chance.getrandbits(4 * digits):0{digits}x}"

    def form(**changes: str) -> bytes:
        fields = {
            "MessageSid": "SM" + hexadecimal(32),
            "AccountSid": load.ACCOUNT_SID,
            "From": f"whatsapp:+55119{chance.randrange(10**8):08d}",
            "To": load.NUMBER,
            "Body": "Olá",
            "SmsStatus": "received",
        }
        return urlencode({**fields, **changes}).encode()

    def noise(size: int) -> bytes:
        return chance.randbytes(size)

    right = load.webhook(base_url, contact=1)
    other = load.webhook(base_url, contact=2)
    head, _, body = right.partition(b"\r\n\r\n")
    chunked = b"POST " + load.PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    as_json = "application/json"
    raw = urlsplit(base_url).netloc.encode()
    return {
        "unsigned": lambda: _request(form(), signature=None),
        "an empty signature": lambda: _request(form(), signature=""),
        "a random signature": lambda: _request(form(), signature=hexadecimal(28)),
        "a signature that is not ASCII": lambda: _request(form(), signature="\xe9\xff" * 14),
        "a huge signature": lambda: _request(form(), signature="A" * 20_000),
        "an unknown account": lambda: _request(form(AccountSid="AC" + hexadecimal(32))),
        "no account": lambda: _request(b"Body=oi"),
        "a malformed account": lambda: _request(form(AccountSid="AC' OR 1=1 --")),
        "two accounts": lambda: _request(form() + b"&AccountSid=AC" + hexadecimal(32).encode()),
        "a status callback, forged": lambda: _request(form(MessageStatus="read"), path=STATUS),
        "a status callback of a forged message": lambda: _request(form(), path=f"{STATUS}?message={hexadecimal(32)}"),
        "a tampered body": lambda: head + b"\r\n\r\n" + body[:-1] + b"x",
        "another message's signature": lambda: (
            head + b"\r\n\r\n" + other.partition(b"\r\n\r\n")[2][: len(body)].ljust(len(body), b"x")
        ),
        "another path's signature": lambda: right.replace(load.PATH.encode(), STATUS.encode(), 1),
        "a query that was not signed": lambda: right.replace(b"/inbound ", b"/inbound?x=1 ", 1),
        "JSON, forged": lambda: _request(json.dumps({"AccountSid": load.ACCOUNT_SID}).encode(), content_type=as_json),
        "JSON with a hash, forged": lambda: _request(
            b"{}", content_type=as_json, path=f"{load.PATH}?bodySHA256={hexadecimal(64)}"
        ),
        "JSON that is none": lambda: _request(b"{" + noise(20), content_type=as_json),
        "JSON without bottom": lambda: _request(b"[" * 50_000, content_type=as_json),
        "a JSON list": lambda: _request(b"[1,2,3]", content_type=as_json),
        "a JSON number": lambda: _request(b"1e999", content_type=as_json),
        "a JSON NUL": lambda: _request(b'{"AccountSid":"\\u0000"}', content_type=as_json),
        "a lone surrogate": lambda: _request(b'{"AccountSid":"\\ud800"}', content_type=as_json),
        "noise as a form": lambda: _request(noise(200)),
        "broken percent signs": lambda: _request(b"Body=%&%zz=%1"),
        "bytes that are not UTF-8": lambda: _request(b"Body=%FF%FE%00"),
        "a thousand fields": lambda: _request(b"&".join([b"a=1"] * 1000)),
        "nothing but ampersands": lambda: _request(b"&" * 2000),
        "an empty body": lambda: _request(b""),
        "text": lambda: _request(b"oi", content_type="text/plain"),
        "no content type": lambda: _request(form(), content_type=None),
        "a broken multipart": lambda: _request(noise(50), content_type="multipart/form-data; boundary=x"),
        "a content type of noise": lambda: _request(form(), content_type="\xff/\xfe;;=\x80"),
        "a body over the limit": lambda: _request(b"Body=" + b"x" * 270_000),
        "a length over the limit": lambda: _request(b"Body=x", length=str(2**40)),
        "a length of no number": lambda: _request(b"Body=x", length="abc"),
        "a negative length": lambda: _request(b"Body=x", length="-5"),
        "two lengths": lambda: _request(b"Body=x", more=b"Content-Length: 3\r\n"),
        "length and chunks": lambda: _request(b"0\r\n\r\n", more=b"Transfer-Encoding: chunked\r\n"),
        "chunks of noise": lambda: (
            b"POST "
            + load.PATH.encode()
            + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            + noise(20)
        ),
        "half a chunk": lambda: chunked + b"ff\r\nBody=",
        "a body shorter than announced": lambda: _request(b"Body=x", length="500"),
        "no end of headers": lambda: b"POST " + load.PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nX-A: b\r\n",
        "too many headers": lambda: _request(form(), more=b"".join(b"X-%d: y\r\n" % n for n in range(300))),
        "a header over the limit": lambda: _request(form(), more=b"X-A: " + b"y" * 40_000 + b"\r\n"),
        "a header with noise": lambda: _request(form(), more=b"X-A: " + noise(30) + b"\r\n"),
        "no HTTP at all": lambda: b"\x16\x03\x01" + noise(200) + b"\r\n\r\n",
        "another version": lambda: b"POST " + load.PATH.encode() + b" HTTP/9.9\r\nHost: x\r\n\r\n",
        "another method": lambda: _request(form(), method=chance.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE"])),
        "a connection to elsewhere": lambda: b"CONNECT " + raw + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "a WebSocket": lambda: _request(
            form(), more=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eHg=\r\n"
        ),
        "a path that climbs": lambda: _request(form(), path="/channels/../../../etc/passwd%00"),
    }


def requests(base_url: str, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Requests without end, kind after kind; the same for the same seed but for the sids of what was signed."""
    kinds = _kinds(base_url, random.Random(seed))
    return ((name, make()) for name, make in itertools.cycle(kinds.items()))


async def exchange(port: int, payload: bytes, *, timeout_s: float) -> str:
    """The status that comes back; empty when there is none in time or the connection is closed without."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = b""
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.LimitOverrunError):
        async with asyncio.timeout(timeout_s):
            writer.write(payload)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            line = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return line[9:12].decode("latin-1") if line.startswith(b"HTTP/1.") else ""


async def attack(base_url: str, *, count: int, seed: int, at_once: int = 16) -> dict[str, Counter[str]]:
    """How often each kind was answered with which status."""
    port = urlsplit(base_url).port or 80
    answers: dict[str, Counter[str]] = {}
    every = itertools.islice(requests(base_url, seed=seed), count)

    async def one() -> None:
        for name, payload in every:
            status = await exchange(port, payload, timeout_s=0.05 if name in QUIET else 10)
            answers.setdefault(name, Counter())[status] += 1

    await asyncio.gather(*(one() for _ in range(at_once)))
    return answers


def rows(home: Any) -> int:
    """Messages, contacts and numbers in the database."""
    import psycopg

    from recado.settings import Settings
    from recado.wiring import database

    with database(Settings(home=home, _env_file=None)) as there, psycopg.connect(there.admin_url) as conn:
        query = "SELECT (SELECT count(*) FROM recado.messages) + (SELECT count(*) FROM recado.contacts) + count(*) "
        found = conn.execute(query + "FROM recado.numbers").fetchone()
    return int(found[0]) if found else -1


def measure(*, count: int = 10_000) -> dict[str, Any]:
    """The attack, with the memory of `recado api` after a fifth of it and at the end."""
    port = stack.free_port()
    base = f"http://127.0.0.1:{port}"
    with stack.home() as home, ExitStack() as running:
        stack.run(stack.set_up(home))
        before = rows(home)
        # Every request is looked at: at ten times its limit an address is not.
        env = stack.environment(home, log_level="ERROR", limits="ip=2000/minute")
        api = running.enter_context(
            stack.process("-m", "recado", "api", "--port", str(port), env=env, up=f"{base}/healthz")
        )
        process = psutil.Process(api.pid)
        answers = stack.run(attack(base, count=count // 5, seed=1))
        warm_mb = process.memory_info().rss / 1e6
        for name, found in stack.run(attack(base, count=count - count // 5, seed=2)).items():
            answers.setdefault(name, Counter()).update(found)
        memory_mb = process.memory_info().rss / 1e6
        good = stack.run(load.post_all(base, [load.webhook(base, contact=9)], connections=1)).failed == 0
        stored = rows(home) - before
    total: Counter[str] = sum(answers.values(), Counter())
    return {
        "kinds": len(answers),
        "requests": sum(total.values()),
        "statuses": dict(sorted(total.items())),
        "server_errors": sum(number for status, number in total.items() if status.startswith("5")),
        "let_in": sum(number for status, number in total.items() if status.startswith("2")),
        "rows_stored_beside_the_good_one": stored - 2,
        "good_one_taken": good,
        "memory_mb_after_a_fifth": round(warm_mb, 1),
        "memory_mb_at_the_end": round(memory_mb, 1),
    }
