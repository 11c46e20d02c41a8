"""Posting to webhooks as Twilio does: signed, form-encoded, retried as the URL's fragment says.

Without a fragment Twilio retries a failed connection once and nothing else; `#rc=3&rp=ct,rt,5xx` changes both the
number of retries and what is retried (`ct` connection, `rt` read time-out, `4xx`, `5xx`, `all`). The fragment is
neither sent nor signed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs, urldefrag, urlencode

import aiohttp
import yarl
from twilio.request_validator import RequestValidator

from recado.simulator.state import Attempt, Message

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
MAX_RETRIES = 5

EVENT_TYPES = {"delivered": "DELIVERED", "read": "READ", "failed": "FAILED", "undelivered": "UNDELIVERED"}
CHANNEL_STATUS = {63016: "Re-engagement message", 63019: "Media failed to download", 63024: "Message undeliverable"}
CHANNEL_INSTALL_SID = "XE" + "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to post and what to retry, read from a webhook URL with its fragment."""

    url: str
    retries: int
    policy: frozenset[str]


@lru_cache(maxsize=256)
def target(webhook_url: str) -> Target:
    """Split a webhook URL from the connection overrides in its fragment (https://www.twilio.com/docs/usage/webhooks)."""
    url, fragment = urldefrag(webhook_url)
    overrides = parse_qs(fragment)
    retries = int(overrides["rc"][0]) if "rc" in overrides and overrides["rc"][0].isdigit() else 1
    policy = frozenset(overrides["rp"][0].split(",")) if "rp" in overrides else frozenset({"ct"})
    return Target(url=url, retries=min(retries, MAX_RETRIES), policy=policy)


def retried(attempt: Attempt, policy: frozenset[str]) -> bool:
    """Whether an attempt that ended this way is made again under that policy."""
    if attempt.error is not None:
        return attempt.error in policy or "all" in policy
    if attempt.status is None or attempt.status < 400:
        return False
    return f"{attempt.status // 100}xx" in policy or "all" in policy


@lru_cache(maxsize=256)
def _validator(token: str) -> RequestValidator:
    return RequestValidator(token)


def signature(token: str, url: str, params: Mapping[str, str]) -> str:
    """The X-Twilio-Signature of a form post to this URL."""
    return str(_validator(token).compute_signature(url, params))


async def post(
    session: aiohttp.ClientSession,
    webhook_url: str,
    params: Mapping[str, str],
    *,
    token: str,
    idempotency_token: str,
    retry_delay_ms: float,
) -> list[Attempt]:
    """Post a signed webhook, retrying as its URL asks; never raises for what the other side does."""
    goal = target(webhook_url)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "X-Twilio-Signature": signature(token, goal.url, params),
        "I-Twilio-Idempotency-Token": idempotency_token,
        "X-Home-Region": "us1",
        "User-Agent": "TwilioProxy/1.1",
    }
    body = urlencode(params).encode()
    attempts = [await _attempt(session, goal.url, body, headers)]
    while len(attempts) <= goal.retries and retried(attempts[-1], goal.policy):
        await asyncio.sleep(retry_delay_ms / 1000)
        attempts.append(await _attempt(session, goal.url, body, headers))
    return attempts


async def _attempt(session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
    started = time.monotonic()
    status: int | None = None
    error: str | None = None
    try:
        # The signature covers the URL as it was given, so it must not be requoted on its way.
        async with session.post(
            yarl.URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
        ) as response:
            await response.read()
            status = response.status
    except aiohttp.SocketTimeoutError:
        error = "rt"
    except (aiohttp.ServerConnectionError, aiohttp.ClientPayloadError):
        # Answered by a closed connection: for Twilio that is a failed connection too (error 11200).
        error = "ct"
    except (aiohttp.ClientError, OSError, ValueError):
        error = "ct"
    return Attempt(status=status, error=error, ms=round((time.monotonic() - started) * 1000, 3))


def new_session(connections: int) -> aiohttp.ClientSession:
    """The one client session that all webhooks share; waiting for a free connection does not count as a time-out."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def inbound_params(message: Message, extra: Mapping[str, str | None], profile_name: str) -> dict[str, str]:
    """The parameters of an inbound webhook; `extra` adds to them, replaces them, or with None takes them away."""
    params: dict[str, str | None] = {
        "SmsMessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageSid": message.sid,
        "AccountSid": message.account_sid,
        "ApiVersion": "2010-04-01",
        "From": message.contact,
        "To": message.number,
        "SmsStatus": "received",
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "NumMedia": str(len(message.media_urls)),
        "MessageType": "text",
        "Body": message.body,
    }
    if message.contact.startswith("whatsapp:"):
        params |= _who(message, profile_name)
    if message.messaging_service_sid:
        params["MessagingServiceSid"] = message.messaging_service_sid
    params.update(extra)
    return {name: value for name, value in params.items() if value is not None}


def _who(message: Message, profile_name: str) -> dict[str, str | None]:
    """The contact's name and number; a business-scoped sender has no number, only an id for this business."""
    address = message.contact.removeprefix("whatsapp:")
    if not re.fullmatch(r"\+?[0-9]+", address):
        return {"ProfileName": profile_name, "ExternalUserId": address}
    wa_id = address.removeprefix("+")
    who: dict[str, str | None] = {"ProfileName": profile_name, "WaId": wa_id}
    if message.kind == "audio":
        who["ChannelMetadata"] = channel_metadata(ProfileName=profile_name, WaId=wa_id)
    if message.kind == "button":
        who["ChannelMetadata"] = channel_metadata(ProfileName=profile_name, WaId=wa_id, ButtonText=message.body)
    return who


def status_params(message: Message) -> dict[str, str]:
    """The parameters of the status callback that tells the message's present status."""
    params = {
        "AccountSid": message.account_sid,
        "ApiVersion": "2010-04-01",
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "From": message.from_,
        "To": message.to,
        "MessageStatus": message.status,
        "SmsStatus": message.status,
    }
    if message.to.startswith("whatsapp:"):
        params["ChannelPrefix"] = "whatsapp"
        params["ChannelInstallSid"] = CHANNEL_INSTALL_SID
        params["ChannelToAddress"] = _masked(message.to.removeprefix("whatsapp:"))
    if message.messaging_service_sid:
        params["MessagingServiceSid"] = message.messaging_service_sid
    if message.status == "sent":
        params["StructuredMessage"] = "false"
    if message.status in EVENT_TYPES:
        params["EventType"] = EVENT_TYPES[message.status]
    if message.error_code is not None:
        params["ErrorCode"] = str(message.error_code)
        params["ErrorMessage"] = ""
        params["ChannelStatusMessage"] = CHANNEL_STATUS.get(message.error_code, "Message not delivered")
    return params


def _masked(address: str) -> str:
    return address[:-6] + "X" * 6 if len(address) > 6 else address


def channel_metadata(**context: str) -> str:
    """The JSON text of ChannelMetadata, for inbound messages that carry it."""
    return json.dumps({"type": "whatsapp", "data": {"context": context}}, ensure_ascii=False, separators=(",", ":"))
