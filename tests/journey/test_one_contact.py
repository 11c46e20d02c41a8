"""A telephone number and a business-scoped id that Twilio tells together are one contact, whichever came first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product as every
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recado.conversations import conversations
from recado.db.scope import scoped
from recado.journey.answer.turn import process_ai_response
from recado.media.transcription import Languages, Transcript, TranscriptionFailed
from tests.channels.examples import inbound
from tests.journey.attached import Outside, note, understand
from tests.journey.front import Front, message_sid, open_front
from tests.journey.post_office import PostOffice, post_office
from tests.journey.test_answer import Mind, desk_of, replies, run
from tests.product import Product

Form = dict[str, str | None]
#: How a person's messages come: by their number, by their id alone, with both, by their id and their number.
FORMS = ("phone", "alone", "both", "id and number")
TELLING = ("both", "id and number")


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a number and a business-scoped id."""

    number: int = 0

    def form(self, name: str) -> Form:
        digits, scoped_id = f"552198{self.number:07}", f"BR.{self.number:05}"
        return {
            "phone": {"From": f"whatsapp:+{digits}", "WaId": digits, "ExternalUserId": None},
            "alone": {"From": f"whatsapp:{scoped_id}", "WaId": None, "ExternalUserId": scoped_id},
            "both": {"From": f"whatsapp:+{digits}", "WaId": digits, "ExternalUserId": scoped_id},
            "id and number": {"From": f"whatsapp:{scoped_id}", "WaId": digits, "ExternalUserId": scoped_id},
        }[name]

    @property
    def keys(self) -> dict[str, str]:
        return {"phone": f"whatsapp:+552198{self.number:07}", "id": f"whatsapp:BR.{self.number:05}"}


async def say(front: Front, person: Person, form: str, body: str = "Oi") -> None:
    """A message through the webhook's route."""
    fields = inbound("text", **{"MessageSid": message_sid(), "Body": body, **person.form(form)})
    assert (await front.post(fields)).status_code == 200


def contacts(front: Front, person: Person) -> list[dict[str, Any]]:
    """Who the person is to the owner, with whether they want no messages."""
    return front.rows(
        "SELECT c.*, EXISTS (SELECT FROM suppressions s WHERE s.identity_key = c.identity_key) AS suppressed "
        "FROM contacts c WHERE c.identity_key = ANY(%s) OR c.external_id = %s ORDER BY c.identity_key",
        list(person.keys.values()),
        person.keys["id"],
    )


def said(front: Front, contact: dict[str, Any]) -> list[dict[str, Any]]:
    """The contact's messages, oldest first, with the state of their conversations."""
    return front.rows(
        "SELECT m.*, v.status AS conversation_status FROM messages m JOIN conversations v ON v.id = m.conversation_id "
        "WHERE v.contact_id = %s AND m.direction = 'inbound' ORDER BY m.id",
        contact["id"],
    )


@dataclass(slots=True)
class Expected:
    """What should be known of a person: an address alone, or both once they were told together."""

    one: bool = False
    known: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)

    def hear(self, form: str, body: str) -> None:
        if form in TELLING:
            self.one = True
        if self.one:
            self.known = {"phone"}
            self.stopped = {"phone"} if self.stopped else set()
        which = "phone" if self.one or form == "phone" else "id"
        self.known.add(which)
        if body == "SAIR":
            self.stopped.add(which)
        elif body == "VOLTAR":
            self.stopped.discard(which)


@pytest.mark.parametrize("words", ["Oi Oi Oi", "SAIR Oi Oi", "Oi SAIR VOLTAR", "SAIR VOLTAR SAIR"])
async def test_from_when_both_are_told_they_are_one_with_one_consent_in_every_order(front: Front, words: str) -> None:
    bodies = words.split()
    for number, forms in enumerate(every(FORMS, repeat=len(bodies))):
        person, expected = Person(number), Expected()
        for form, body in zip(forms, bodies, strict=True):
            await say(front, person, form, body)
            expected.hear(form, body)
        found = contacts(front, person)
        keys = person.keys
        assert {row["identity_key"] for row in found} == {keys[which] for which in expected.known}, forms
        assert {row["identity_key"] for row in found if row["suppressed"]} == {
            keys[which] for which in expected.stopped
        }, forms
        assert len(front.rows("SELECT FROM suppressions WHERE identity_key = ANY(%s)", list(keys.values()))) == len(
            expected.stopped
        ), forms
        if expected.one:
            [contact] = found
            heard = said(front, contact)
            assert [row["body"] for row in heard] == bodies, forms
            assert {row["conversation_status"] for row in heard} == {"open"}, forms
            assert len({row["conversation_id"] for row in heard}) == 1, forms
            assert contact["address"] == person.form(forms[-1])["From"], forms


async def test_whichever_comes_at_the_same_moment_there_is_one_contact_and_nothing_is_lost(
    front: Front, front_url: str, tmp_path: Path
) -> None:
    async with open_front(front_url, tmp_path, found=False) as other:
        for number in range(12):
            person = Person(number)
            forms = [*FORMS, *FORMS]
            await asyncio.gather(*(say((front, other)[n % 2], person, form) for n, form in enumerate(forms)))
            [contact] = contacts(front, person)
            assert contact["identity_key"] == person.keys["phone"]
            heard = said(front, contact)
            assert [row["status"] for row in heard] == ["received"] * len(forms)
            assert len({row["conversation_id"] for row in heard}) == 1
            lane = {row["queue_partition_key"] for row in front.work() if row["queue_name"] == "turns"}
            assert str(heard[0]["conversation_id"]) in lane


@pytest.mark.parametrize("forms", [("alone", "both"), ("both", "alone"), ("phone", "alone", "id and number", "alone")])
async def test_within_one_batch_they_are_one_too(front: Front, forms: tuple[str, ...]) -> None:
    person = Person()
    await front.accept(*[await front.arrival(form, **person.form(form)) for form in forms])
    [contact] = contacts(front, person)
    heard = said(front, contact)
    assert [row["body"] for row in heard] == list(forms)
    assert len({row["conversation_id"] for row in heard}) == 1


async def two(front: Front, person: Person) -> tuple[Any, Any]:
    """The person as two contacts with an open conversation each: the number's and the id's."""
    await say(front, person, "phone", "um")
    await say(front, person, "alone", "dois")
    first, second = (row["conversation_id"] for row in front.stored())
    assert first != second
    return first, second


async def test_what_waits_in_the_ids_conversation_is_answered_in_the_numbers_once_and_in_order(front: Front) -> None:
    person = Person()
    kept, merged = await two(front, person)
    [question] = [row for row in front.stored() if row["body"] == "dois"]

    async def told() -> None:
        mind.meanwhile = None
        await say(front, person, "both", "três")

    mind = Mind(meanwhile=told)
    now = front.wiring.clock.now()
    # The turn that the id's message has enqueued in its own lane, with its answer thought already.
    await process_ai_response(desk_of(front, mind), front.owner_id, merged, question["id"], arrived_at=now)
    assert replies(front) == []
    turns = [row for row in front.work() if row["queue_partition_key"] == str(kept)]
    assert f"{question['id']}:merged" in [row["workflow_uuid"] for row in turns]
    for message in [row["id"] for row in front.stored()]:
        await process_ai_response(desk_of(front, mind), front.owner_id, kept, message, arrived_at=now)
    assert mind.shown == [["dois"], ["um", "dois", "três"]]
    assert replies(front) == ["Olá!"]
    assert {row["conversation_id"] for row in front.stored()} == {kept}


async def test_a_turn_that_was_first_is_stored_and_nothing_of_it_is_answered_again(front: Front) -> None:
    person, mind = Person(), Mind()
    kept, merged = await two(front, person)
    now = front.wiring.clock.now()
    last = front.stored()[-1]["id"]
    await process_ai_response(desk_of(front, mind), front.owner_id, merged, last, arrived_at=now)
    await say(front, person, "both", "três")
    await process_ai_response(desk_of(front, mind), front.owner_id, kept, front.stored()[0]["id"], arrived_at=now)
    assert mind.shown == [["dois"], ["um", "três"]]
    assert [row["workflow_uuid"] for row in front.work() if "merged" in row["workflow_uuid"]] == []
    # Its reply goes out where it was written, and to the one contact.
    assert [row["conversation_id"] for row in front.stored() if row["body"] in ("dois", "Olá!")] == [
        merged,
        merged,
        kept,
    ]
    [old] = front.rows("SELECT status, close_reason, contact_id FROM conversations WHERE id = %s", merged)
    [contact] = contacts(front, person)
    assert old == {"status": "closed", "close_reason": "merged", "contact_id": contact["id"]}


async def test_what_people_have_stays_with_people_and_what_they_have_not_answered_comes_along(front: Front) -> None:
    person = Person()
    kept, merged = await two(front, person)
    run(front, f"UPDATE conversations SET status = 'handoff', attention = 'failed' WHERE id = '{merged}'")
    run(front, "UPDATE messages SET status = 'held', held_for = 'people' WHERE body = 'dois'")
    before = front.rows("SELECT version FROM conversations WHERE id = %s", kept)
    await say(front, person, "both", "três")
    [row] = front.rows("SELECT status, attention, version FROM conversations WHERE id = %s", kept)
    assert (row["status"], row["attention"]) == ("handoff", "failed")
    assert row["version"] > before[0]["version"]
    assert [row["status"] for row in front.stored()] == ["received", "held", "received"]
    assert {row["conversation_id"] for row in front.stored()} == {kept}
    events = front.rows("SELECT what, data FROM events WHERE what NOT IN ('received') ORDER BY id")
    [contact] = contacts(front, person)
    assert [event["what"] for event in events] == ["closed", "taken", "contact_merged"]
    assert events[2]["data"]["contact_id"] == str(contact["id"])


async def test_a_voice_note_that_is_heard_meanwhile_goes_on_in_the_numbers_conversation(
    front: Front, tmp_path: Path
) -> None:
    person = Person()
    await say(front, person, "phone", "um")

    class Late(Outside):
        async def transcribe(self, path: Path, *, content_type: str, languages: Languages) -> Transcript:
            await say(front, person, "both", "três")
            raise TranscriptionFailed("unavailable")

    note_id = await note(front, **person.form("alone"))
    await understand(front, Late(tmp_path), note_id)
    kept = front.stored()[0]["conversation_id"]
    assert {row["conversation_id"] for row in front.stored()} == {kept}
    [row] = [row for row in front.work() if row["workflow_uuid"] == str(note_id)]
    assert (row["queue_name"], row["queue_partition_key"]) == ("turns", str(kept))
    shown = front.rows("SELECT attention FROM conversations WHERE status = 'open'")
    assert [row["attention"] for row in shown] == ["unheard"]


async def test_conversations_with_other_numbers_and_closed_ones_are_the_one_contacts_as_they_are(front: Front) -> None:
    person = Person()
    elsewhere = "whatsapp:+14155559999"
    await front.post(inbound("text", **{"MessageSid": message_sid(), "To": elsewhere, **person.form("alone")}))
    await say(front, person, "alone", "um")
    run(front, f"UPDATE conversations SET status = 'closed' WHERE id = '{front.stored()[-1]['conversation_id']}'")
    await say(front, person, "phone", "dois")
    await say(front, person, "both", "três")
    [contact] = contacts(front, person)
    rows = front.rows("SELECT contact_id, status, close_reason FROM conversations ORDER BY id")
    assert {row["contact_id"] for row in rows} == {contact["id"]}
    assert [(row["status"], row["close_reason"]) for row in rows] == [("open", None), ("closed", None), ("open", None)]


async def test_the_contacts_own_word_goes_before_what_people_decided(front: Front) -> None:
    person = Person()
    await two(front, person)
    run(front, "INSERT INTO suppressions (owner_id, identity_key, reason) "
        f"SELECT id, '{person.keys['phone']}', 'people' FROM owners")  # fmt: skip
    await say(front, person, "alone", "SAIR")
    await say(front, person, "both")
    assert [row["reason"] for row in front.rows("SELECT reason FROM suppressions")] == ["word"]


async def test_who_was_told_of_as_both_by_an_older_release_is_one_from_their_next_message_on(front: Front) -> None:
    person = Person()
    await two(front, person)
    run(front, f"UPDATE contacts SET external_id = '{person.keys['id']}'")
    await say(front, person, "alone", "três")
    [contact] = contacts(front, person)
    assert [row["body"] for row in said(front, contact)] == ["um", "dois", "três"]


async def test_who_changes_their_number_stays_the_same_contact_and_who_gets_the_old_one_is_another(
    front: Front,
) -> None:
    person, later = Person(), Person(1)
    await say(front, person, "both", "SAIR")
    [contact] = contacts(front, person)
    moved = inbound("text", **{"MessageSid": message_sid(), **later.form("phone"), "ExternalUserId": "BR.00000"})
    assert (await front.post(moved)).status_code == 200
    await say(front, later, "phone")
    await say(front, person, "alone")
    [same] = contacts(front, later)
    assert (same["id"], same["identity_key"], same["suppressed"]) == (contact["id"], later.keys["phone"], True)
    assert len(said(front, same)) == 4
    await say(front, person, "phone")
    assert len(front.rows("SELECT FROM contacts")) == 2
    # Told as somebody who is known already: the id is theirs from now on, and the opt-out holds for them too.
    third = Person(2)
    await say(front, third, "phone")
    told = inbound("text", **{"MessageSid": message_sid(), **third.form("phone"), "ExternalUserId": "BR.00000"})
    assert (await front.post(told)).status_code == 200
    await say(front, person, "alone", "aqui")
    [third_contact] = contacts(front, third)
    assert third_contact["suppressed"]
    assert said(front, third_contact)[-1]["body"] == "aqui"


async def test_a_turn_that_waits_for_the_merge_sees_whose_the_conversation_is_now(front: Front) -> None:
    person = Person()
    _, merged = await two(front, person)
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        keys = person.keys
        conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(front.owner_id)])
        conn.execute("SELECT unite(%s, %s, %s)", [front.owner_id, keys["phone"], keys["id"]])

        async def look() -> conversations.Conversation:
            async with scoped(front.wiring.pool, front.owner_id) as scope:
                return await conversations.get(scope, merged, lock=True)

        looking = asyncio.create_task(look())
        await asyncio.sleep(0.3)
        assert not looking.done()
        conn.commit()
    found = await looking
    assert (found.identity_key, found.status) == (keys["phone"], "closed")


def test_a_delivery_that_waits_for_the_merge_heeds_the_opt_outs_of_the_one_contact(post: PostOffice) -> None:
    url, owner_id = post.product.database_url, post.company.owner_id
    message = post.write("Pronto!")
    [contact] = post.product.rows("SELECT id, identity_key FROM contacts WHERE owner_id = %s", owner_id)
    scoped_id, key = "whatsapp:BR.1", contact["identity_key"]
    post.product.execute(
        "UPDATE contacts SET identity_key = %s, external_id = %s WHERE id = %s", scoped_id, scoped_id, contact["id"]
    )
    options = "-c search_path=recado"
    with (
        psycopg.connect(url, options=options) as merging,
        psycopg.connect(url, options=options) as stopping,
        ThreadPoolExecutor() as pool,
    ):
        merging.execute("SELECT unite(%s, %s, %s)", [owner_id, key, scoped_id])
        stop = pool.submit(stopping.execute, "SELECT pg_advisory_xact_lock(consent_key(%s, %s))", [owner_id, key])
        time.sleep(0.2)
        delivery = pool.submit(post.deliver, message)
        time.sleep(0.4)
        merging.commit()
        stop.result(5)
        time.sleep(0.6)
        assert post.bodies() == []
        stopping.execute(
            "INSERT INTO suppressions (owner_id, identity_key, reason) VALUES (%s, %s, 'word')", [owner_id, key]
        )
        stopping.commit()
        delivery.result(10)
    assert post.bodies() == []
    assert post.message(message)["error_code"] == 21610
