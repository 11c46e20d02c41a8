"""The owner writes first: template out, the contact answers, and the assistant goes on from there."""

from __future__ import annotations

import pytest

from tests.journey.conftest import MODEL
from tests.journey.test_outbound_journey import Program, key_of
from tests.model_server import ModelServer, Request
from tests.product import Company, Product


@pytest.fixture
def company(product: Product) -> Company:
    return product.company(model=MODEL)


def test_a_template_is_delivered_answered_and_gone_on_from_in_one_conversation(
    company: Company, model_server: ModelServer
) -> None:
    seen: list[list[tuple[str, str]]] = []

    def script(request: Request) -> str:
        seen.append(request.turns)
        return "Até as 20h!"

    model_server.script = script
    contact = company.contact()
    program = Program(company, contact, key_of(company))
    ready = program.approved("order_ready")
    [number] = company.product.rows("SELECT id FROM numbers WHERE owner_id = %s", company.owner_id)
    made = program.ask(
        "POST",
        "/v1/messages",
        json={
            "number_id": str(number["id"]),
            "to": contact.address,
            "template": {"content_sid": ready.content_sid, "variables": {"1": "Ana", "2": "A-17"}},
        },
    )
    says = "Olá, Ana! Seu pedido A-17 está pronto para retirada."
    [shown] = contact.replies(1, status="delivered")
    assert shown.body == says
    contact.says("Até que horas posso buscar?")
    *_, answer = contact.replies(2, status="delivered")
    assert answer.body == "Até as 20h!"
    contact.settled(2)
    assert {str(row["conversation_id"]) for row in contact.messages()} == {made["conversation_id"]}
    assert [row["direction"] for row in contact.messages()] == ["outbound", "inbound", "outbound"]
    [turns] = seen
    assert [text for role, text in turns if role == "assistant"] == [says]
    shown_to_programs = program.ask("GET", f"/v1/conversations/{made['conversation_id']}")
    assert shown_to_programs["window"]["open"] is True
