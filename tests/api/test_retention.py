"""Periods by the API: shown, tried, set as a whole, and what is no period refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.programs import Office

NONE = dict.fromkeys(("messages", "media", "events", "audit"))


async def test_periods_are_tried_set_as_a_whole_and_audited(office: Office) -> None:
    assert await office.admin.get("/v1/retention") == NONE
    counts = (await office.admin.get("/v1/retention/preview", params={"messages": 30, "audit": 60}))["counts"]
    assert counts == {"messages": 0, "messages_waiting": 0, "audit": 0}
    answer = await office.admin.ask("PUT", "/v1/retention", json={"messages": 365, "media": 90})
    assert answer.json() == NONE | {"messages": 365, "media": 90}
    again = await office.admin.ask("PUT", "/v1/retention", json={"messages": 365})
    assert again.json() == await office.admin.get("/v1/retention") == NONE | {"messages": 365}
    await office.admin.ask("PUT", "/v1/retention", json={"messages": 365})
    audited = [one for one in (await office.admin.get("/v1/audit"))["items"] if one["action"] == "set_retention"]
    assert [one["data"]["media"] for one in audited] == [None, 90]


@pytest.mark.parametrize("given", [{"messages": 2}, {"audit": 29}, {"media": 0}, {"events": "soon"}, {"files": 30}])
async def test_what_is_no_period_is_refused(office: Office, given: dict[str, Any]) -> None:
    assert (await office.admin.ask("PUT", "/v1/retention", json=given)).status_code == 422
    assert await office.admin.get("/v1/retention") == NONE


async def test_who_only_writes_sets_no_period(office: Office) -> None:
    writer = await office.program("write")
    assert (await writer.ask("PUT", "/v1/retention", json={"messages": 30})).status_code == 403
    assert (await writer.ask("GET", "/v1/retention")).status_code == 200
