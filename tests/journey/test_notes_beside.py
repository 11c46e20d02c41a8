"""The journey of a picture or a note while others' notes are listened to: nobody's are in anybody's way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.journey.test_voice import NOTE, sends
from tests.model_server import ModelServer
from tests.product import Company, Contact, Product

#: So long nobody waits for an answer here: what comes while the first notes are listened to did not wait for them.
NOTES, LISTENING_S = 24, 28.0


def picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (60, 40), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def slow(model_server: ModelServer) -> Iterator[ModelServer]:
    """Somebody who listens for long; at the end at once, so that nothing is left in work."""
    model_server.spoken = {NOTE: "Vocês fazem entrega?"}
    model_server.listening_s = LISTENING_S
    yield model_server
    model_server.listening_s = 0.0


def all_send(contacts: list[Contact]) -> None:
    """A note of each of these, as fast as they are taken."""
    company = contacts[0].company

    async def send(client: Any) -> None:
        async def one(contact: Contact) -> None:
            sid = await client.keep_file(NOTE, account_sid=company.account_sid, content_type="audio/ogg")
            sent = await client.send(
                "", account_sid=company.account_sid, from_=contact.address, to=company.number, files=[sid]
            )
            assert sent.statuses == [200]

        await asyncio.gather(*map(one, contacts))

    contacts[0]._call(send)


def at_work(product: Product) -> dict[str, int]:
    """How many notes of each conversation a worker has taken."""
    rows = product.rows(
        "SELECT split_part(queue_partition_key, ':', 2) AS queue_partition_key, count(*) "
        "FROM dbos.workflow_status WHERE name = 'transcribe_audio' "
        "AND status = 'PENDING' GROUP BY 1"
    )
    return {row["queue_partition_key"]: row["count"] for row in rows}


def until_full(slow: ModelServer, before: int, heard: int) -> None:
    deadline = time.monotonic() + 20
    while slow.notes < before + heard:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("contacts", "heard"), [(1, 2), (NOTES, 4)], ids=["of one contact", "of many contacts"])
def test_a_picture_is_not_kept_waiting_by_notes(
    product: Product, company: Company, slow: ModelServer, contacts: int, heard: int
) -> None:
    noisy, before = [company.contact() for _ in range(contacts)], slow.notes
    all_send(noisy * (NOTES // contacts))
    until_full(slow, before, heard)
    other = company.contact()
    sends(other, picture(), "image/jpeg")
    other.replies(timeout_s=20)
    assert slow.notes == before + heard, "no note was done with"
    slow.listening_s = 0.0
    for contact in noisy:
        contact.replies(timeout_s=40)


def test_a_note_is_listened_to_while_another_contact_has_many_waiting(
    product: Product, company: Company, slow: ModelServer
) -> None:
    noisy, other, before = company.contact(), company.contact(), slow.notes
    all_send([noisy] * NOTES)
    until_full(slow, before, 2)
    sends(other)
    until_full(slow, before, 3)
    mine, theirs = (str(contact.messages()[0]["conversation_id"]) for contact in (other, noisy))
    assert at_work(product) == {mine: 1, theirs: 2}
    slow.listening_s = 0.0
    assert "R$ 8,00" in other.replies(timeout_s=40)[0].body
    noisy.replies(timeout_s=40)
