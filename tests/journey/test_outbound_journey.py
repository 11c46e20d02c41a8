"""From the API to the phone and back: buttons, a picture, templates, and a window that Twilio finds closed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest

from recado.channels.twilio.senders import Senders
from recado.conversations import templates
from recado.conversations.templates import Fallback, Template
from recado.db.scope import scoped
from recado.identity import keys
from tests.api.programs import JPEG
from tests.product import Company, Contact


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the owner's, the contact it writes to, and their conversation if there is one."""

    company: Company
    contact: Contact
    key: str
    conversation_id: UUID | None = None

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        answer = httpx2.request(method, self.company.product.base_url + path, headers=headers, timeout=10, **more)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def send(self, **given: Any) -> Any:
        return self.ask("POST", f"/v1/conversations/{self.conversation_id}/messages", json=given)

    def approved(self, name: str) -> Template:
        """The account's template of that name in Portuguese, after a sync."""
        product = self.company.product
        wiring = product.wiring
        assert wiring is not None
        (account,) = product.rows("SELECT id FROM twilio_accounts WHERE owner_id = %s", self.company.owner_id)

        async def sync() -> list[Template]:
            senders = Senders(wiring.pool, wiring.keyring, api_url=product.simulator_url, messaging_url=None)
            try:
                found = await (await senders.contents_of(self.company.owner_id, account["id"])).templates()
            finally:
                await senders.aclose()
            async with scoped(wiring.pool, self.company.owner_id) as scope:
                await templates.sync(scope, account["id"], found, now=datetime.now(UTC))
                return await templates.page(scope, after=None, limit=100)

        [one] = [found for found in product.call(sync) if (found.name, found.language) == (name, "pt_BR")]
        return one


def key_of(company: Company) -> str:
    """The text of a new key that may do everything."""
    wiring = company.product.wiring
    assert wiring is not None

    async def make() -> str:
        async with scoped(wiring.pool, company.owner_id) as scope:
            return (await keys.make(scope, name=secrets.token_hex(4), scopes=["admin"]))[1]

    return company.product.call(make)


@pytest.fixture
def program(company: Company) -> Program:
    contact = company.contact()
    contact.says("Vocês fazem entrega?")
    contact.replies(1, status="delivered")
    return Program(company, contact, key_of(company), contact.messages()[0]["conversation_id"])


def test_buttons_reach_the_phone_and_the_tap_comes_back(program: Program) -> None:
    program.send(body="Confirma o pedido?", quick_replies=[{"id": "yes", "title": "Sim"}, {"id": "no", "title": "Não"}])
    _, shown = program.contact.replies(2, status="delivered")
    assert shown.body == "Confirma o pedido?"
    assert [choice.title for choice in shown.choices] == ["Sim", "Não"]
    program.contact._call(lambda client: client.tap(shown.sid, "Sim"))
    *_, tapped = [row for row in program.contact.messages() if row["direction"] == "inbound"]
    assert tapped["body"] == "Sim"
    assert tapped["parameters"]["ButtonPayload"] == ["yes"]


def test_a_list_reaches_the_phone(program: Program) -> None:
    items = [{"id": "1", "title": "Cenoura", "description": "com chocolate"}, {"id": "2", "title": "Fubá"}]
    program.send(body="Qual bolo?", list={"button": "Ver", "items": items})
    _, shown = program.contact.replies(2, status="delivered")
    assert [choice.title for choice in shown.choices] == ["Cenoura", "Fubá"]


def test_an_uploaded_picture_reaches_the_phone_with_its_caption(program: Program) -> None:
    made = program.ask("POST", "/v1/media", content=JPEG, headers={"Content-Type": "image/jpeg"})
    program.send(body="Nosso cardápio", media_id=made["id"])
    _, shown = program.contact.replies(2, status="delivered")
    assert shown.body == "Nosso cardápio"
    assert len(shown.files) == 1


def test_a_template_of_the_accounts_reaches_the_phone_with_its_variables(program: Program) -> None:
    ready = program.approved("order_ready")
    program.send(template={"content_sid": ready.content_sid, "variables": {"1": "Ana", "2": "A-17"}})
    _, shown = program.contact.replies(2, status="delivered")
    assert shown.body == "Olá, Ana! Seu pedido A-17 está pronto para retirada."


def test_a_window_that_twilio_finds_closed_after_taking_the_message_ends_in_the_owners_template(
    program: Program,
) -> None:
    product = program.company.product
    ready = program.approved("order_ready")
    (row,) = product.rows("SELECT id FROM assistants WHERE owner_id = %s", program.company.owner_id)
    wiring = product.wiring
    assert wiring is not None

    async def choose() -> None:
        async with scoped(wiring.pool, program.company.owner_id) as scope:
            fallback = Fallback(content_sid=ready.content_sid, variables={"1": "{contact_name}", "2": "{text}"})
            await templates.set_fallback(scope, row["id"], fallback)

    product.call(choose)
    company = program.company
    program.contact._call(
        lambda client: client.window(program.contact.address, 0, account_sid=company.account_sid, number=company.number)
    )
    made = program.send(body="A-18")
    _, refused, shown = program.contact.replies(3)
    assert (refused.body, refused.error_code) == ("A-18", 63016)
    assert "Seu pedido A-18 está pronto" in shown.body
    program.contact.settled(2)
    stored = program.ask("GET", f"/v1/messages/{made['id']}")
    assert (stored["body"], stored["status"]) == ("A-18", "delivered")
