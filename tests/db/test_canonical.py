"""Contacts from before addresses were canonical: the migration gives them one form, and makes one of who was two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recado.channels.twilio.addresses import canonical_address, identity_key, is_whatsapp
from recado.db.migrate import migrate
from recado.db.migrations.versions.m0034_canonical import canonical, key_of
from recado.ids import new_id
from tests.cli.rows import CONTACT, Rows

ADDRESSES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "whatsapp:", "WhatsApp: ", "whatsapp:\u200b", "sms:", "messenger:", "whatsapp :"]),
    st.sampled_from(["", "+", "00", " ", "US.", "br."]),
    st.text("0123456789 ()-.\u00a0\u0665\uff11x", max_size=18) | st.sampled_from(["5511987654321", "521234567890123"]),
)


@given(ADDRESSES)
@example("whatsapp:+5215512345678")
@example("whatsapp:5491123456789")
def test_it_means_by_an_address_what_the_product_means(address: str) -> None:
    found, means = canonical(address), canonical_address(address)
    if found is None:
        assert not is_whatsapp(means) or not re.fullmatch(r"whatsapp:(\+[0-9]{5,}|[A-Za-z]{2}\.[\w.]+)", means)
        assert key_of(address) is None
    else:
        assert (found, key_of(address)) == (means, identity_key(address))


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        yield Rows.with_an_owner(conn)


def contact(rows: Rows, address: str, key: str, **more: Any) -> UUID:
    contact_id = new_id()
    values = {"owner_id": rows.owner, "id": contact_id, "address": address, "identity_key": key, **more}
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    rows.conn.execute(f"INSERT INTO contacts ({columns}) VALUES ({places})", list(values.values()))
    return contact_id


def conversation(rows: Rows, contact_id: UUID) -> UUID:
    made = new_id()
    rows.conn.execute(
        "INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at) "
        "VALUES (%s, %s, %s, %s, now())",
        [rows.owner, made, rows.number, contact_id],
    )
    return made


def migrate_again(rows: Rows, url: str) -> None:
    """From the revision before."""
    rows.conn.execute("UPDATE schema_version SET version_num = '0033'")
    assert migrate(url)


def known(rows: Rows) -> dict[UUID, tuple[str, str, str | None]]:
    found = rows.conn.execute("SELECT id, address, identity_key, external_id FROM contacts")
    return {row[0]: (row[1], row[2], row[3]) for row in found}


def test_what_is_odd_is_rewritten_and_all_else_stays(rows: Rows, database_url: str) -> None:
    ((ana, *_),) = rows.conn.execute("SELECT id FROM contacts").fetchall()
    bare = contact(rows, "+5521912345678", "whatsapp:+5521912345678")
    missing = contact(rows, "whatsapp:5531912345678", "whatsapp:+5531912345678", external_id="BR.77")
    spaced = contact(rows, "WhatsApp: 55 41 91234-5678", "WhatsApp: 55 41 91234-5678")
    mexican = contact(rows, "whatsapp:+52 1 55 1234 5678", "whatsapp:+52 1 55 1234 5678", external_id="MX.1")
    scoped = contact(rows, "whatsapp:US.1349", "whatsapp:US.1349")
    apart = [
        contact(rows, address, address) for address in ("sms:+5521912345678", "messenger:12345678", "whatsapp:x y")
    ]
    before = known(rows)
    rows.conn.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason) VALUES (%s, 'whatsapp: 5581 91234 5678', 'word')",
        [rows.owner],
    )
    rows.conn.execute(
        "INSERT INTO numbers (owner_id, id, account_id, address, status) "
        "VALUES (%(o)s, gen_random_uuid(), %(a)s, 'whatsapp: 1 415 555 0199', 'unrouted'), "
        "(%(o)s, gen_random_uuid(), %(a)s, 'whatsapp:14155238886', 'unrouted'), "
        "(%(o)s, gen_random_uuid(), %(a)s, 'sms:+14155238886', 'unrouted')",
        {"o": rows.owner, "a": rows.account},
    )
    migrate_again(rows, database_url)
    after = known(rows)
    assert {key: after[key] for key in (ana, scoped, *apart)} == {key: before[key] for key in (ana, scoped, *apart)}
    assert after[bare] == ("whatsapp:+5521912345678", "whatsapp:+5521912345678", None)
    assert after[missing] == ("whatsapp:+5531912345678", "whatsapp:+5531912345678", "BR.77")
    assert after[spaced] == ("whatsapp:+5541912345678", "whatsapp:+5541912345678", None)
    assert after[mexican] == ("whatsapp:+5215512345678", "whatsapp:+525512345678", "MX.1")
    assert rows.conn.execute("SELECT identity_key FROM suppressions").fetchall() == [("whatsapp:+5581912345678",)]
    assert {row[0] for row in rows.conn.execute("SELECT address FROM numbers")} == {
        *("whatsapp:+14155550199", "whatsapp:+14155238886", "sms:+14155238886"),
        "whatsapp:14155238886",  # its canonical one is another row: it stays, unrouted, with what it has
    }


def test_sids_in_capitals_are_twilios_unless_somebody_has_them_so_already(rows: Rows, database_url: str) -> None:
    rows.conn.execute(
        "UPDATE twilio_accounts SET account_sid = %s, api_key_sid = %s, api_key_secret_ref = 'env:KEY' WHERE id = %s",
        ["AC" + "AB" * 16, "SK" + "AB" * 16, rows.account],
    )
    rows.conn.execute("UPDATE numbers SET messaging_service_sid = %s", ["MG" + "CD" * 16])
    for sid in ("AC" + "EF" * 16, "AC" + "ef" * 16):
        rows.conn.execute(
            "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token_ref) VALUES (%s, %s, %s, 'env:TOKEN')",
            [rows.owner, new_id(), sid],
        )
    migrate_again(rows, database_url)
    found = {row[0] for row in rows.conn.execute("SELECT account_sid FROM twilio_accounts")}
    assert found == {"AC" + "ab" * 16, "AC" + "EF" * 16, "AC" + "ef" * 16}
    keys = rows.conn.execute("SELECT api_key_sid FROM twilio_accounts WHERE id = %s", [rows.account]).fetchone()
    assert keys == ("SK" + "ab" * 16,)
    assert rows.conn.execute("SELECT messaging_service_sid FROM numbers").fetchall() == [("MG" + "cd" * 16,)]


def test_who_was_two_is_one_with_what_waits_and_who_opted_out_stays_so(rows: Rows, database_url: str) -> None:
    odd = "whatsapp: 55 (11) 98765-4321"
    twin = contact(rows, odd, odd, profile_name="Ana B.", external_id="BR.5")
    other = conversation(rows, twin)
    rows.inbound(status="answered")
    waiting = rows.inbound(status="received", body="E amanhã?")
    rows.conn.execute("UPDATE messages SET conversation_id = %s WHERE id = %s", [other, waiting])
    rows.conn.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason) VALUES (%s, %s, 'word')", [rows.owner, odd]
    )
    migrate_again(rows, database_url)
    ((found, (address, key, scoped)),) = known(rows).items()
    assert (found == twin, address, key, scoped) == (False, CONTACT, CONTACT, "BR.5")
    moved = rows.conn.execute("SELECT conversation_id FROM messages WHERE id = %s", [waiting]).fetchone()
    assert moved == (rows.conversation,)
    merged = rows.conn.execute("SELECT status, close_reason, contact_id FROM conversations WHERE id = %s", [other])
    assert merged.fetchone() == ("closed", "merged", found)
    assert rows.conn.execute("SELECT identity_key FROM suppressions").fetchall() == [(CONTACT,)]
    work = rows.conn.execute("SELECT queue_name, queue_partition_key FROM dbos.workflow_status").fetchall()
    assert work == [("turns", f"{rows.owner}:{rows.conversation}")]
    migrate_again(rows, database_url)
    assert len(known(rows)) == 1
