"""After a backup was restored, whom it has brought back is erased again, and who had opted out gets no messages."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from recado.ops import retention
from recado.ops.privacy import ledger
from recado.ops.privacy.ledger import Replayed
from tests.journey.test_erasing import Api, api, id_of, until
from tests.product import Company, Contact, Product

__all__ = ["api"]

#: What is a person's, in the order in which it can be put back.
TABLES = ("erasure_keys", "contacts", "conversations", "turns", "messages", "message_parts", "suppressions")


def taken(product: Product, company: Company) -> dict[str, list[dict[str, Any]]]:
    """The owner's rows, as a backup has them."""
    found = {
        table: product.rows(f"SELECT to_jsonb(t) AS row FROM {table} t WHERE owner_id = %s", company.owner_id)
        for table in TABLES
    }
    found["messages"].sort(key=lambda row: str(row["row"]["id"]))  # an answer after what it answers
    return found


def restore(product: Product, company: Company, backup: dict[str, list[dict[str, Any]]]) -> None:
    """The database as it was then: nothing is known of what came later."""
    for table in ("erasure_items", "erasures", "erased_suppressions", "erasure_keys"):
        product.execute(f"DELETE FROM {table} WHERE owner_id = %s", company.owner_id)
    for table in TABLES:
        for row in backup[table]:
            product.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, %s::text::jsonb)).*",
                json.dumps(row["row"]),
            )


def replayed(product: Product) -> Replayed:
    wiring = product.wiring
    assert wiring is not None
    return product.call(lambda: ledger.replay(wiring.pool, wiring.storage, wiring.keyring))


def has_come(contact: Contact) -> bool:
    return bool(contact.company.product.rows("SELECT FROM contacts WHERE address = %s", contact.address))


def test_whom_a_restored_backup_has_brought_back_is_erased_again(product: Product, api: Api) -> None:
    company = api.company
    gone, stays = company.contact(), company.contact()
    for contact in (gone, stays):
        contact.says("Vocês fazem entrega?")
        contact.settled(1)
    backup = taken(product, company)
    gone.says("SAIR")
    until(lambda: product.rows("SELECT FROM suppressions WHERE owner_id = %s", company.owner_id) or None)
    gone.settled(2)
    assert api.erase(id_of(gone))["status"] == "done"
    before = replayed(product)
    assert before.people == 0, "nobody is there who was erased"

    restore(product, company, {table: missing(product, table, rows) for table, rows in backup.items()})
    assert has_come(gone)

    again = replayed(product)

    assert (again.people, again.unreadable) == (1, 0)
    (erasure,) = product.rows("SELECT * FROM erasures WHERE owner_id = %s", company.owner_id)
    assert erasure["replayed"]
    proof = api.ended(f"/v1/erasures/{erasure['id']}")
    assert (proof["status"], proof["replayed"], has_come(gone), has_come(stays)) == ("done", True, False, True)
    assert proof["counts"]["twilio_gone"] == 2, "Twilio had deleted them before"
    assert len(stays.messages()) == 2
    gone.says("Olá?")
    (held,) = until(lambda: [one for one in gone.messages() if one["status"] == "held"] or None)
    assert held["held_for"] == "opted_out", "that they had opted out after the backup is known by the ledger"
    assert replayed(product).people == 0


def missing(product: Product, table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not there now."""
    if table in ("erasure_keys", "suppressions"):
        return rows
    key = "message_id" if table == "message_parts" else "id"
    there = {str(row[key]) for row in product.rows(f"SELECT {key} FROM {table}")}
    return [row for row in rows if row["row"][key] not in there]


def test_the_ledger_tells_nobody_who_was_erased(product: Product, api: Api) -> None:
    contact = api.company.contact()
    contact.says("Oi", profile_name="Marcada" + secrets.token_hex(4))
    contact.replies(1)
    api.erase(id_of(contact))
    entries = list((product.home / "media" / ("0" * 8 + "-0000-0000-0000-" + "0" * 12)).iterdir())
    (erasure,) = product.rows("SELECT id FROM erasures WHERE owner_id = %s", api.company.owner_id)
    (entry,) = [path for path in entries if path.name == str(erasure["id"])]
    text = entry.read_text()
    assert contact.address.removeprefix("whatsapp:+") not in text
    assert "Marcada" not in text


def test_the_sweep_of_files_leaves_the_ledger_alone(product: Product, api: Api) -> None:
    contact = api.company.contact()
    contact.says("Oi")
    contact.replies(1)
    api.erase(id_of(contact))
    wiring = product.wiring
    assert wiring is not None

    async def sweep() -> None:
        async with wiring.platform_pool() as platform:
            await retention.sweep_attachments(platform, wiring.storage, now=datetime.now(UTC) + timedelta(days=30))

    before = sorted((product.home / "media").glob("00000000-*/*"))
    product.call(sweep)
    assert sorted((product.home / "media").glob("00000000-*/*")) == before != []
