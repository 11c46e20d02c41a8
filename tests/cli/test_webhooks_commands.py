from __future__ import annotations

import asyncio
import json

from standardwebhooks import Webhook

from tests.cli.conftest import Terminal
from tests.cli.rows import Rows
from tests.webhooks.receiver import receiving, status

URL = "https://crm.padaria.example/recado"


def test_a_webhook_is_added_listed_disabled_enabled_and_removed(recado: Terminal, rows: Rows) -> None:
    add = ("webhooks", "add", "--owner", rows.owner, "--url", URL, "--type", "confirm.*", "--json")
    made = recado(*add).json
    Webhook(made["secret"])
    [listed] = recado("webhooks", "list", "--owner", rows.owner, "--json").json
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert recado("webhooks", "disable", made["id"], "--json").json["disabled_why"] == "people"
    assert "somebody disabled it" in recado("webhooks", "list").out
    assert recado("webhooks", "enable", made["id"], "--json").json["status"] == "enabled"
    rotated = recado("webhooks", "rotate", made["id"], "--keep-hours", "0", "--json").json
    assert rotated["secret"] != made["secret"]
    assert recado("webhooks", "replay", made["id"], "--since", "2026-01-01T00:00Z", "--json").json["reached"] == 0
    assert recado("webhooks", "attempts", made["id"], "--json").json == []
    assert recado("webhooks", "remove", made["id"]).code == 0
    assert recado("webhooks", "list", "--json").json == []
    actions = rows.conn.execute("SELECT action FROM audit WHERE thing = 'webhook' ORDER BY id").fetchall()
    assert [action for [action] in actions] == ["add", "change", "change", "rotate", "replay", "remove"]


def test_a_test_ends_with_0_when_it_was_taken_and_with_1_when_not(recado: Terminal, rows: Rows) -> None:
    allowed = {"RECADO_WEBHOOK_NETWORKS": "127.0.0.0/8"}

    async def run() -> None:
        async with receiving() as receiver:
            add = ("webhooks", "add", "--owner", rows.owner, "--url", receiver.url, "--json")
            made = (await asyncio.to_thread(recado, *add, **allowed)).json
            test = ("webhooks", "test", made["id"], "--json")
            taken = await asyncio.to_thread(recado, *test, **allowed)
            assert (taken.code, taken.json["outcome"]) == (0, "delivered")
            assert receiver.verified(made["secret"]) == 1
            receiver.answer = status(404)
            refused = await asyncio.to_thread(recado, *test, **allowed)
            assert (refused.code, json.loads(refused.out)["http_status"]) == (1, 404)
            [newest, oldest] = (await asyncio.to_thread(recado, "webhooks", "attempts", made["id"], "--json")).json
            assert [newest["outcome"], oldest["outcome"]] == ["refused", "delivered"]

    asyncio.run(run())


def test_wrong_use_is_said_in_a_line(recado: Terminal, rows: Rows) -> None:
    add = ("webhooks", "add", "--owner", rows.owner, "--url")
    assert recado(*add, "http://127.0.0.1/").code == 2
    assert recado(*add, URL, "--type", "delivered").code == 2
    assert recado("webhooks", "replay", rows.owner, "--since", "soon").code == 2
    gone = recado("webhooks", "remove", rows.owner)
    assert gone.code == 1
    assert "recado webhooks list" in gone.complaint
    assert json.dumps(URL) not in gone.complaint
