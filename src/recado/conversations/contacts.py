"""Contacts: who writes to the owner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from recado.channels.twilio.addresses import canonical_address, identity_key, is_scoped_id
from recado.db.scope import Scope
from recado.errors import NotFound
from recado.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person on WhatsApp; `suppressed` says that they want no messages.

    Why: `word` they wrote so, `twilio` with its code, or `people` of the owner decided it. Their `language` is what
    `people` said it is, or what they have `written` in. `version` grows with what people change.
    """

    id: UUID
    address: str = field(repr=False)
    profile_name: str | None = field(repr=False)
    language: str | None
    language_why: str | None
    version: int
    suppressed: bool
    suppressed_since: datetime | None
    suppressed_why: str | None
    created_at: datetime


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Contact]:
    """The owner's contacts after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"{_SELECT} WHERE c.owner_id = %s AND c.id > %s AND c.erasure_id IS NULL ORDER BY c.id LIMIT %s",
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Contact(**row) for row in await cursor.fetchall()]


async def get(scope: Scope, contact_id: UUID, *, lock: bool = False) -> Contact:
    """The contact; with `lock`, nobody else changes them before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(_GET_LOCKED if lock else _GET, [scope.owner_id, contact_id])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no contact {contact_id}")
    return Contact(**row)


async def with_address(scope: Scope, address: str) -> UUID:
    """The contact whom this address means, in whatever form it is written, or a new one; answers their id.

    A contact who is known keeps the address as it last came. One made elsewhere at the same moment is waited for.
    """
    key = identity_key(address)
    scoped_id = key if is_scoped_id(key) else None
    if scoped_id is not None:
        await scope.conn.execute("SELECT unite(%s, %s, %s)", [scope.owner_id, scoped_id, scoped_id])
    cursor = await scope.conn.execute(
        """
        INSERT INTO contacts AS c (owner_id, id, identity_key, address, external_id)
        SELECT %(owner)s, %(id)s, coalesce(
                   (SELECT identity_key FROM contacts WHERE owner_id = %(owner)s AND identity_key = %(key)s LIMIT 1),
                   (SELECT identity_key FROM contacts
                    WHERE owner_id = %(owner)s AND external_id = %(scoped_id)s LIMIT 1),
                   %(key)s), %(address)s, %(scoped_id)s
        ON CONFLICT (owner_id, identity_key) DO UPDATE SET address = c.address RETURNING id
        """,
        {
            "owner": scope.owner_id,
            "id": new_id(),
            "key": key,
            "scoped_id": scoped_id,
            "address": canonical_address(address),
        },
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it was inserted or found
    contact_id: UUID = row["id"]
    return contact_id


async def set_language(scope: Scope, found: Contact, language: str | None) -> Contact:
    """People say which language the contact speaks; None: what the contact writes tells it again.

    `found` was read with `lock`.
    """
    why = None if language is None else "people"
    if (found.language, found.language_why) == (language, why):
        return found
    await scope.conn.execute(
        "UPDATE contacts SET language = %s, language_why = %s, version = version + 1 WHERE owner_id = %s AND id = %s",
        [language, why, scope.owner_id, found.id],
    )
    return replace(found, language=language, language_why=why, version=found.version + 1)


async def learn_language(scope: Scope, contact_id: UUID, language: str) -> bool:
    """Keep the language that the contact writes in, unless people said it; whether it is theirs now."""
    cursor = await scope.conn.execute(
        "UPDATE contacts SET language = %s, language_why = 'written' "
        "WHERE owner_id = %s AND id = %s AND language_why IS DISTINCT FROM 'people'",
        [language, scope.owner_id, contact_id],
    )
    return cursor.rowcount == 1


_SELECT = """
SELECT c.id, c.address, c.profile_name, c.language, c.language_why, c.version, c.created_at,
       s.identity_key IS NOT NULL AS suppressed, s.created_at AS suppressed_since, s.reason AS suppressed_why
FROM contacts c LEFT JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
"""
# Who is being erased is nobody any more.
_GET = f"{_SELECT} WHERE c.owner_id = %s AND c.id = %s AND c.erasure_id IS NULL"
_GET_LOCKED = f"{_GET} FOR UPDATE OF c"
