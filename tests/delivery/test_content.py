"""What can go out beyond text: its limits, how it is cut, how it reads as text."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery import content as rules
from recado.delivery.content import Attachment, Button, Content, Item, ListPicker, QuickReplies, TemplateUse
from recado.delivery.split import units
from recado.errors import UsageError
from recado.media import sniff
from recado.simulator import kinds
from recado.simulator.fetching import ACCEPTED

YES_NO = QuickReplies(buttons=(Button(id="yes", title="Sim 👩‍🍳"), Button(id="no", title="Não")))
CAKES = ListPicker(
    button="Ver bolos",
    items=(Item(id="1", title="Cenoura", description="com chocolate"), Item(id="2", title="Fubá")),
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4000)


@pytest.mark.parametrize(
    "content",
    [
        YES_NO,
        CAKES,
        Attachment(media_id=uuid4()),
        TemplateUse(content_sid="HX" + "1" * 32, variables={"1": "Ana"}),
    ],
)
def test_what_is_stored_is_read_back_as_it_was(content: Content) -> None:
    assert rules.from_json(rules.to_json(content)) == content


def test_of_the_types_that_come_those_go_out_that_twilio_takes() -> None:
    # The simulator's list is written from Twilio's page by itself.
    assert {kind for kind in sniff.TYPES if rules.unsendable(kind, 1) is None} == ACCEPTED
    for kind in ACCEPTED:
        assert rules.unsendable(kind, rules.most_bytes(kind)) is None
        assert rules.unsendable(kind, rules.most_bytes(kind) + 1) == "size"
        assert kinds.too_large(kind, rules.most_bytes(kind)) is None


@pytest.mark.parametrize("stored", [{}, {"kind": "poem"}, {"kind": "list", "items": []}])
def test_what_is_no_content_is_not_read_as_one(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a stored content"):
        rules.from_json(stored)


def buttons(*titles: str) -> QuickReplies:
    return QuickReplies(buttons=tuple(Button(id=str(n), title=title) for n, title in enumerate(titles)))


def items(*items: Item, button: str = "Ver") -> ListPicker:
    return ListPicker(button=button, items=items)


@pytest.mark.parametrize(
    "content",
    [
        buttons(),
        buttons("a", "b", "c", "d"),
        buttons("a", "a"),
        buttons("x" * 21),
        buttons(" a"),
        buttons("a\nb"),
        QuickReplies(buttons=(Button(id="", title="a"),)),
        QuickReplies(buttons=(Button(id="x" * 201, title="a"),)),
        QuickReplies(buttons=(Button(id="1", title="a"), Button(id="1", title="b"))),
        buttons("{{1}}"),
        items(),
        items(*(Item(id=str(n), title=str(n)) for n in range(11))),
        items(Item(id="1", title="x" * 25)),
        items(Item(id="1", title="a", description="x" * 73)),
        items(Item(id="1", title="a", description="")),
        items(Item(id="1", title="a"), button="x" * 21),
    ],
)
def test_what_whatsapp_does_not_take_is_refused_with_what_is_allowed(content: QuickReplies | ListPicker) -> None:
    with pytest.raises(UsageError):
        rules.check(content, "Qual?")


@pytest.mark.parametrize("body", ["", " \n", "{{1}}"])
def test_buttons_need_a_text_of_their_own(body: str) -> None:
    with pytest.raises(UsageError):
        rules.check(YES_NO, body)


def test_as_many_as_there_may_be_are_taken() -> None:
    rules.check(buttons("x" * 20, "b", "c"), "Qual?")
    rules.check(items(*(Item(id=str(n), title=f"{n}" + "x" * 23, description="d" * 72) for n in range(10))), "Qual?")


@given(texts, st.booleans())
def test_text_and_content_together_say_all_and_no_piece_is_too_long(text: str, with_text: bool) -> None:
    before, last = rules.pieces(text, 1500, with_text=with_text)
    assert all(units(piece) <= 1500 and piece.strip() for piece in before)
    assert units(last) <= rules.TEXT_CHARS
    assert "".join("".join([*before, last]).split()) == "".join(text.split())
    assert with_text or last == ""


def test_a_short_text_goes_with_the_content_and_a_long_one_before_it_but_for_its_end() -> None:
    assert rules.pieces("Veja", 1500, with_text=True) == ((), "Veja")
    assert rules.pieces("Ouça", 1500, with_text=False) == (("Ouça",), "")
    before, last = rules.pieces("Uma frase. " * 120, 1500, with_text=True)
    assert len(before) == 1
    assert last


def test_buttons_and_lists_read_as_numbered_lines() -> None:
    assert rules.as_text(YES_NO, "Quer?") == "Quer?\n\n1. Sim 👩‍🍳\n2. Não"
    assert rules.as_text(CAKES, "Qual?\n") == "Qual?\n\n1. Cenoura: com chocolate\n2. Fubá"


def test_the_same_buttons_under_the_same_text_are_the_same_content_and_others_are_not() -> None:
    assert rules.digest(YES_NO, "Quer?") == rules.digest(YES_NO, "Quer?")
    assert rules.digest(YES_NO, "Quer?") != rules.digest(YES_NO, "Quer mais?")
    assert rules.digest(YES_NO, "Quer?") != rules.digest(buttons("Sim"), "Quer?")


@pytest.mark.parametrize(
    ("content_type", "kind", "text"),
    [
        ("image/jpeg", "image", True),
        ("video/mp4", "video", True),
        ("application/pdf", "document", True),
        ("audio/ogg", "audio", False),
        ("image/webp", "image", False),
        ("text/vcard", "document", False),
    ],
)
def test_an_attachments_type_says_what_it_is_and_whether_it_takes_a_caption(
    content_type: str, kind: str, text: bool
) -> None:
    assert (rules.kind_of(content_type), rules.takes_text(content_type)) == (kind, text)
