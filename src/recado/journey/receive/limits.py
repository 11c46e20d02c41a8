"""Limits: what a flood may cost. An authentic message over its limit is kept and shown, not answered, not billed.

A message counts, once, against its contact's limit and its Twilio account's. Over one of them it is stored as `held`,
with an event `limited` and no work; people see it, and `recado failed retry` answers it after all. The contact hears of
it once a window; over the account's limit nobody does, or a flood from many contacts would make us send as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from recado import metrics
from recado.assistants.words import detect
from recado.channels.port import Inbound
from recado.channels.twilio.directory import Account
from recado.conversations import messages
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.counters import Counted, Counters
from recado.db.pool import PASSING, Pool
from recado.db.scope import Scope, scoped
from recado.settings import Rate

#: What an arrival over its limit is held for.
LIMITED: Final = "limit"

COURTESY = {
    "pt": "Recebemos muitas mensagens suas em pouco tempo. As últimas ficaram guardadas, mas sem resposta automática. "
    "Espere um pouco e escreva de novo, por favor.",
    "es": "Recibimos muchos mensajes tuyos en poco tiempo. Los últimos quedaron guardados, pero sin respuesta "
    "automática. Espera un poco y escribe de nuevo, por favor.",
    "en": "We received many messages from you in a short time. The latest are kept but not answered automatically. "
    "Please wait a moment and write again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the limits say to a message: why it is held, if it is, and whether its contact should hear of it.

    `counted` is what it was counted for just now.
    """

    held: HeldFor | None
    courtesy: bool = False
    counted: tuple[Counted, ...] = ()


ADMITTED = Verdict(held=None)
#: Messages of which it is known that they were counted: at least so many of the latest, at most twice as many.
REMEMBERED = 20_000

Which = tuple[UUID, str]


class Remembered:
    """The verdicts of the latest messages, by Twilio account and MessageSid."""

    def __init__(self) -> None:
        self._latest: dict[Which, Verdict] = {}
        self._before: dict[Which, Verdict] = {}

    def get(self, which: Which) -> Verdict | None:
        """Its verdict; None for one that is new, or was long ago."""
        return self._latest.get(which) or self._before.get(which)

    def keep(self, which: Which, verdict: Verdict) -> None:
        """Remember it, and forget the older half when there are too many."""
        if len(self._latest) >= REMEMBERED:
            self._before, self._latest = self._latest, {}
        self._latest[which] = verdict

    def forget(self, which: Which) -> None:
        """It may come again as if for the first time."""
        self._latest.pop(which, None)
        self._before.pop(which, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLimits:
    """The limits behind authentication, where they are counted, and how a contact hears of one."""

    counters: Counters
    rates: Mapping[str, Rate]
    pool: Pool
    counted: Remembered = field(default_factory=Remembered)

    async def admit(self, account: Account, inbound: Inbound) -> Verdict:
        """Count the message and say what becomes of it; raises nothing when the counters are away.

        What is over its contact's limit does not count against the account's: one who floods takes nothing from others.
        Nor does a message count twice, by whomever it is repeated: its verdict is remembered, and of one that turns out
        to be there already `uncount` gives the count back.
        """
        which = (account.id, inbound.message_sid)
        known = self.counted.get(which)
        if known is not None:
            return replace(known, counted=())
        verdict = await self._count(account, inbound)
        if verdict.counted:
            self.counted.keep(which, verdict)
        return verdict

    async def _count(self, account: Account, inbound: Inbound) -> Verdict:
        wanted = []
        if (rate := self.rates.get("contact")) is not None:
            # No address stands in Redis, where others may look.
            contact = blake2b(f"{account.owner_id}/{inbound.identity_key}".encode(), digest_size=16).hexdigest()
            wanted.append(Counted(kind="contact", key=contact, rate=rate))
        if (rate := self.rates.get("account")) is not None:
            wanted.append(Counted(kind="account", key=str(account.id), rate=rate))
        if not wanted:
            return ADMITTED
        counts = await self.counters.add(*wanted)
        last, over = wanted[len(counts) - 1], counts[-1].number - wanted[len(counts) - 1].rate.amount
        if over > 0:
            metrics.LIMITED(last.kind).inc()
        if over == 1 and last.kind == "account":
            await happened(account.owner_id, "receive", "limited", kind="account", account_id=account.id)
        return Verdict(
            held=LIMITED if over > 0 else None,
            courtesy=over == 1 and last.kind == "contact",
            counted=tuple(wanted[: len(counts)]),
        )

    async def uncount(self, account: Account, inbound: Inbound, verdict: Verdict, *, stored: bool) -> None:
        """Give back what the message was counted for: it was there already, or (not `stored`) it is not there now."""
        if verdict.counted:
            if not stored:
                self.counted.forget((account.id, inbound.message_sid))
            await self.counters.take_back(*verdict.counted)

    async def be_courteous(self, owner_id: UUID, message_id: UUID, words: str, *, now: datetime) -> None:
        """Tell the contact of that held message once a window; whatever goes wrong with it, the message is stored."""
        await happened(owner_id, "receive", "limited", message_id=message_id, correlation_id=message_id, kind="contact")
        try:
            async with scoped(self.pool, owner_id) as scope:
                told = await tell(scope, message_id, words, window_s=self.rates["contact"].window_s, now=now)
        except PASSING as error:
            await happened(owner_id, "receive", "courtesy_failed", message_id=message_id, error=type(error).__name__)
            return
        if not told:
            await happened(owner_id, "receive", "courtesy_not_due", message_id=message_id, outcome="not due")


_DUE = """
UPDATE contacts c SET courtesy_at = %(now)s
FROM messages m
JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
JOIN owners o ON o.id = v.owner_id
LEFT JOIN LATERAL assistant_of(n.owner_id, n.id) a ON true
WHERE m.owner_id = %(owner_id)s AND m.id = %(message_id)s AND c.owner_id = v.owner_id AND c.id = v.contact_id
  AND (c.courtesy_at IS NULL OR c.courtesy_at <= %(before)s)
  AND v.status = 'open' AND n.status = 'active' AND o.status = 'active'
  AND NOT EXISTS (SELECT FROM suppressions s WHERE s.owner_id = c.owner_id AND s.identity_key = c.identity_key)
RETURNING v.id, coalesce(c.language, a.language) AS language
"""


async def tell(scope: Scope, message_id: UUID, words: str, *, window_s: int, now: datetime) -> bool:
    """Enqueue the courtesy that answers the message, unless its contact had one within the window; answers whether.

    The contact's row decides, so that it is one a window whoever counted: another process, or one that lost Redis.
    People who have the conversation, a suspended owner and a number that nobody added send none; a contact who wants
    no messages gets none.
    """
    cursor = await scope.conn.execute(
        _DUE,
        {
            "owner_id": scope.owner_id,
            "message_id": message_id,
            "now": now,
            "before": now - timedelta(seconds=window_s),
        },
    )
    due = await cursor.fetchone()
    if due is None:
        return False
    await messages.enqueue_outbound(
        scope,
        conversation_id=due["id"],
        author="system",
        body=COURTESY[detect(words) or (due["language"] if due["language"] in COURTESY else "en")],
        correlation_id=message_id,
        reply_to=message_id,
        now=now,
    )
    await happened(
        scope,
        "accept",
        "courtesy",
        conversation_id=due["id"],
        message_id=message_id,
        correlation_id=message_id,
        outcome="sent",
    )
    return True
