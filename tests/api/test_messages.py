"""Sending by the API: what is taken, what is refused and how that is said, and the window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from recado.channels.port import Template
from recado.conversations import templates
from recado.db.scope import scoped
from tests.api.conftest import TOGETHER
from tests.api.programs import Office

SID = "HX" + "5" * 32
BODY = "Olá {{1}}, seu pedido: {{2}}"


def path(office: Office) -> str:
    return f"/v1/conversations/{office.conversation_id}"


async def send(office: Office, **given: Any) -> Any:
    return await office.admin.ask("POST", f"{path(office)}/messages", json=given)


async def template(office: Office, status: str = "approved") -> None:
    """The account has this template."""
    front = office.front
    [account] = front.rows("SELECT id FROM twilio_accounts WHERE owner_id = %s", front.owner_id)
    one = Template(
        content_sid=SID,
        name="order",
        language="pt_BR",
        category="UTILITY",
        status=status,
        rejection_reason="too vague" if status == "rejected" else None,
        content_type="twilio/text",
        body=BODY,
        types={"twilio/text": {"body": BODY}},
    )
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await templates.sync(scope, account["id"], [one], now=datetime.now(UTC))


def close_window(office: Office, hours: float = 25) -> None:
    office.front.rows(
        "UPDATE conversations SET last_inbound_at = now() - make_interval(secs => %s) RETURNING id", hours * 3600
    )


def attachment(
    office: Office,
    status: str = "stored",
    owner_id: UUID | None = None,
    content_type: str = "image/png",
    size_bytes: int | None = None,
) -> str:
    media_id = uuid4()
    office.front.rows(
        "INSERT INTO media (owner_id, id, announced_type, content_type, status, size_bytes) "
        "VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
        owner_id or office.front.owner_id,
        media_id,
        content_type,
        content_type,
        status,
        size_bytes,
    )
    return str(media_id)


async def test_buttons_a_list_and_an_attachment_are_stored_as_what_they_are(office: Office) -> None:
    media_id = attachment(office)
    buttons = [{"id": "yes", "title": "Sim"}]
    items = [{"id": "1", "title": "Cenoura", "description": "com chocolate"}, {"id": "2", "title": "Fubá"}]
    given: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        (
            {"body": "Quer?", "quick_replies": buttons},
            "quick_replies",
            {"kind": "quick_replies", "buttons": buttons},
        ),
        (
            {"body": "Qual?", "list": {"button": "Bolos", "items": items}},
            "list",
            {"kind": "list", "button": "Bolos", "items": items},
        ),
        ({"body": "Veja", "media_id": media_id}, "image", {"kind": "media", "media_id": media_id}),
        ({"media_id": media_id}, "image", {"kind": "media", "media_id": media_id}),
    ]
    for body, kind, content in given:
        answer = await send(office, **body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["kind"], made["content"], made["body"]) == (kind, content, body.get("body", ""))
        assert made["id"] in [row["workflow_uuid"] for row in office.front.work()]


async def test_what_was_sent_beyond_text_is_told_in_one_text_and_its_attachment_shown(office: Office) -> None:
    media_id = attachment(office)
    buttons = [{"id": "yes", "title": "Sim"}, {"id": "no", "title": "Não"}]
    for body, told in (
        ({"media_id": media_id}, "[picture]"),
        ({"body": "Veja", "media_id": media_id}, "[picture] Veja"),
        ({"body": "Quer?", "quick_replies": buttons}, "Quer? [buttons: Sim | Não]"),
    ):
        made = (await send(office, **body)).json()
        assert (made["says"], [one["id"] for one in made["media"]]) == (told, [media_id] if "media_id" in body else [])
        assert await office.admin.get(f"/v1/messages/{made['id']}") == made | {"parameters": None}


@TOGETHER
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"quick_replies": [{"id": "1", "title": "Sim"}]},
        {"body": "x", "quick_replies": []},
        {"body": "x", "quick_replies": [{"id": str(n), "title": str(n)} for n in range(4)]},
        {"body": "x", "quick_replies": [{"id": "1", "title": "Sim"}, {"id": "1", "title": "Não"}]},
        {"body": "x", "quick_replies": [{"id": "1", "title": "x" * 21}]},
        {"body": "x", "list": {"button": "Ver", "items": [{"id": "1", "title": "x" * 25}]}},
        {"body": "x", "list": {"button": "Ver", "items": [{"id": "1", "title": "a", "description": "x" * 73}]}},
        {"body": "x", "quick_replies": [{"id": "1", "title": "a"}], "template": {"content_sid": SID}},
        {"body": "x", "media_id": str(uuid4())},
        {"template": {"content_sid": SID}},
        {"body": "x", "template": {"content_sid": SID}},
        {"body": "x", "reply_with": "a poem"},
    ],
)
async def test_what_can_not_be_sent_is_refused_and_leaves_nothing(shared_office: Office, given: dict[str, Any]) -> None:
    answer = await send(shared_office, **given)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(shared_office.front.stored()) == 1


async def test_an_attachment_that_is_not_stored_or_another_owners_is_refused(office: Office) -> None:
    assert (await send(office, media_id=attachment(office, "refused"))).status_code == 409
    stranger = await office.stranger()
    me = await stranger.get("/v1/owners/me")
    theirs = attachment(office, owner_id=UUID(me["id"]))
    assert (await send(office, media_id=theirs)).status_code == 422


@pytest.mark.parametrize(
    ("content_type", "size_bytes", "status"),
    [
        ("text/csv", 10, 422),
        ("image/jpeg", 5_000_001, 422),
        ("image/jpeg", 5_000_000, 201),
        ("image/webp", 500_001, 422),
        ("application/pdf", 16_000_001, 422),
        ("application/pdf", 5_000_001, 201),
    ],
)
async def test_what_came_and_whatsapp_does_not_carry_out_is_refused_before_it_is_sent(
    office: Office, content_type: str, size_bytes: int, status: int
) -> None:
    came = attachment(office, content_type=content_type, size_bytes=size_bytes)
    answer = await send(office, media_id=came)
    assert answer.status_code == status
    assert (status == 201) == (len(office.front.stored()) == 2)


async def test_a_template_is_sent_with_all_its_variables_and_says_what_it_says(office: Office) -> None:
    await template(office)
    close_window(office)
    use = {"content_sid": SID, "variables": {"1": "Ana", "2": "pronto"}}
    answer = await send(office, template=use)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["kind"], made["body"]) == ("template", "Olá Ana, seu pedido: pronto")
    assert made["content"] == {"kind": "template", **use}


@pytest.mark.parametrize(
    ("variables", "detail"),
    [
        ({"1": "Ana"}, "2 missing"),
        ({"1": "Ana", "2": "x", "segredo": "y"}, "1 more"),
        ({"1": "Ana", "2": "um\ndois"}, "variable 2"),
        ({"1": "Ana", "2": ""}, "variable 2"),
    ],
)
async def test_a_templates_variables_are_checked_before_it_is_stored(
    office: Office, variables: dict[str, str], detail: str
) -> None:
    await template(office)
    answer = await send(office, template={"content_sid": SID, "variables": variables})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert "segredo" not in answer.text
    assert len(office.front.stored()) == 1


async def test_a_template_that_is_not_approved_is_refused_with_its_status(office: Office) -> None:
    await template(office, "rejected")
    answer = await send(office, template={"content_sid": SID, "variables": {"1": "Ana", "2": "x"}})
    assert answer.status_code == 409
    assert "rejected" in answer.json()["detail"]


async def test_once_the_window_is_closed_only_a_template_is_taken_and_the_answer_says_so(office: Office) -> None:
    close_window(office)
    for given in ({"body": "Oi"}, {"media_id": attachment(office)}):
        answer = await send(office, **given)
        assert answer.status_code == 409
        assert "`template`" in answer.json()["detail"]
    assert len(office.front.stored()) == 1


async def test_a_message_is_stored_with_its_delivery(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    answer = await office.admin.ask("POST", path, json={"body": "Pronto!"})
    assert answer.status_code == 201
    sent = answer.json()
    assert (sent["author"], sent["direction"], sent["status"], sent["body"]) == ("api", "outbound", "queued", "Pronto!")
    assert [row["workflow_uuid"] for row in office.front.work() if row["queue_name"] == "deliveries"] == [sent["id"]]


async def test_a_conversation_shows_its_messages_newest_first(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}/messages"
    await office.admin.ask("POST", path, json={"body": "Olá"})
    page = await office.admin.get(path)
    assert [(item["direction"], item["body"]) for item in page["items"]] == [("outbound", "Olá"), ("inbound", "Oi")]
    newest = await office.admin.get(f"/v1/messages/{page['items'][0]['id']}")
    assert newest == page["items"][0] | {"parameters": None}
    first = await office.admin.get(path, params={"limit": 1})
    second = await office.admin.get(path, params={"limit": 1, "cursor": first["next"]})
    assert [*first["items"], *second["items"]] == page["items"]
