"""Whatever text is sent to PostgreSQL, it can be stored."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from recado.db.pool import connect, open_pool
from recado.text import storable

HOSTILE = "a\0b\ud83d\ude00c\ud800d\x85"
STORED = "ab😀c�d\x85"


@pytest.mark.parametrize(
    ("query", "value", "stored"),
    [
        ("SELECT %s::text AS found", HOSTILE, STORED),
        ("SELECT %b::text AS found", HOSTILE, STORED),
        ("SELECT %s::text[] AS found", [HOSTILE, "b"], [STORED, "b"]),
        ("SELECT %s::jsonb AS found", Jsonb({HOSTILE: [HOSTILE, {"a": HOSTILE}, 1, None]}), None),
        ("SELECT %s::json AS found", Json({HOSTILE: (HOSTILE, {"a": HOSTILE}, 1, None)}), None),
        ("SELECT %s::jsonb AS found", Jsonb("\\u0000 \\ud800"), "\\u0000 \\ud800"),
    ],
)
async def test_text_that_a_door_forgot_to_clean_is_stored_without_what_can_not_be(
    database_url: str, query: str, value: Any, stored: Any
) -> None:
    stored = stored or {STORED: [STORED, {"a": STORED}, 1, None]}
    conn = await connect(database_url, "recado_app")
    async with conn:
        row = await (await conn.execute(query, [value])).fetchone()
        assert row is not None
        assert row["found"] == stored
    async with open_pool(database_url, "recado_app", size=1) as pool, pool.connection() as conn:
        row = await (await conn.execute(query, [value])).fetchone()
        assert row is not None
        assert row["found"] == stored


def test_what_can_be_stored_stays_as_it_is() -> None:
    for text in ("", "Olá\r\n\t\x1b", "👩‍👩‍👧", "\x85"):
        assert storable(text) is text
