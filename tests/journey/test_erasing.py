"""A person who is erased: nothing of them is found anywhere, nothing is sent to them, and who comes back is new."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import httpx2
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
