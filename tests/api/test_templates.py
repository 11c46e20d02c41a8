from __future__ import annotations

from tests.api.programs import Office
from tests.api.test_messages import BODY, SID, template


async def test_templates_are_listed_with_their_status_to_their_owner_only(office: Office) -> None:
    await template(office, "rejected")
    [shown] = (await office.admin.get("/v1/templates"))["items"]
    assert (shown["content_sid"], shown["status"], shown["rejection_reason"]) == (SID, "rejected", "too vague")
    assert (shown["variables"], shown["body"]) == (["1", "2"], BODY)
    stranger = await office.stranger()
    assert (await stranger.get("/v1/templates"))["items"] == []
