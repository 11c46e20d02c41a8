"""From the request on an erased person is nobody: nothing is sent to them, whatever still comes to their rows."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from recado.conversations import contacts, conversations, erasures, suppressions
from recado.db.pool import open_pool
from recado.db.scope import scoped
from recado.db.secrets import keyring
from recado.errors import NotFound
from tests.conftest import SECRET_KEYS
from tests.db.owned_rows import insert, settle

NOW = datetime.now(UTC)


async def test_what_comes_late_to_an_erased_contact_is_answered_by_nobody(database_url: str) -> None:
    ring = keyring([SECRET_KEYS])
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        owner = settle(conn)
        contact_id, late = owner.of("contacts"), uuid4()
        async with open_pool(database_url, "recado_app", size=1) as pool:
            async with scoped(pool, owner.id) as scope:
                erasure, new = await erasures.request(scope, ring, contact_id, now=NOW)
                assert (new, erasure.contact_ids) == (True, [contact_id])
            # A message that was being accepted meanwhile has opened a conversation of theirs.
            opened = owner.fresh("conversations") | {"id": late, "status": "open", "last_inbound_at": NOW}
            insert(conn, "conversations", opened)
            async with scoped(pool, owner.id) as scope:
                assert (await conversations.get(scope, late)).suppressed
                for look in (contacts.get, suppressions.suppress, suppressions.allow):
                    with pytest.raises(NotFound):
                        await look(scope, contact_id)
                assert await contacts.page(scope, after=None, limit=10) == []
                again, new = await erasures.request(scope, ring, contact_id, now=NOW)
                assert (again.id, new) == (erasure.id, False)


async def test_of_an_owner_and_another_the_same_person_has_two_hashes(database_url: str) -> None:
    """Owners can't find out from one another's hashes whom both have erased."""
    ring = keyring([SECRET_KEYS])
    hashes: list[bytes] = []
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        for _ in range(2):
            owner = settle(conn)
            conn.execute("UPDATE contacts SET identity_key = '+5511900000000' WHERE owner_id = %s", [owner.id])
            async with open_pool(database_url, "recado_app", size=1) as pool, scoped(pool, owner.id) as scope:
                erasure, _new = await erasures.request(scope, ring, owner.of("contacts"), now=NOW)
            found = conn.execute("SELECT identity_hashes FROM erasures WHERE id = %s", [erasure.id]).fetchone()
            assert found is not None
            hashes += found[0]
    assert len(set(hashes)) == 2
