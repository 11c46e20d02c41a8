"""Every kind of message, from Twilio's webhook to what programs and assistants are shown, and its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from recado.channels.twilio.parse import parse_inbound
from recado.ids import new_id
from tests import lending
from tests.api.conftest import TOGETHER
from tests.api.programs import Office
from tests.channels.examples import inbound
from tests.data.kinds import KINDS, Kind
from tests.journey.front import message_sid

PAGE = (Path(__file__).parents[2] / "docs/reference/messages.md").read_text()


def _execute(office: Office, query: Any, *parameters: Any) -> None:
    lending.rows(office.front.database_url, query, *parameters)


def _settle(office: Office, message_id: UUID, kind: Kind, announced: list[Any]) -> None:
    """Let the attachments become what the example says, as if they had been fetched."""
    _execute(office, "DELETE FROM media WHERE message_id = %s", message_id)
    for ordinal, (facts, media) in enumerate(zip(kind.media, announced, strict=True)):
        row = {
            "owner_id": office.front.owner_id,
            "id": new_id(),
            "message_id": message_id,
            "ordinal": ordinal,
            "announced_type": media.content_type,
            "file_name": media.file_name,
            **facts,
        }
        columns, values = (
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
        _execute(office, sql.SQL("INSERT INTO media ({}) VALUES ({})").format(columns, values))
    _execute(
        office,
        "UPDATE messages SET transcript = %s, transcript_language = %s, awaits_media = false WHERE id = %s",
        kind.transcript,
        kind.transcript_language,
        message_id,
    )


def _quotable(office: Office, earlier: dict[str, str]) -> None:
    _execute(
        office,
        "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
        "provider_sid, correlation_id, received_at) SELECT owner_id, %s, conversation_id, account_id, 'outbound', %s, "
        "%s, 'read', %s, id, received_at FROM messages LIMIT 1",
        new_id(),
        earlier["author"],
        earlier["body"],
        earlier["provider_sid"],
    )


async def _replay(office: Office, kind: Kind) -> dict[str, Any]:
    """Post the example as Twilio does, let its attachments be fetched, and ask for the message."""
    if kind.earlier is not None:
        _quotable(office, kind.earlier)
    sid = message_sid()
    form = inbound("text", MessageSid=sid, **kind.parameters)
    answer = await office.front.post(form)
    assert answer.status_code == 200, answer.text
    [row] = office.front.rows("SELECT id FROM messages WHERE provider_sid = %s", sid)
    _settle(office, row["id"], kind, list(parse_inbound(form).media))
    shown: dict[str, Any] = await office.admin.get(f"/v1/messages/{row['id']}")
    return shown


@TOGETHER
@pytest.mark.parametrize("name", KINDS)
async def test_a_kind_of_message_is_shown_as_its_example_says_and_every_parameter_of_it_kept(
    shared_office: Office, name: str
) -> None:
    kind = KINDS[name]
    shown = await _replay(shared_office, kind)
    assert shown["says"] == kind.says
    for field, value in kind.shows.items():
        if field == "quote" and value["author"]:
            assert UUID(shown["quote"].pop("message_id"))
        assert shown[field] == value, field
    for media, facts in zip(shown["media"], kind.media, strict=True):
        assert {fact: media[fact] for fact in facts} == facts
    # What does not belong to the kind is not there.
    for field in ("place", "button", "choice", "quote", "forwarded", "referral", "transcript"):
        assert field in kind.shows or shown[field] is None, field
    assert "contacts" in kind.shows or shown["contacts"] == []
    [kept] = shared_office.front.rows("SELECT parameters FROM messages WHERE id = %s", UUID(shown["id"]))
    for parameter, value in kind.parameters.items():
        assert kept["parameters"][parameter] == [value]


def section(kind: Kind) -> str:
    """What the page says of one kind."""
    shows = dict(kind.shows)
    if kind.media:
        shows["media"] = kind.media
    parts = [f"## {kind.title}"]
    if kind.about:
        parts.append(kind.about)
    sent = "\n".join(f"{name}={value}" for name, value in kind.parameters.items())
    parts.append(f"```form\n{sent}\n```")
    parts.append(f"```json\n{json.dumps(shows, indent=2, ensure_ascii=False)}\n```")
    parts.append(f"```text\n{kind.says}\n```")
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("name", KINDS)
def test_the_page_shows_every_example_as_it_is(name: str) -> None:
    assert section(KINDS[name]) in PAGE


def test_the_page_shows_no_other_kinds() -> None:
    headings = [line.removeprefix("## ") for line in PAGE.splitlines() if line.startswith("## ")]
    assert headings == [kind.title for kind in KINDS.values()]


async def test_nobody_can_quote_what_another_contact_was_sent(office: Office) -> None:
    kind = KINDS["13-reply"]
    assert kind.earlier is not None
    _quotable(office, kind.earlier)
    sid = message_sid()
    form = inbound(
        "text", **{**kind.parameters, "MessageSid": sid, "From": "whatsapp:+14155550123", "WaId": "14155550123"}
    )
    assert (await office.front.post(form)).status_code == 200
    [row] = office.front.rows("SELECT id FROM messages WHERE provider_sid = %s", sid)
    shown = await office.admin.get(f"/v1/messages/{row['id']}")
    assert shown["quote"] == {"message_id": None, "author": None, "kind": None, "text": None}


async def test_a_part_of_a_long_message_can_be_quoted(office: Office) -> None:
    kind = KINDS["13-reply"]
    assert kind.earlier is not None
    _quotable(office, kind.earlier | {"provider_sid": "SM" + "7" * 32})
    _execute(
        office,
        "INSERT INTO message_parts (owner_id, message_id, part, body, status, provider_sid) "
        "SELECT owner_id, id, 2, 'segunda parte', 'read', %s FROM messages WHERE direction = 'outbound'",
        kind.earlier["provider_sid"],
    )
    assert kind.parameters["OriginalRepliedMessageSid"] == kind.earlier["provider_sid"]
    sid = message_sid()
    assert (await office.front.post(inbound("text", MessageSid=sid, **kind.parameters))).status_code == 200
    [row] = office.front.rows("SELECT id FROM messages WHERE provider_sid = %s", sid)
    assert (await office.admin.get(f"/v1/messages/{row['id']}"))["quote"]["text"] == "segunda parte"


async def test_a_list_of_messages_shows_the_same_as_each_of_them(office: Office) -> None:
    for name in ("04-picture", "10-place", "13-reply"):
        await _replay(office, KINDS[name])
    page = await office.admin.get(f"/v1/conversations/{office.conversation_id}/messages")
    assert len(page["items"]) == 5
    for item in page["items"]:
        whole = await office.admin.get(f"/v1/messages/{item['id']}")
        parameters = whole.pop("parameters")
        assert item["direction"] == "outbound" or parameters["MessageSid"] == [item["provider_sid"]]
        assert whole == item


async def test_a_message_shows_all_that_came_with_it_and_what_was_sent_came_with_nothing(office: Office) -> None:
    shown = await _replay(office, KINDS["19-unknown"])
    assert shown["parameters"]["OrderText"] == ["2 bolos de milho"]
    assert shown["parameters"]["ProfileName"]
    path = f"/v1/conversations/{office.conversation_id}/messages"
    sent = await office.admin.ask("POST", path, json={"body": "Oi"})
    assert "parameters" not in sent.json()
    assert (await office.admin.get(f"/v1/messages/{sent.json()['id']}"))["parameters"] is None
