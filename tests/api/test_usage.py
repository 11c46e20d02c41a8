from __future__ import annotations

from recado.db.scope import scoped
from recado.identity import plans
from tests.api.programs import Office


async def test_usage_shows_every_metric_beside_the_plans_limit(office: Office) -> None:
    now = office.front.wiring.clock.now()
    free = await office.admin.get("/v1/usage")
    assert (free["plan"], free["state"], free["period"]) == (None, "ok", f"{now:%Y-%m}")
    assert {item["metric"]: item["amount"] for item in free["metrics"] if item["metric"] != "stored_bytes"} == {
        "messages": 0, "model_tokens": 0, "transcription_seconds": 0, "money": 0, "unpriced_tokens": 0,
    }  # fmt: skip
    async with await office.front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", messages=10, money=1_000_000, hard_action="people")
        await plans.assign(conn, office.front.owner_id, "small")
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await plans.meter(scope, "messages", 9, now=now)
    shown = await office.admin.get("/v1/usage", params={"period": f"{now:%Y-%m}"})
    assert (shown["plan"]["name"], shown["plan"]["hard_action"], shown["state"]) == ("small", "people", "soft")
    assert {item["metric"]: (item["amount"], item["limit"]) for item in shown["metrics"]}["messages"] == (9, 10)
    other = await office.admin.get("/v1/usage", params={"period": "2020-02"})
    assert (other["period"], other["state"]) == ("2020-02", "ok")
