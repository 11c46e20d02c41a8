"""receive: the webhook's door. Authenticate, parse, hand to `accept`; answer an empty TwiML `<Response/>`.

Wrong or unsigned: 403 with an opaque body and nothing stored. Without a signature only an API key of the account's
owner is let in; there is no way around the two, in development either: the simulator signs like Twilio.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from recado import metrics
from recado.channels.port import Inbound
from recado.channels.twilio.addresses import WHATSAPP
from recado.channels.twilio.directory import Account, Directory
from recado.channels.twilio.parse import contact_words, parse_inbound
from recado.channels.twilio.signature import canonical_url, is_form, is_signed, parse_form, parse_json
from recado.clock import Clock
from recado.conversations.happenings import happened
from recado.db.group_commit import Unavailable
from recado.db.pool import Pool
from recado.errors import Rejected
from recado.identity import keys
from recado.journey.accept.accept import CHANNEL, Acceptor, arrival
from recado.journey.receive.limits import ADMITTED, MessageLimits
from recado.settings import Network

#: Twilio's webhooks are a few kilobytes; nothing larger is read.
BODY_LIMIT = 256 * 1024
TWIML = Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', media_type="text/xml")

Parameters = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What both webhook routes need to know whom they talk to."""

    directory: Directory
    pool: Pool
    public_url: str | None
    trusted_proxies: Sequence[Network]

    async def authenticate(self, request: Request) -> tuple[Account, Parameters]:
        """The account that this request is about, and its parameters, none dropped.

        It is let in by the signature of one of the account's tokens, or by an API key of the account's owner that has
        the scope `webhooks`. Raises Rejected: 413 too large, 415 neither form nor JSON, 400 unreadable, 403 for
        everything else; and Unavailable when the account's tokens can't be read now. The order matters: nobody
        learns more than 403 about accounts, keys and signatures.
        """
        body = await _read(request)
        content_type = request.headers.get("content-type", "")
        parameters = _parameters(content_type, body)
        signature = request.headers.get("x-twilio-signature", "")
        key = request.headers.get("x-api-key", "")
        account_sid = next((value for name, value in parameters if name == "AccountSid"), "")
        if not (signature or key) or not account_sid:
            raise Rejected(403, "no AccountSid" if signature or key else "unsigned")
        account = await self.directory.account(account_sid)
        if account is None:
            raise Rejected(403, "unknown AccountSid")
        if signature:
            public_url = account.public_url or self.public_url
            url = canonical_url(request.scope, public_url=public_url, trusted_proxies=self.trusted_proxies)
            if is_signed(url, account.tokens, signature, content_type=content_type, body=body, params=parameters):
                return account, parameters
        if key:
            caller = await keys.authenticate(self.pool, key)
            if caller is not None and caller.owner_id == account.owner_id and caller.may("webhooks"):
                return account, parameters
            raise Rejected(403, "wrong API key")
        if account.unreadable is not None:
            await happened(account.owner_id, "receive", "tokens_unreadable", error=account.unreadable)
            raise Unavailable("the account's tokens can't be read")
        raise Rejected(403, "wrong signature")


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_LIMIT:
        raise Rejected(413, "body too large")
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > BODY_LIMIT:
            raise Rejected(413, "body too large")
    return bytes(chunks)


def _parameters(content_type: str, body: bytes) -> Parameters:
    try:
        if is_form(content_type):
            return parse_form(body)
        if content_type.partition(";")[0].strip().lower() == "application/json":
            return parse_json(body)
    except ValueError:
        raise Rejected(400, "unreadable body") from None
    raise Rejected(415, "neither a form nor JSON")


async def receive(request: Request, door: Door, acceptor: Acceptor, limits: MessageLimits, clock: Clock) -> Response:
    """POST /channels/twilio/v1/webhooks/inbound: one inbound message.

    200 means that the message is stored and its turn enqueued, now or by an earlier delivery of the same webhook; one
    over its limit is stored for people, and so is one of another channel: recado answers on WhatsApp.
    Raises Unavailable, or what a database that is away raises: nothing is promised then, the caller should try again.
    """
    began = time.perf_counter()
    account, parameters = await door.authenticate(request)
    inbound: Inbound = parse_inbound(parameters)
    number = await door.directory.number(account, inbound.to_address)
    ours = inbound.channel == WHATSAPP
    words, verdict = contact_words(inbound), await limits.admit(account, inbound) if ours else ADMITTED
    held = verdict.held if ours else CHANNEL
    received = time.perf_counter()
    metrics.STEP_SECONDS("receive", "done").observe(received - began)
    try:
        accepted = await acceptor.submit(arrival(account, number, inbound, words, now=clock.now(), held=held))
    except Exception:
        await limits.uncount(account, inbound, verdict, stored=False)
        raise
    if not accepted.new:
        await limits.uncount(account, inbound, verdict, stored=True)
    if verdict.courtesy and accepted.new:
        await limits.be_courteous(account.owner_id, accepted.message_id, words, now=clock.now())
    await happened(
        account.owner_id,
        "accept",
        "accepted",
        message_id=accepted.message_id,
        correlation_id=accepted.message_id,
        duration_s=time.perf_counter() - received,
        received_s=received - began,
        new=accepted.new,
        held_for=held,
    )
    return TWIML
