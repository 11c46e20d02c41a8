"""The journey of a voice note: one correlation id from the webhook to the answer, and an answer whatever happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recado.assistants import unheard
from tests.media.voice import NOTES
from tests.model_server import ModelServer, say
from tests.product import Company, Contact, Product

NOTE = NOTES[0].path.read_bytes()


@pytest.fixture
def hearing(model_server: ModelServer) -> ModelServer:
    model_server.spoken = {NOTE: "Vocês fazem entrega?"}
    return model_server


def sends(contact: Contact, content: bytes = NOTE, content_type: str = "audio/ogg") -> str:
    """The contact sends a file; answers the MessageSid."""
    company = contact.company

    async def send(client: Any) -> str:
        sid = await client.keep_file(content, account_sid=company.account_sid, content_type=content_type)
        sent = await client.send(
            "", account_sid=company.account_sid, from_=contact.address, to=company.number, files=[sid]
        )
        assert sent.statuses == [200]
        return str(sent.sid)

    return contact._call(send)


def seen_by_nobody(product: Product) -> list[Any]:
    async def violations(client: Any) -> list[Any]:
        return list(await client.violations())

    return Contact(product.company(), "whatsapp:+5511900000000")._call(violations)


def test_a_voice_note_is_answered_under_the_correlation_id_of_its_webhook(
    product: Product, company: Company, hearing: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    contact = company.contact()
    sid = sends(contact)
    (reply,) = contact.replies()
    assert "R$ 8,00" in reply.body
    contact.settled(1)
    question, answer = contact.messages()
    assert (question["provider_sid"], question["kind"], question["body"]) == (sid, "audio", "")
    assert question["transcript"] == "Vocês fazem entrega?"
    assert answer["correlation_id"] == question["correlation_id"] == question["id"]
    (kept,) = product.rows("SELECT * FROM media WHERE message_id = %s", question["id"])
    assert (kept["status"], kept["content_type"], kept["size_bytes"]) == ("stored", "audio/ogg", len(NOTE))
    assert (product.home / "media" / kept["storage_key"]).read_bytes() == NOTE
    events = product.rows(
        "SELECT step, what FROM events WHERE owner_id = %s AND correlation_id = %s ORDER BY id",
        company.owner_id,
        question["id"],
    )
    assert [(event["step"], event["what"]) for event in events][:3] == [
        ("accept", "received"),
        ("understand", "transcribed"),
        ("answer", "keyless"),
    ]
    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    for event in ("accepted", "understood", "answered"):
        (line,) = [line for line in lines if line["event"] == event and line.get("owner_id") == company.owner_id]
        assert str(line["correlation_id"]) == str(question["id"])
    assert "entrega" not in json.dumps(lines, default=str)
    assert list((product.home / "scratch").glob("*/*")) == []
    assert seen_by_nobody(product) == []


def test_a_note_that_nobody_understands_is_answered_with_a_sentence_once(
    company: Company, hearing: ModelServer
) -> None:
    contact = company.contact()
    hearing.spoken = {}
    sends(contact)
    (reply,) = contact.replies()
    assert reply.body == unheard.WORDS["pt"]
    question, answer = contact.messages()
    assert (question["transcript"], question["status"], answer["author"]) == (None, "answered", "system")


def test_a_note_that_is_not_there_is_told_too_and_people_see_why(
    product: Product, company: Company, hearing: ModelServer
) -> None:
    contact = company.contact()
    sends(contact, b"<html>not audio</html>")
    (reply,) = contact.replies()
    assert reply.body == unheard.WORDS["pt"]
    (kept,) = product.rows("SELECT * FROM media WHERE message_id = %s", contact.messages()[0]["id"])
    assert (kept["status"], kept["reason"], kept["storage_key"]) == ("refused", "type", None)


def test_a_note_and_a_question_are_one_turn_in_the_order_sent(product: Product, hearing: ModelServer) -> None:
    company = product.company(model="openai:scripted")
    contact = company.contact()
    hearing.script, hearing.spoken = say("Sim."), {NOTE: "tem bolo de cenoura?"}
    before = len(hearing.requests)
    contact.says("Oi")
    sends(contact)
    contact.says("e aos domingos?")
    contact.replies()
    contact.settled(1)
    assert [row["status"] for row in contact.messages() if row["direction"] == "inbound"] == ["answered"] * 3
    asked = json.dumps(hearing.requests[-1].body, ensure_ascii=False)
    assert len(hearing.requests) - before <= 2
    assert asked.index("Oi") < asked.index("tem bolo de cenoura?") < asked.index("e aos domingos?")
