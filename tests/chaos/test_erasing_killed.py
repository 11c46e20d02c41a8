"""`kill -9` in the middle of an erasure, again and again: another worker, or the next, finishes it whole."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.conversations import erasures
from recado.db.scope import scoped
from recado.settings import Settings
from recado.wiring import wire
from tests.chaos.test_chaos import home as home
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
CONTACT = "whatsapp:+5511900000077"
MESSAGES = 2_500
_MANY = """
INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, provider_sid,
                      correlation_id, received_at)
SELECT m.owner_id, gen_random_uuid(), m.conversation_id, m.account_id, 'inbound', 'contact', 'Oi', 'answered',
       'SM' || md5(n::text), gen_random_uuid(), now()
FROM (SELECT * FROM messages WHERE direction = 'inbound' LIMIT 1) m, generate_series(1, %s) n
"""


def test_an_erasure_whose_worker_is_killed_again_and_again_ends_whole(home: Path) -> None:
    with Fleet(home, apis=1, workers=1) as fleet:
        fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, fleet.api_urls[0] + INBOUND))
        fleet.call(lambda client: client.send("Oi", account_sid=ACCOUNT_SID, from_=CONTACT, to=NUMBER))
        fleet.call(lambda client: client.wait_for_replies(CONTACT, 1, 60))
        asyncio.run(_erase_under_kills(home, fleet))


async def _erase_under_kills(home: Path, fleet: Fleet) -> None:
    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        with psycopg.connect(wiring.database.admin_url, autocommit=True, options="-c search_path=recado") as conn:
            conn.execute(_MANY, [MESSAGES])
            row = conn.execute("SELECT owner_id, id FROM contacts").fetchone()
            assert row is not None
            owner_id, contact_id = row
            erasure_id = await _request(wiring, owner_id, contact_id)
            deaths = await asyncio.to_thread(_kill_until_ended, fleet, conn, erasure_id)
            assert deaths >= 3, "it was over before anything was killed"
            found = conn.execute("SELECT status, counts FROM erasures WHERE id = %s", [erasure_id]).fetchone()
            assert found is not None
            status, counts = found
            assert status == "done"
            # What was deleted is counted in the transaction that deleted it: once, whoever died.
            assert (counts["messages"], counts["contacts"]) == (MESSAGES + 2, 1)
            assert counts["twilio_messages"] + counts["twilio_gone"] == MESSAGES + 2
            for table in ("messages", "conversations", "contacts", "erasure_items", "turns", "message_parts"):
                assert conn.execute(f"SELECT FROM {table}").fetchone() is None, table  # type: ignore[call-overload]


async def _request(wiring: Any, owner_id: UUID, contact_id: UUID) -> UUID:
    async with scoped(wiring.pool, owner_id) as scope:
        erasure, new = await erasures.request(scope, wiring.keyring, contact_id, now=wiring.clock.now())
    assert new
    return erasure.id


def _kill_until_ended(fleet: Fleet, conn: psycopg.Connection[Any], erasure_id: UUID) -> int:
    """Kill the worker each time when it has got on by some; how often."""
    deadline = time.monotonic() + 120
    seen: tuple[Any, ...] = ()
    kills = 0
    while time.monotonic() < deadline:
        row = conn.execute(
            "SELECT status, counts ->> 'messages', (SELECT count(*) / 1000 FROM erasure_items WHERE erasure_id = e.id) "
            "FROM erasures e WHERE id = %s",
            [erasure_id],
        ).fetchone()
        assert row is not None
        if row[0] in ("done", "incomplete"):
            return kills
        if row != seen and kills < 6:
            seen = row
            kills += 1
            fleet.members["worker0"].kill()
            # So long nobody else would look at it; that it is looked at again is not what takes time here.
            conn.execute("UPDATE erasures SET look_again_at = now() WHERE id = %s", [erasure_id])
        time.sleep(0.02)
    raise AssertionError(f"not ended: {seen}\n{fleet.logs()}")
