"""A load client that costs little itself: raw HTTP/1.1 over asyncio, requests made and signed before the clock runs."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from recado.channels.twilio.signature import sign

ACCOUNT_SID = "AC" + "0" * 32
TOKEN = "bench_token"
NUMBER = "whatsapp:+14155238886"
PATH = "/channels/twilio/v1/webhooks/inbound"


@dataclass(frozen=True, slots=True)
class Result:
    """How a load went; latencies in milliseconds."""

    requests: int
    failed: int
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float

    def row(self) -> dict[str, float | int]:
        return {
            "requests": self.requests,
            "failed": self.failed,
            "rate": round(self.rate, 1),
            "p50_ms": round(self.p50_ms, 2),
            "p99_ms": round(self.p99_ms, 2),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def webhook(
    base_url: str,
    *,
    contact: int,
    body: str = "Olá, que horas vocês abrem amanhã?",
    account: tuple[str, str, str] = (ACCOUNT_SID, TOKEN, NUMBER),
) -> bytes:
    """One signed inbound webhook as the bytes of an HTTP request, with a MessageSid of its own.

    `account` is AccountSid, token and number.
    """
    account_sid, token, number = account
    sid = "SM" + secrets.token_hex(16)
    phone = f"+55119{contact:08d}"
    form = {
        "SmsMessageSid": sid,
        "SmsSid": sid,
        "MessageSid": sid,
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "From": f"whatsapp:{phone}",
        "To": number,
        "WaId": phone[1:],
        "ProfileName": "José 😀",
        "SmsStatus": "received",
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "NumMedia": "0",
        "MessageType": "text",
        "Body": body,
    }
    payload = urlencode(form).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: TwilioProxy/1.1\r\n"
        f"X-Twilio-Signature: {sign(base_url + PATH, token, form.items())}\r\n"
        f"I-Twilio-Idempotency-Token: {secrets.token_hex(16)}\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


async def post_all(base_url: str, requests: Sequence[bytes], *, connections: int, rate: float | None = None) -> Result:
    """Send the requests over that many kept connections, each the next as soon as its answer is there.

    With `rate` none is sent before its time, so many a second.
    """
    parts = urlsplit(base_url)
    queue = iter(enumerate(requests))
    latencies: list[float] = []
    failed = 0

    async def one() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for index, request in queue:
            if rate is not None:
                await asyncio.sleep(max(0.0, start + index / rate - time.perf_counter()))
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
            latencies.append((time.perf_counter() - began) * 1000)
            if not head.startswith(b"HTTP/1.1 200"):
                failed += 1
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    seconds = time.perf_counter() - start
    return Result(
        requests=len(latencies),
        failed=failed,
        seconds=seconds,
        rate=len(latencies) / seconds,
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
    )
