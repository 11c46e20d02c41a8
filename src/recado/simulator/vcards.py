"""The name and the numbers on a contact card, as a phone shows them; made and read with `vobject`."""

from __future__ import annotations

from dataclasses import dataclass

import vobject


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a contact card shows."""

    name: str
    phones: tuple[str, ...] = ()


def write(card: Card) -> bytes:
    """The card as a vCard 3.0."""
    made = vobject.vCard()
    made.add("fn").value = card.name
    made.add("n").value = vobject.vcard.Name(given=card.name)
    for phone in card.phones:
        made.add("tel").value = phone
        made.tel_list[-1].type_param = "CELL"
    return str(made.serialize()).encode()


def read(data: bytes) -> Card | None:
    """The card in a file; None when it holds none. The library raises errors of many kinds for what is no card."""
    try:
        found = vobject.readOne(data.decode("utf-8", "replace"))
        name = str(found.fn.value) if hasattr(found, "fn") else ""
        return Card(name=name, phones=tuple(str(line.value) for line in getattr(found, "tel_list", [])))
    except Exception:
        return None
