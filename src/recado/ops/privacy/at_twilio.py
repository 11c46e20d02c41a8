"""What Twilio keeps of an erased person is deleted there, as often as it takes.

Twilio deletes a message only once its delivery has ended (20009), takes so many requests a second (20429), and may be
away: what it does not let go now is asked again later, less and less often, for days. Then it is left, and the proof
says how much and why.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from recado.channels.port import SendError
from recado.channels.twilio.deleting import NOT_FINAL
from recado.db.pool import Connection, Pool
from recado.ops.privacy.running import GIVE_UP_DAYS, TURN_S, EraseDesk, Taken, held, note, wait

log = structlog.get_logger(__name__)

#: Requests of one erasure that are under way at once, and what is asked for before anything is written down.
AT_ONCE: Final = 10
BATCH: Final = 100
#: After so many, or so long (`TURN_S`), the erasure lets others go first.
MOST: Final = 1000
#: The first pause for a message whose delivery has not ended, and for whatever else refuses; each doubles.
NOT_FINAL_S, AGAIN_S, LONGEST_S = 60.0, 5.0, 3600.0
#: How far the clocks of Twilio, the database and this machine may be apart.
NEAR: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What became of one: nothing is left of it (`counted`), or it is asked again after `again_s`."""

    item_id: UUID
    counted: tuple[tuple[str, int], ...] = ()
    found: tuple[tuple[str, bool], ...] = ()
    again_s: float | None = None
    code: int | None = None


async def delete(desk: EraseDesk, erasure: Taken) -> None:
    """Delete what is due there; the erasure has ended when nothing waits any more. No connection waits for Twilio."""
    until = time.monotonic() + TURN_S
    for count in range(0, MOST, BATCH):
        async with desk.platform.connection() as conn:
            rows = await (await conn.execute(_DUE, _told(erasure) | {"most": BATCH})).fetchall()
        if not rows or (count and time.monotonic() > until):
            break
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(row: dict[str, Any], at_once: asyncio.Semaphore = at_once) -> _Done:
            async with at_once:
                return await _delete(desk, erasure, row)

        async with held(desk.platform, erasure):
            done = await asyncio.gather(*(one(row) for row in rows))
        async with desk.platform.connection() as conn, conn.transaction():
            await _settle(conn, erasure, done)
    await _conclude(desk.platform, erasure)


def _told(erasure: Taken) -> dict[str, Any]:
    return {"owner": erasure.owner_id, "erasure": erasure.id}


_DUE: Final = """
SELECT id, account_id, kind, what, has_media, data, tries FROM erasure_items
WHERE owner_id = %(owner)s AND erasure_id = %(erasure)s AND status = 'waiting' AND look_again_at <= clock_timestamp()
ORDER BY look_again_at LIMIT %(most)s
"""


async def _delete(desk: EraseDesk, erasure: Taken, row: dict[str, Any]) -> _Done:
    """Have one deleted; whatever Twilio says to that is the answer, never an error."""
    try:
        eraser = await desk.eraser_of(erasure.owner_id, row["account_id"])
        match row["kind"]:
            case "content":
                there = await eraser.erase_content(row["what"])
                return _Done(item_id=row["id"], counted=(("twilio_contents" if there else "twilio_gone", 1),))
            case "lookup":
                told = row["data"]
                since = datetime.fromisoformat(told["since"])
                listed = await eraser.find(to=told["to"], from_=told["from"], since=since - NEAR)
                until = erasure.requested_at + NEAR
                found = [one for one in listed if one.date_created is None or one.date_created <= until]
                return _Done(item_id=row["id"], found=tuple((one.sid, one.num_media > 0) for one in found))
            case _:
                files = await eraser.erase(row["what"], with_media=row["has_media"])
                if files is None:
                    return _Done(item_id=row["id"], counted=(("twilio_gone", 1),))
                return _Done(item_id=row["id"], counted=(("twilio_messages", 1), ("twilio_files", files)))
    except SendError as error:
        first_s = NOT_FINAL_S if error.code == NOT_FINAL else AGAIN_S
        again_s = max(error.retry_after_s or 0.0, min(LONGEST_S, first_s * 2 ** min(row["tries"], 12)))
        return _Done(item_id=row["id"], again_s=min(again_s, LONGEST_S), code=error.code)


async def _settle(conn: Connection, erasure: Taken, done: Sequence[_Done]) -> None:
    """Write down what became of them. Each is counted by whoever deletes its row."""
    told = _told(erasure)
    for each in done:
        if each.again_s is not None:
            more = {"item": each.item_id, "again_s": each.again_s, "code": each.code, "days": GIVE_UP_DAYS}
            await conn.execute(_AGAIN, told | more)
        for sid, has_media in each.found:
            await conn.execute(_FOUND, told | {"item": each.item_id, "sid": sid, "has_media": has_media})
    over = {each.item_id: each for each in done if each.again_s is None}
    gone = await (await conn.execute(_GONE, told | {"items": list(over)})).fetchall()
    counts: Counter[str] = Counter()
    for row in gone:
        counts.update(dict(over[row["id"]].counted))
    await note(conn, erasure, counts)


_AGAIN: Final = """
UPDATE erasure_items i
SET tries = i.tries + 1, code = %(code)s, look_again_at = clock_timestamp() + make_interval(secs => %(again_s)s),
    status = CASE WHEN e.erased_at < clock_timestamp() - make_interval(days => %(days)s) AND i.tries > 5
                  THEN 'left' ELSE 'waiting' END
FROM erasures e
WHERE i.owner_id = %(owner)s AND i.id = %(item)s AND e.owner_id = i.owner_id AND e.id = %(erasure)s
"""
_GONE: Final = """
DELETE FROM erasure_items WHERE owner_id = %(owner)s AND erasure_id = %(erasure)s AND id = ANY(%(items)s::uuid[])
RETURNING id
"""
# Another's is what a row of another contact's names: somebody who has come back is another contact.
_FOUND: Final = """
INSERT INTO erasure_items (owner_id, id, erasure_id, account_id, kind, what, has_media, look_again_at)
SELECT i.owner_id, gen_random_uuid(), i.erasure_id, i.account_id, 'message', %(sid)s, %(has_media)s, clock_timestamp()
FROM erasure_items i
WHERE i.owner_id = %(owner)s AND i.erasure_id = %(erasure)s AND i.id = %(item)s
  AND NOT EXISTS (SELECT FROM message_parts p WHERE p.provider_sid = %(sid)s AND p.owner_id = i.owner_id)
ON CONFLICT DO NOTHING
"""


async def _conclude(platform: Pool, erasure: Taken) -> None:
    """End the erasure if nothing waits; else say when the next of it is due."""
    async with platform.connection() as conn, conn.transaction():
        row = await (await conn.execute(_NEXT, _told(erasure))).fetchone()
        assert row is not None  # noqa: S101 - an aggregate
        if row["next_s"] is not None:
            await wait(conn, erasure, waits_for="twilio", seconds=max(0.0, row["next_s"]))
            return
        status = "incomplete" if row["kept"] else "done"
        await conn.execute(_END, _told(erasure) | {"status": status})
    log.info("erasure_ended", task="erase", owner_id=erasure.owner_id, erasure_id=erasure.id, status=status)


_NEXT: Final = """
SELECT extract(epoch FROM min(look_again_at) FILTER (WHERE status = 'waiting') - clock_timestamp())::float AS next_s,
       count(*) FILTER (WHERE status = 'left') AS kept
FROM erasure_items WHERE owner_id = %(owner)s AND erasure_id = %(erasure)s
"""
_END: Final = """
UPDATE erasures SET status = %(status)s, waits_for = NULL, finished_at = clock_timestamp()
WHERE owner_id = %(owner)s AND id = %(erasure)s
"""
