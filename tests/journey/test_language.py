"""The contact's language: told by what they write, once that is sure; what people say of it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recado.conversations import contacts
from recado.db.scope import scoped
from recado.journey.understand.language import of_number
from tests.journey.attached import Outside, note, understand
from tests.journey.attached import turn as answer
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, desk_of, run, say, turn

ENGLISH = "Do you have any bread without gluten?"
SPANISH = "Hola, ¿hacen pan sin gluten?"
PORTUGUESE = "Vocês fazem pão sem glúten?"


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


async def hear(front: Front, *bodies: str) -> None:
    """The contact writes each, and a turn takes it."""
    for body in bodies:
        await turn(front, desk_of(front, Mind()), await say(front, body))


def language(front: Front) -> tuple[str | None, str | None]:
    """What the contact is thought to speak, and why."""
    (row,) = front.rows("SELECT language, language_why FROM contacts")
    return row["language"], row["language_why"]


@pytest.mark.parametrize(("body", "spoken"), [(ENGLISH, "en"), (SPANISH, "es"), (PORTUGUESE, "pt")])
async def test_a_turn_learns_the_language_that_the_contact_writes(front: Front, body: str, spoken: str) -> None:
    await hear(front, body)
    assert language(front) == (spoken, "written")


async def test_people_who_have_the_conversation_keep_nothing_from_being_learned(front: Front) -> None:
    await say(front)
    run(front, "UPDATE conversations SET status = 'handoff'")
    await hear(front, ENGLISH)
    assert language(front) == ("en", "written")


async def test_short_messages_tell_it_together_and_one_alone_does_not(front: Front) -> None:
    await hear(front, "Hello")
    assert language(front) == (None, None)
    await hear(front, "👍", "thanks")
    assert language(front) == ("en", "written")


async def test_who_goes_on_in_another_language_is_understood_in_that_and_one_pasted_text_changes_nothing(
    front: Front,
) -> None:
    await hear(front, PORTUGUESE, "Quanto custa a entrega para hoje?", f"{ENGLISH} {ENGLISH} What is it, and how much?")
    assert language(front) == ("pt", "written")
    await hear(front, ENGLISH, "What time do you open today?", "And is there any parking?", "How much is it?")
    assert language(front) == ("en", "written")


async def test_what_the_contact_did_not_write_tells_nothing(front: Front, outside: Outside) -> None:
    url = {"MediaUrl0": "https://api.twilio.com/x", "NumMedia": "1"}
    for changes in (
        {"MessageType": "button", "ButtonText": ENGLISH, "ButtonPayload": "x"},
        {"MessageType": "interactive", "ListId": "1", "ListTitle": ENGLISH},
        {"MessageType": "document", "MediaContentType0": "application/pdf", **url},
        {"Forwarded": "true"},
        {"Forwarded": "true", "FrequentlyForwarded": "true"},
    ):
        await front.accept(await front.arrival(ENGLISH, **changes))
    run(front, "UPDATE messages SET awaits_media = false")
    await hear(front, "???")
    outside.hearing = ENGLISH
    heard = await note(front)
    await understand(front, outside, heard)
    await answer(front, heard)
    assert language(front) == (None, None)
    [heard_in] = outside.languages
    assert max(heard_in, key=lambda one: heard_in[one]) == "pt"
    assert heard_in["en"] == 1


async def test_what_people_say_stands_until_they_take_it_back(front: Front, outside: Outside) -> None:
    await hear(front, PORTUGUESE)
    (row,) = front.rows("SELECT id FROM contacts")

    async def people_say(said: str | None) -> None:
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            await contacts.set_language(scope, await contacts.get(scope, row["id"], lock=True), said)

    await people_say("de")
    await hear(front, ENGLISH, "What time do you open today?", "And is there any parking?", "How much is it?")
    await understand(front, outside, await note(front))
    assert (language(front), outside.languages) == (("de", "people"), [{"de": 1}])
    await people_say(None)
    assert language(front) == (None, None)
    await hear(front, "Thanks, see you today!")
    assert language(front) == ("en", "written")


async def test_what_is_learned_during_a_change_of_peoples_does_not_undo_it(front: Front) -> None:
    await hear(front, PORTUGUESE)
    (row,) = front.rows("SELECT id FROM contacts")
    run(front, "UPDATE contacts SET language = 'de', language_why = 'people'")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        assert not await contacts.learn_language(scope, row["id"], "en")
    assert language(front) == ("de", "people")


@pytest.mark.parametrize(
    ("address", "spoken"),
    [
        ("whatsapp:+5511987654321", "pt"),
        ("whatsapp:+351912345678", "pt"),
        ("whatsapp:+34612345678", "es"),
        ("whatsapp:+5491123456789", "es"),
        ("whatsapp:+525512345678", "es"),
        ("whatsapp:+17875551234", "es"),
        ("whatsapp:+14155551234", "en"),
        ("whatsapp:+447700900123", "en"),
        ("whatsapp:+4915112345678", None),
        ("whatsapp:BR.1234567890", None),
        ("whatsapp:+", None),
        ("", None),
    ],
)
def test_the_country_of_a_telephone_number_speaks_a_language(address: str, spoken: str | None) -> None:
    assert of_number(address) == spoken
