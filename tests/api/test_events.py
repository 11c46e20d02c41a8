from __future__ import annotations

from recado.db.scope import scoped
from tests.api.programs import Office


async def test_events_go_on_where_one_left_off(office: Office) -> None:
    [received] = (await office.admin.get("/v1/events"))["items"]
    assert (received["step"], received["what"]) == ("accept", "received")
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await scope.conn.execute(
            "INSERT INTO events (owner_id, step, what) SELECT %s, 'accept', 'e' || n FROM generate_series(1, 3) n",
            [scope.owner_id],
        )
    first = await office.admin.get("/v1/events", params={"limit": 2, "after": received["id"]})
    second = await office.admin.get("/v1/events", params={"after": first["next"]})
    assert [event["what"] for event in first["items"] + second["items"]] == ["e1", "e2", "e3"]
    third = await office.admin.get("/v1/events", params={"after": second["next"]})
    assert third == {"items": [], "next": second["next"]}
