"""The journey of an album: pictures, a document, a voice note and a question become one turn, in the order sent."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tests.journey.test_voice import NOTE
from tests.media.documents import pdf
from tests.model_server import ModelServer, say
from tests.product import Contact, Product

PDF = "application/pdf"


def picture(color: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (1600, 800), color).save(buffer, "JPEG")
    return buffer.getvalue()


def sends(contact: Contact, *files: tuple[str, bytes, str, str], then: str) -> None:
    """One file after the other (words, content, type, name), then a line of text."""
    company = contact.company

    async def send(client: Any) -> None:
        kept = [
            (body, await client.keep_file(data, account_sid=company.account_sid, content_type=kind, file_name=name))
            for body, data, kind, name in files
        ]
        ends = {"account_sid": company.account_sid, "from_": contact.address, "to": company.number}
        for body, sid in kept:
            assert (await client.send(body, files=[sid], **ends)).statuses == [200]
        assert (await client.send(then, **ends)).statuses == [200]

    contact._call(send)


def test_an_album_with_a_question_is_one_turn_and_the_model_sees_the_pictures(
    product: Product, model_server: ModelServer, tmp_path: Path
) -> None:
    model_server.script, model_server.spoken = say("O vermelho!"), {NOTE: "prefiro sem cobertura"}
    model_server.requests.clear()
    contact = product.company(model="openai:gpt-4o").contact()
    sends(
        contact,
        ("antes", picture("red"), "image/jpeg", ""),
        ("", picture("blue"), "image/jpeg", ""),
        ("", pdf(tmp_path / "a", "Bolo de milho: R$ 40").read_bytes(), PDF, "tabela.pdf"),
        ("", NOTE, "audio/ogg", ""),
        then="Qual ficou melhor?",
    )
    (reply,) = contact.replies()
    assert reply.body == "O vermelho!"
    time.sleep(1)
    assert len(contact.seen()) == 1
    [request] = [
        request for request in model_server.requests if "completions" in request.path or "responses" in request.path
    ]
    data, first, red, second, blue, rest = request.user_parts
    assert str(data).startswith("<data-")
    assert (first, second) == ("[picture] antes", "[picture]")
    for shown, channel in ((red, 0), (blue, 2)):
        assert isinstance(shown, bytes)
        with Image.open(BytesIO(shown)) as small:
            pixel = small.convert("RGB").getpixel((10, 10))
            assert small.size == (1024, 512)
        assert isinstance(pixel, tuple)
        assert pixel[channel] > 240
    document, note, question = str(rest).splitlines()
    assert document == '[document "tabela.pdf", 1 page, its text: Bolo de milho: R$ 40]'
    assert note.startswith("[voice note")
    assert note.endswith("transcript by machine] prefiro sem cobertura")
    assert question == "Qual ficou melhor?"
    inbound = [row for row in contact.messages() if row["direction"] == "inbound"]
    assert len(inbound) == 5
    assert len({row["turn_id"] for row in inbound}) == 1
    assert list((product.home / "scratch").glob("*/*")) == []
