"""Contacts stored under an odd form of their WhatsApp address get the canonical one; who was two of them is one.

Likewise SIDs that people gave in another case than Twilio's.

Addresses were stored as they came until replies went to their canonical form, and the key of one with blanks or dots
in it was that text. Another channel's addresses stay as they are. What is canonical is written down here as it was at
this revision (`channels/twilio/addresses`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9.-]{0,31})[ ]?:")
_PHONE = re.compile(r"\+?([0-9]{5,20})")
_BETWEEN = re.compile(r"[ ().\-\u2010-\u2015\u2212]+")
_SCOPED_ID = re.compile(r"[A-Za-z]{2}\.[0-9A-Za-z.]{1,128}")
_TWO_FORMS = (
    (re.compile(r"55([1-9][0-9])([6-9][0-9]{7})"), r"559"),
    (re.compile(r"521()([0-9]{10})"), "52"),
    (re.compile(r"549()([0-9]{10})"), "54"),
)


def canonical(address: str) -> str | None:
    """The WhatsApp address that this means, in its canonical form; None for another channel's, and for what is none."""
    kept = (character for character in address if unicodedata.category(character) != "Cf")
    text = "".join(map(_plain, unicodedata.normalize("NFKC", "".join(kept)))).strip()
    prefix = _PREFIX.match(text)
    if prefix is not None and prefix[1].lower() != "whatsapp":
        return None
    bare = text.partition(":")[2].strip() if prefix else text
    if phone := _PHONE.fullmatch(_BETWEEN.sub("", bare)):
        return f"whatsapp:+{phone[1].removeprefix('00') if len(phone[1]) > 8 else phone[1]}"
    return f"whatsapp:{bare}" if _SCOPED_ID.fullmatch(bare) else None


def _plain(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


def key_of(address: str) -> str | None:
    """The one key of all forms of the person's address; None where `canonical` is."""
    found = canonical(address)
    if found is None or not found.startswith("whatsapp:+"):
        return found
    digits = found.removeprefix("whatsapp:+")
    for form, country in _TWO_FORMS:
        if two := form.fullmatch(digits):
            return f"whatsapp:+{country if country != '559' else f'55{two[1]}9'}{two[2]}"
    return found


# One look at each contact, none at what is canonical; of a channel that has no number in it neither.
_ODD = """
SELECT owner_id, id, identity_key, address, external_id FROM contacts
WHERE address !~ :fine OR identity_key !~ :fine ORDER BY owner_id, id
"""
_FINE = r"^whatsapp:(\+[1-9][0-9]{4,19}|[A-Za-z]{2}\.[0-9A-Za-z.]{1,128})$|^(sms|voice|mms|rcs|tel):"
_KEPT = "SELECT id, external_id FROM contacts WHERE owner_id = :owner AND identity_key = :key"
_ADDRESS = "UPDATE contacts SET address = :address WHERE owner_id = :owner AND id = :id AND address = :odd"
_SCOPED = "UPDATE contacts SET external_id = :scoped WHERE owner_id = :owner AND identity_key = :key"
_SUPPRESSED = """
UPDATE suppressions s SET identity_key = :key WHERE owner_id = :owner AND identity_key = :odd
  AND NOT EXISTS (SELECT FROM suppressions t WHERE t.owner_id = s.owner_id AND t.identity_key = :key)
"""
_NUMBERS = "SELECT owner_id, account_id, id, address FROM numbers WHERE address !~ :fine"
_NUMBER = """
UPDATE numbers n SET address = :address, version = version + 1 WHERE owner_id = :owner AND id = :id
  AND NOT EXISTS (SELECT FROM numbers t WHERE t.account_id = n.account_id AND t.address = :address)
"""
# An AccountSid in capitals is none of Twilio's. One whose canonical form somebody has stays: no webhook is its own.
_SIDS = (
    """
UPDATE twilio_accounts a SET account_sid = upper(left(a.account_sid, 2)) || lower(substr(a.account_sid, 3))
WHERE a.account_sid <> upper(left(a.account_sid, 2)) || lower(substr(a.account_sid, 3)) AND (
    a.removed_at IS NOT NULL OR NOT EXISTS (
        SELECT FROM twilio_accounts t WHERE t.removed_at IS NULL AND t.id <> a.id
          AND upper(t.account_sid) = upper(a.account_sid)))
""",
    """
UPDATE twilio_accounts SET api_key_sid = upper(left(api_key_sid, 2)) || lower(substr(api_key_sid, 3))
WHERE api_key_sid <> upper(left(api_key_sid, 2)) || lower(substr(api_key_sid, 3))
""",
    """
UPDATE numbers
SET messaging_service_sid = upper(left(messaging_service_sid, 2)) || lower(substr(messaging_service_sid, 3))
WHERE messaging_service_sid <> upper(left(messaging_service_sid, 2)) || lower(substr(messaging_service_sid, 3))
""",
)


def upgrade() -> None:
    """Rewrite what is odd, contact by contact: where both are there, by `unite`, as for a person told to be one."""
    conn = op.get_bind()

    def run(statement: str, **values: object) -> Any:
        return conn.execute(sa.text(statement), values)

    # Row-level security is forced: across owners only this role sees rows, and `unite` works as its owner's own.
    run("SET LOCAL ROLE recado_platform")
    contacts = run(_ODD, fine=_FINE).all()
    suppressed = run("SELECT owner_id, identity_key FROM suppressions WHERE identity_key !~ :fine", fine=_FINE).all()
    numbers = run(_NUMBERS, fine=_FINE).all()
    for statement in _SIDS:
        run(statement)
    run("SET LOCAL ROLE recado_app")
    for owner, contact_id, key, address, scoped in contacts:
        run("SELECT set_config('recado.owner_id', :owner, true)", owner=str(owner))
        if (straight := canonical(address)) is not None:
            run(_ADDRESS, owner=owner, id=contact_id, address=straight, odd=address)
        new_key = key_of(key)
        if new_key is not None and new_key != key and not re.match(_FINE, key):
            kept = run(_KEPT, owner=owner, key=new_key).one_or_none()
            run("SELECT unite(:owner, :key, :odd)", owner=owner, key=new_key, odd=key)
            # It takes the odd key for a business-scoped id.
            run(_SCOPED, owner=owner, key=new_key, scoped=(kept.external_id if kept else None) or scoped)
    for owner, odd in suppressed:
        if (new_key := key_of(odd)) is not None and new_key != odd:
            run("SELECT set_config('recado.owner_id', :owner, true)", owner=str(owner))
            run(_SUPPRESSED, owner=owner, key=new_key, odd=odd)
    for owner, _account, number_id, address in numbers:
        if (straight := canonical(address)) is not None:
            run("SELECT set_config('recado.owner_id', :owner, true)", owner=str(owner))
            run(_NUMBER, owner=owner, id=number_id, address=straight)
    run("SELECT set_config('recado.owner_id', '', true)")
    run("SET LOCAL ROLE NONE")
