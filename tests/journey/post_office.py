"""A delivery that the test runs itself: the real sender to the simulated Twilio, with its waits cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from recado.channels.port import Sender
from recado.channels.twilio.client import TwilioHttp
from recado.channels.twilio.senders import Senders
from recado.conversations import messages
from recado.db.scope import scoped
from recado.delivery.content import Content
from recado.delivery.retry import RetryPolicy
from recado.ids import new_id
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from tests.product import Company, Contact, Product

#: The whole of a call to Twilio, and after how long the list is believed; the second is longer than the first.
CALL_S = 0.5
SETTLE_S = 0.7


@dataclass(frozen=True, slots=True)
class PostOffice:
    """A contact who has just written, and the means to answer."""

    company: Company
    contact: Contact
    conversation_id: UUID
    desk: DeliverDesk

    @property
    def product(self) -> Product:
        return self.company.product

    def write(self, body: str, content: Content | None = None) -> UUID:
        """An outbound message as `answer` or the API stores it; nobody sends it yet."""
        wiring = self.product.wiring
        assert wiring is not None

        async def make() -> UUID:
            async with scoped(wiring.pool, self.company.owner_id) as scope:
                return await messages.enqueue_outbound(
                    scope,
                    conversation_id=self.conversation_id,
                    author="assistant",
                    body=body,
                    correlation_id=new_id(),
                    now=datetime.now(UTC),
                    content=content,
                )

        return self.product.call(make)

    def deliver(self, *message_ids: UUID, sender: Sender | None = None, **changes: Any) -> None:
        """Run the deliveries, at once if there are several; with another sender or other times if given."""
        if sender is not None:

            async def given(_owner_id: UUID, _account_id: UUID) -> Sender:
                return sender

            changes["sender_of"] = given
        desk = replace(self.desk, **changes)

        async def work() -> None:
            runs = (send_whatsapp_message(desk, self.company.owner_id, message_id) for message_id in message_ids)
            await asyncio.gather(*runs)

        self.product.call(work)

    def real_sender(self) -> Sender:
        (account,) = self.product.rows("SELECT id FROM twilio_accounts WHERE owner_id = %s", self.company.owner_id)

        async def find() -> Sender:
            return await self.desk.sender_of(self.company.owner_id, account["id"])

        return self.product.call(find)

    def bodies(self) -> list[str]:
        """What the contact's phone shows."""
        return [bubble.body for bubble in self.contact.seen()]

    def operations(self) -> list[str]:
        """The REST calls of the company in the order in which they were answered: create, list."""
        calls = self.contact._call(lambda client: client.calls())
        return [call.operation for call in calls if self.company.account_sid in call.path]

    def parts(self, message_id: UUID) -> list[dict[str, Any]]:
        return self.product.rows(
            "SELECT part, body, status, error_code, provider_sid FROM message_parts WHERE message_id = %s "
            "ORDER BY part",
            message_id,
        )

    def message(self, message_id: UUID) -> dict[str, Any]:
        (row,) = self.product.rows("SELECT * FROM messages WHERE id = %s", message_id)
        return row

    def events(self, message_id: UUID, step: str = "deliver") -> list[dict[str, Any]]:
        return self.product.rows(
            "SELECT what, data FROM events WHERE message_id = %s AND step = %s ORDER BY id", message_id, step
        )


@contextmanager
def post_office(product: Product) -> Iterator[PostOffice]:
    """A post office for a new owner and a new contact."""
    wiring = product.wiring
    assert wiring is not None
    company = product.company()
    contact = company.contact()
    contact.says("Oi")
    (first,) = contact.messages()
    senders = Senders(
        wiring.pool,
        wiring.keyring,
        api_url=product.simulator_url,
        messaging_url=None,
        http=TwilioHttp(timeout_s=CALL_S),
    )
    desk = DeliverDesk(
        pool=wiring.pool,
        clock=wiring.clock,
        split_chars=1500,
        public_url=product.base_url,
        sender_of=senders.of,
        contents_of=senders.contents_of,
        media_link=lambda url, owner_id, media_id: f"{url}/media/{owner_id}-{media_id}",
        settle_s=SETTLE_S,
        crash_settle_s=SETTLE_S,
        reconcile_poll_s=0.1,
        predecessor_s=3.0,
        policy=RetryPolicy(base_s=0.05, reconcile_after_s=0.05),
    )
    try:
        yield PostOffice(company, contact, first["conversation_id"], desk)
    finally:
        product.call(senders.aclose)
