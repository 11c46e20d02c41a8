"""A person who is erased: nothing of them is found anywhere, nothing is sent to them, and who comes back is new."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import httpx2
import psycopg
import pytest

from recado.identity.kept_answers import sealed_row
from tests import everywhere
from tests.api.programs import JPEG
from tests.journey.test_outbound_journey import key_of
from tests.media.voice import NOTES
from tests.model_server import ModelServer, say
from tests.product import WAIT_S, Company, Contact, Product

NOTE = NOTES[0].path.read_bytes()
T = TypeVar("T")


def until(look: Callable[[], T | None], *, why: Callable[[], object] = lambda: "") -> T:
    """What `look` gives, once it gives something."""
    deadline = time.monotonic() + WAIT_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, why()
        time.sleep(0.03)
    return found


@dataclass(frozen=True, slots=True)
class Api:
    """The company's program, with every right."""

    company: Company
    key: str

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return httpx2.request(method, self.company.product.base_url + path, headers=headers, timeout=30, **more)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def erase(self, contact_id: UUID) -> dict[str, Any]:
        """Have the contact erased; the erasure once it has ended."""
        asked = self.ask("DELETE", f"/v1/contacts/{contact_id}")
        assert asked.status_code == 202, asked.text
        return self.ended(asked.headers["Location"])

    def ended(self, path: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(path)
            return found if found["status"] in ("done", "incomplete") else None

        return until(look, why=lambda: self.get(path))


@pytest.fixture
def api(company: Company) -> Api:
    return Api(company, key_of(company))


def id_of(contact: Contact) -> UUID:
    (row,) = contact.company.product.rows("SELECT id FROM contacts WHERE address = %s", contact.address)
    found: UUID = row["id"]
    return found


@dataclass(frozen=True, slots=True)
class Marks:
    """What is of the person, and of nobody else."""

    contact: Contact
    name: str = field(default_factory=lambda: "Joaquina-" + secrets.token_hex(6))
    said: str = field(default_factory=lambda: "receita" + secrets.token_hex(6))
    spoken: str = field(default_factory=lambda: "ouvido" + secrets.token_hex(6))
    answered: str = field(default_factory=lambda: "resposta" + secrets.token_hex(6))
    offered: str = field(default_factory=lambda: "oferta" + secrets.token_hex(6))
    file_name: str = field(default_factory=lambda: "exame-" + secrets.token_hex(6))
    picture: bytes = field(default_factory=lambda: secrets.token_bytes(24))
    upload: bytes = field(default_factory=lambda: secrets.token_bytes(24))

    def all(self) -> Mapping[str, bytes]:
        texts = {
            "number": self.contact.address.removeprefix("whatsapp:+"),
            **{name: getattr(self, name) for name in ("name", "said", "spoken", "answered", "offered", "file_name")},
        }
        return {name: text.encode() for name, text in texts.items()} | {
            "picture": self.picture,
            "upload": self.upload,
        }


def life(api: Api, marks: Marks, model_server: ModelServer) -> UUID:
    """Everything that a person may leave behind; answers their id."""
    contact, product = marks.contact, api.company.product
    model_server.spoken = {NOTE: f"{marks.spoken} vocês fazem entrega?"}
    model_server.script = say(f"Claro, {marks.answered}.")
    contact.says(f"Oi, {marks.said}", profile_name=marks.name)
    contact.replies(1, status="delivered")
    contact.does(lambda phone: phone.sends_bytes(NOTE, kind="audio", content_type="audio/ogg"))
    contact.replies(2, status="delivered")
    picture = JPEG + marks.picture
    contact.does(
        lambda phone: phone.sends_bytes(
            picture, kind="image", content_type="image/jpeg", file_name=f"{marks.file_name}.jpg"
        )
    )
    contact.replies(3, status="delivered")
    contact_id = id_of(contact)
    conversation_id = contact.messages()[0]["conversation_id"]
    uploaded = api.ask(
        "POST",
        "/v1/media",
        content=JPEG + marks.upload,
        headers={
            "Content-Disposition": f'attachment; filename="{marks.file_name}.jpg"',
            "Idempotency-Key": secrets.token_hex(8),
        },
    )
    assert uploaded.status_code == 201, uploaded.text
    path = f"/v1/conversations/{conversation_id}/messages"
    for given in (
        {"media_id": uploaded.json()["id"]},
        {"body": marks.offered, "quick_replies": [{"id": marks.offered[:20], "title": "Sim"}]},
    ):
        sent = api.ask("POST", path, json=given, headers={"Idempotency-Key": secrets.token_hex(8)})
        assert sent.status_code == 201, sent.text
    contact.settled(5)
    # As a name is found by who looks for it: the planner's samples.
    product.execute("ANALYZE")
    return contact_id


def opened_answers(product: Product) -> str:
    """What is kept for an Idempotency-Key, as whoever has the keys reads it."""
    assert product.wiring is not None
    keyring = product.wiring.keyring
    return "\n".join(
        keyring.open(row["answer"], owner_id=row["owner_id"], row=sealed_row(row["id"]))
        for row in product.rows("SELECT * FROM idempotency_keys WHERE answer IS NOT NULL")
    )


def test_after_an_erasure_nothing_of_the_person_is_found_but_the_keyed_suppression(
    product: Product, api: Api, model_server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    company = api.company
    product.execute("UPDATE assistants SET model = 'openai:scripted' WHERE owner_id = %s", company.owner_id)
    marks = Marks(company.contact())
    contact_id = life(api, marks, model_server)
    every = marks.all()
    before = {mark for _, mark in everywhere.in_database(product.database_url, every)}
    before |= {mark for _, mark in everywhere.in_files(product.home, every)}
    assert before == set(every), "what is looked for must be there to be found"
    twilio = (product.simulator_url, company.account_sid, company.token)
    assert {mark for _, mark in everywhere.at_twilio(*twilio, every)} >= {"number", "said", "answered", "offered"}
    assert everywhere.in_text(opened_answers(product), every) >= {"offered"}
    marks.contact.says("SAIR")
    until(lambda: product.rows("SELECT FROM suppressions WHERE owner_id = %s", company.owner_id) or None)
    marks.contact.settled(6)

    proof = api.erase(contact_id)

    assert (proof["status"], proof["left"], proof["suppression_kept"]) == ("done", [], True), proof
    assert {name: proof["counts"].get(name) for name in ("contacts", "conversations", "files", "twilio_contents")} == {
        "contacts": 1,
        "conversations": 1,
        "files": 3,
        "twilio_contents": 1,
    }
    assert proof["counts"]["kept_answers"] == 3
    assert proof["counts"]["twilio_messages"] == proof["counts"]["messages"] == 10
    assert everywhere.in_database(product.database_url, every) == set()
    assert everywhere.in_files(product.home, every) == set()
    assert everywhere.at_twilio(*twilio, every) == set()
    assert everywhere.in_text(opened_answers(product), every) == set()
    assert everywhere.in_text("\n".join(str(record.msg) for record in caplog.records), every) == set()
    (kept,) = product.rows("SELECT * FROM erased_suppressions WHERE owner_id = %s", company.owner_id)
    assert kept["reason"] == "word"
    assert product.rows("SELECT FROM suppressions WHERE owner_id = %s", company.owner_id) == []
    assert api.ask("GET", f"/v1/contacts/{contact_id}").status_code == 404
    audited = api.get("/v1/audit")["items"]
    assert [(one["action"], one["thing_id"]) for one in audited if one["thing"] == "contact"] == [
        ("erase", str(contact_id))
    ]

    # Back again they are somebody new, to whom nothing is sent all the same.
    seen = len(marks.contact.seen())
    marks.contact.says("Ainda estão aí?", profile_name=marks.name)
    (held,) = until(lambda: [one for one in marks.contact.messages() if one["status"] == "held"] or None)
    assert held["held_for"] == "opted_out"
    assert id_of(marks.contact) != contact_id
    assert len(marks.contact.seen()) == seen
    marks.contact.says("VOLTAR")
    marks.contact.replies(seen + 1)


def erasure_of(product: Product, company: Company) -> dict[str, Any]:
    (found,) = product.rows("SELECT * FROM erasures WHERE owner_id = %s", company.owner_id)
    return found


def twilio_has(contact: Contact) -> list[dict[str, Any]]:
    """What Twilio still lists of the contact, of both directions."""
    company = contact.company
    listed: list[dict[str, Any]] = []
    for way in ("To", "From"):
        answer = httpx2.get(
            f"{company.product.simulator_url}/2010-04-01/Accounts/{company.account_sid}/Messages.json",
            params={way: contact.address, "PageSize": "1000"},
            auth=(company.account_sid, company.token),
            timeout=30,
        )
        listed += answer.json()["messages"]
    return listed


def test_a_turn_that_is_being_thought_when_it_is_asked_for_sends_nothing(
    product: Product, api: Api, model_server: ModelServer
) -> None:
    company = api.company
    product.execute("UPDATE assistants SET model = 'openai:scripted' WHERE owner_id = %s", company.owner_id)
    contact = company.contact()
    thinking = len(model_server.requests)
    model_server.script = say("Tarde demais.", delay_s=1.0)
    contact.says("Oi")
    until(lambda: len(model_server.requests) > thinking or None)
    contact_id = id_of(contact)
    asked = api.ask("DELETE", f"/v1/contacts/{contact_id}").json()
    assert (asked["status"], asked["contact_ids"]) == ("stopping", [str(contact_id)])
    again = api.ask("DELETE", f"/v1/contacts/{contact_id}")
    assert (again.status_code, again.json()["id"]) == (202, asked["id"])
    proof = api.ended(f"/v1/erasures/{asked['id']}")
    assert (proof["status"], contact.seen(), twilio_has(contact)) == ("done", [], [])
    assert contact.calls() == []
    after = api.ask("DELETE", f"/v1/contacts/{contact_id}")
    assert (after.status_code, after.json()["status"]) == (202, "done"), "it is the same when it is asked for once more"


def test_what_twilio_took_while_it_was_asked_for_is_deleted_there_too(product: Product, api: Api) -> None:
    contact = api.company.contact()
    contact.fault(operation="create", latency_ms=1500, count=1)
    contact.says("Vocês fazem entrega?")
    until(lambda: product.rows("SELECT FROM delivery_attempts WHERE owner_id = %s", api.company.owner_id) or None)
    proof = api.erase(id_of(contact))
    assert proof["status"] == "done"
    assert proof["counts"]["twilio_messages"] == 2
    assert len(contact.seen()) == 1, "it was under way already"
    assert twilio_has(contact) == []


def test_a_message_of_which_only_twilio_knows_is_found_there_and_deleted(product: Product, api: Api) -> None:
    """As after a worker died between its POST and the answer: no row has the MessageSid."""
    contact = api.company.contact()
    contact.says("Vocês fazem entrega?")
    contact.settled(1)
    contact_id = id_of(contact)
    product.execute("UPDATE message_parts SET provider_sid = NULL WHERE owner_id = %s", api.company.owner_id)
    product.execute("UPDATE delivery_attempts SET outcome = 'started' WHERE owner_id = %s", api.company.owner_id)
    proof = api.erase(contact_id)
    assert (proof["status"], proof["left"], twilio_has(contact)) == ("done", [], [])
    assert proof["counts"]["twilio_messages"] == 2
    assert product.rows("SELECT FROM erasure_items WHERE owner_id = %s", api.company.owner_id) == []


def test_what_twilio_does_not_let_go_is_tried_again_then_left_and_said_and_tried_when_it_is_asked_for(
    product: Product, api: Api
) -> None:
    contact = api.company.contact()
    contact.says("Vocês fazem entrega?")
    contact.settled(1)
    contact_id = id_of(contact)
    fault = contact.fault(operation="delete", http_status=409, code=20009)
    erasure_id = api.ask("DELETE", f"/v1/contacts/{contact_id}").json()["id"]

    def refused() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(f"/v1/erasures/{erasure_id}")
        return found if found["waits_for"] == "twilio" else None

    waiting = until(refused, why=lambda: api.get(f"/v1/erasures/{erasure_id}"))
    assert waiting["status"] == "twilio"
    assert waiting["left"] == [{"kind": "message", "status": "waiting", "code": 20009, "count": 1}]
    assert waiting["erased_at"] is not None
    assert product.rows("SELECT FROM messages WHERE owner_id = %s", api.company.owner_id) == []
    product.execute(
        "UPDATE erasures SET erased_at = erased_at - interval '4 days', look_again_at = now() WHERE owner_id = %s",
        api.company.owner_id,
    )
    product.execute(
        "UPDATE erasure_items SET tries = 9, look_again_at = now() WHERE owner_id = %s", api.company.owner_id
    )
    proof = api.ended(f"/v1/erasures/{erasure_id}")
    assert proof["status"] == "incomplete"
    assert proof["left"] == [{"kind": "message", "status": "left", "code": 20009, "count": 1}]
    contact._call(lambda client: client.remove_fault(fault))
    again = api.ask("DELETE", f"/v1/contacts/{contact_id}").json()
    assert (again["id"], again["status"]) == (erasure_id, "twilio")
    assert (api.ended(f"/v1/erasures/{erasure_id}")["status"], twilio_has(contact)) == ("done", [])


def test_of_others_nothing_goes_not_even_what_they_were_sent_alike(product: Product, api: Api) -> None:
    company = api.company
    first, second = company.contact(), company.contact()
    uploaded = api.ask("POST", "/v1/media", content=JPEG).json()["id"]
    for contact in (first, second):
        contact.says("Vocês fazem entrega?")
        contact.settled(1)
        conversation = contact.messages()[0]["conversation_id"]
        for given in (
            {"media_id": uploaded},
            {"body": "Qual?", "quick_replies": [{"id": "a", "title": "Este"}]},
        ):
            assert api.ask("POST", f"/v1/conversations/{conversation}/messages", json=given).status_code == 201
        contact.settled(3)
    kept = product.rows("SELECT * FROM contents WHERE owner_id = %s", company.owner_id)
    proof = api.erase(id_of(first))
    assert proof["status"] == "done"
    assert (proof["counts"]["uploads_shared"], proof["counts"]["contents_shared"]) == (1, 1)
    assert len(second.messages()) == 4
    assert len(twilio_has(second)) == 4
    assert product.rows("SELECT * FROM contents WHERE owner_id = %s", company.owner_id) == kept
    assert (product.home / "media" / str(company.owner_id) / uploaded).exists()
    last = api.erase(id_of(second))
    assert (last["counts"]["files"], last["counts"]["twilio_contents"]) == (1, 1)
    assert not (product.home / "media" / str(company.owner_id) / uploaded).exists()
    assert product.rows("SELECT FROM contents WHERE owner_id = %s", company.owner_id) == []


def test_a_person_goes_with_all_numbers_under_which_they_wrote(product: Product, api: Api) -> None:
    """Twilio tells by a business-scoped id that two numbers are one person."""
    company = api.company
    before, now = company.contact(), company.contact()
    scoped_id = "US." + secrets.token_hex(8)
    now.says("Oi")
    before.says("Oi", params={"ExternalUserId": scoped_id})
    now.replies(1)
    before.replies(1)
    old_id, new_id = id_of(before), id_of(now)
    now.says("Mudei de número", params={"ExternalUserId": scoped_id})
    now.replies(2)
    assert {id_of(before), id_of(now)} == {old_id, new_id}
    proof = api.erase(old_id)
    assert set(proof["contact_ids"]) == {str(old_id), str(new_id)}
    assert product.rows("SELECT FROM messages WHERE owner_id = %s", company.owner_id) == []
    assert (twilio_has(before), twilio_has(now)) == ([], [])


def test_a_message_that_was_being_accepted_when_it_was_asked_for_is_erased_with_the_rest(
    product: Product, api: Api
) -> None:
    """Its transaction had read who writes, and opens a conversation of a contact who is nobody any more."""
    contact = api.company.contact()
    contact.says("Vocês fazem entrega?")
    contact.settled(1)
    contact_id = id_of(contact)
    (number,) = product.rows("SELECT id FROM numbers WHERE owner_id = %s", api.company.owner_id)
    with psycopg.connect(product.database_url, options="-c search_path=recado") as held:
        held.execute("SELECT FROM messages WHERE owner_id = %s FOR UPDATE", [api.company.owner_id])
        erasure_id = api.ask("DELETE", f"/v1/contacts/{contact_id}").json()["id"]
        until(lambda: product.rows("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'") or None)
        product.execute(
            "INSERT INTO conversations (owner_id, id, number_id, contact_id) VALUES (%s, gen_random_uuid(), %s, %s)",
            api.company.owner_id,
            number["id"],
            contact_id,
        )
    assert api.ended(f"/v1/erasures/{erasure_id}")["counts"]["conversations"] == 2
    assert product.rows("SELECT FROM conversations WHERE owner_id = %s", api.company.owner_id) == []
