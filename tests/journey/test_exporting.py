"""A copy of everything that is kept of a person, and of nobody else: rows, files, and a manifest that proves them."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import zipfile
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from recado.db.scope import scoped
from recado.identity import keys
from recado.ops.privacy import export
from recado.ops.privacy.where import TABLES
from tests.api.programs import JPEG
from tests.journey.test_erasing import Api, api, id_of
from tests.product import Company, Product

__all__ = ["api"]


def opened(answer: httpx2.Response) -> dict[str, bytes]:
    """The files of a copy, each as its manifest says it is."""
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["form"] == export.FORM
    assert {file["path"]: (file["bytes"], file["sha256"]) for file in manifest["files"]} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()
    }
    return files


def rows(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def test_a_copy_has_all_that_is_kept_of_a_person_and_nothing_of_others(product: Product, api: Api) -> None:
    company = api.company
    contact, other = company.contact(), company.contact()
    name, stranger = "Zuleica " + secrets.token_hex(4), "segredo" + secrets.token_hex(4)
    contact.says("Vocês fazem entrega?", profile_name=name)
    contact.replies(1)
    contact.does(lambda phone: phone.sends_bytes(JPEG + b"mine", kind="image", content_type="image/jpeg"))
    other.says(f"Oi, {stranger}")
    other.replies(1)
    contact.replies(2, status="delivered")
    contact_id = id_of(contact)
    uploaded = api.ask("POST", "/v1/media", content=JPEG + b"sent").json()["id"]
    conversation = contact.messages()[0]["conversation_id"]
    sent = api.ask("POST", f"/v1/conversations/{conversation}/messages", json={"media_id": uploaded})
    assert sent.status_code == 201
    contact.settled(3)

    answer = api.ask("GET", f"/v1/contacts/{contact_id}/export")

    files = opened(answer)
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="contact-{contact_id}.zip"'
    assert {path for path in files if not path.startswith("media/")} == {
        "suppressions.jsonl",
        *(f"{table.name}.jsonl" for table in TABLES if table.found and not table.copies),
    }
    (person,) = rows(files["contacts.jsonl"])
    assert (person["profile_name"], person["address"]) == (name, contact.address)
    kept = {str(row["id"]): row["body"] for row in contact.messages()}
    assert {row["id"]: row["body"] for row in rows(files["messages.jsonl"])} == kept
    events = rows(files["events.jsonl"])
    ids = {row["id"] for row in product.rows("SELECT id FROM events WHERE conversation_id = %s", conversation)}
    assert {row["id"] for row in events} == ids
    assert len(events) == len(ids)
    assert sorted(data for path, data in files.items() if path.startswith("media/")) == sorted(
        [JPEG + b"mine", JPEG + b"sent"]
    )
    assert stranger.encode() not in b"".join(files.values())
    assert other.address.encode() not in b"".join(files.values())
    audited = [one for one in api.get("/v1/audit")["items"] if one["action"] == "export"]
    assert [(one["thing"], one["thing_id"], one["data"]) for one in audited] == [("contact", str(contact_id), None)]


def test_a_file_that_is_not_there_any_more_is_said_in_the_manifest(product: Product, api: Api) -> None:
    contact = api.company.contact()
    contact.does(lambda phone: phone.sends_bytes(JPEG, kind="image", content_type="image/jpeg"))
    contact.replies(1)
    (file,) = product.rows("SELECT id, storage_key FROM media WHERE owner_id = %s", api.company.owner_id)
    (product.home / "media" / file["storage_key"]).unlink()
    answer = api.ask("GET", f"/v1/contacts/{id_of(contact)}/export")
    assert not [path for path in opened(answer) if path.startswith("media/")]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert [one["media_id"] for one in manifest["missing"]] == [str(file["id"])]


def test_a_copy_of_thousands_of_messages_comes_in_small_pieces(product: Product, company: Company) -> None:
    contact = company.contact()
    contact.says("Oi")
    contact.replies(1)
    product.execute(
        "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
        "correlation_id, received_at) SELECT owner_id, gen_random_uuid(), conversation_id, account_id, 'inbound', "
        "'contact', repeat('palavras ', 100), 'answered', gen_random_uuid(), now() "
        "FROM messages, generate_series(1, 3000) WHERE owner_id = %s AND direction = 'inbound'",
        company.owner_id,
    )
    contact_id = id_of(contact)
    wiring = product.wiring
    assert wiring is not None

    async def largest() -> tuple[int, int, int]:
        made_at = wiring.clock.now()
        found = await export.copy(
            lambda: scoped(wiring.pool, company.owner_id), wiring.storage, company.owner_id, contact_id, made_at=made_at
        )
        pieces = [len(piece) async for file in found.files() async for piece in file.pieces]
        return max(pieces), sum(pieces), sum(1 for file in found.manifest["files"])

    most, whole, files = product.call(largest)
    assert whole > 3_000_000
    assert most < whole / 4
    assert files > 5


@pytest.mark.parametrize(("scopes", "status"), [(["read"], 403), (["write"], 403), (["admin"], 200)])
def test_only_who_may_everything_gets_a_copy_or_has_somebody_erased(
    product: Product, company: Company, scopes: list[Any], status: int
) -> None:
    contact = company.contact()
    contact.says("Oi")
    contact.replies(1)
    contact_id = id_of(contact)
    wiring = product.wiring
    assert wiring is not None

    async def make(owner_id: UUID) -> str:
        async with scoped(wiring.pool, owner_id) as scope:
            return (await keys.make(scope, name=secrets.token_hex(4), scopes=scopes))[1]

    ours = Api(company, product.call(lambda: make(company.owner_id)))
    assert ours.ask("GET", f"/v1/contacts/{contact_id}/export").status_code == status
    unknown = uuid4()
    for method, path in (("GET", f"/v1/contacts/{unknown}/export"), ("DELETE", f"/v1/contacts/{unknown}")):
        assert ours.ask(method, path).status_code == (404 if status == 200 else 403)
    assert ours.ask("DELETE", f"/v1/contacts/{contact_id}").status_code == (202 if status == 200 else 403)


def test_another_owners_contact_is_neither_copied_nor_erased(product: Product, company: Company) -> None:
    contact = company.contact()
    contact.says("Oi")
    contact.replies(1)
    contact_id = id_of(contact)
    stranger = product.company()
    wiring = product.wiring
    assert wiring is not None

    async def make() -> str:
        async with scoped(wiring.pool, stranger.owner_id) as scope:
            return (await keys.make(scope, name="stranger", scopes=["admin"]))[1]

    theirs = Api(stranger, product.call(make))
    assert theirs.ask("GET", f"/v1/contacts/{contact_id}/export").status_code == 404
    assert theirs.ask("DELETE", f"/v1/contacts/{contact_id}").status_code == 404
    assert theirs.get("/v1/erasures") == {"items": [], "next": None}
    assert id_of(contact) == contact_id
