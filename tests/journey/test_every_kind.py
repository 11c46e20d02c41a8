"""Whatever a phone can send is answered, and no host but Twilio's API sees the account's login."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable

from recado.simulator.handset import Phone
from recado.simulator.views import Sent
from tests.product import Product


def png() -> bytes:
    """A picture of one pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\x0f\x76\x6e")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


KINDS: dict[str, Callable[[Phone], Awaitable[Sent]]] = {
    "a picture with a question": lambda phone: phone.sends_bytes(
        png(), content_type="image/png", kind="image", caption="Qual o horário de funcionamento?"
    ),
    "a document": lambda phone: phone.sends_bytes(
        b"%PDF-1.4\n%%EOF\n", content_type="application/pdf", file_name="conta.pdf"
    ),
    "a place": lambda phone: phone.place(-23.5614, -46.6559, label="MASP"),
    "a contact card": lambda phone: phone.card("Dona Ana", "+5511912345678"),
    "a tap": lambda phone: phone.button("Confirmar", "confirm"),
    "a choice": lambda phone: phone.chooses("1", "Segunda via"),
    "forwarded words": lambda phone: phone.forwards("Vocês fazem entrega?", often=True),
    "words after an advertisement": lambda phone: phone.comes_from_ad("Vocês fazem entrega?"),
    "an unknown kind": lambda phone: phone.sends_unknown("unsupported"),
}


def test_every_kind_is_accepted_and_answered(product: Product) -> None:
    company = product.company()
    contacts = {kind: company.contact() for kind in KINDS}
    for kind, contact in contacts.items():
        assert contact.does(KINDS[kind]).statuses == [200], kind
    for kind, contact in contacts.items():
        assert contact.replies(1, status="delivered"), kind
    assert contact.does(lambda phone: phone.client.violations()) == []
