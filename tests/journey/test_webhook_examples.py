"""The examples of docs/reference/webhooks.md, posted to the application as they stand there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import pytest

from recado.conversations import parts
from recado.db.scope import scoped
from recado.identity import keys
from tests.journey.front import ACCOUNT_SID, PUBLIC_URL, TOKEN, Front, open_front

PAGE = (Path(__file__).parents[2] / "docs/reference/webhooks.md").read_text().partition("\n## Examples\n")[2]
#: A heading, its words, and two fences: what is posted and what is answered.
EXAMPLE = re.compile(
    r"^### (.+)\n(?:(?!```|###).*\n)*```http\n([\s\S]+?)\n```\n\n```http\n([\s\S]+?)\n```$", re.MULTILINE
)
NAMES = [
    *(f"{contract}, {way}" for contract in ("inbound", "outbound") for way in ("signed", "as JSON", "with a key")),
    "Refused",
]


@dataclass(frozen=True, slots=True)
class Http:
    """A request or an answer as the page shows it."""

    first: str
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return self.first.split()[1]

    @property
    def status(self) -> int:
        return int(self.first.split()[1])


def read(text: str) -> Http:
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    return Http(first, {name: value for name, _, value in (line.partition(": ") for line in lines)}, body)


EXAMPLES = {name: (read(request), read(answer)) for name, request, answer in EXAMPLE.findall(PAGE)}


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    """An application with what the page says of its own: URL, account, token, and the key."""
    key = EXAMPLES["inbound, with a key"][0].headers["X-API-Key"]
    for published in (PUBLIC_URL, ACCOUNT_SID, TOKEN, key):
        assert f"`{published}`" in PAGE
    async with open_front(front_url, tmp_path) as opened:
        async with scoped(opened.wiring.pool, opened.owner_id) as scope:
            made, _ = await keys.make(scope, name="gateway", scopes=["webhooks"])
            await scope.conn.execute(
                "UPDATE api_keys SET key_hash = %s WHERE id = %s", [hashlib.sha256(key.encode()).digest(), made.id]
            )
        yield opened


async def replay(front: Front, request: Http, body: str | None = None) -> httpx2.Response:
    content = (request.body if body is None else body).encode()
    return await front.post(path=request.path, token=None, content=content, headers=request.headers)


async def test_every_example_is_answered_as_the_page_says_and_does_what_it_is_for(front: Front) -> None:
    assert list(EXAMPLES) == NAMES
    answers = {}
    for name, (request, expected) in EXAMPLES.items():
        if name == "outbound, signed":
            await sent(front, request)
        answer = answers[name] = await replay(front, request)
        assert (answer.status_code, answer.text) == (expected.status, expected.body), name
        assert answer.headers["Content-Type"].partition(";")[0] == expected.headers["Content-Type"], name
        if name.startswith("outbound"):
            status = re.search(r"MessageStatus\W+(\w+)", request.body)
            assert status is not None
            assert front.rows("SELECT status FROM messages WHERE direction = 'outbound'") == [{"status": status[1]}]
    bodies = [row["body"] for row in front.stored() if row["direction"] == "inbound"]
    assert bodies == ["Bom dia!", "Vocês abrem hoje?", "Até que horas?"]
    again = await replay(front, EXAMPLES["inbound, signed"][0])
    assert (again.status_code, again.text, len(front.stored())) == (200, answers["inbound, signed"].text, 4)


async def sent(front: Front, request: Http) -> None:
    """Have the message that an example's URL names, one part of which was sent."""
    message_id = UUID(parse_qs(urlsplit(request.path).query)["message"][0])
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await scope.conn.execute(
            """
            INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status,
                                  correlation_id, received_at)
            SELECT owner_id, %s, conversation_id, account_id, 'outbound', 'assistant', 'text', 'Sim.', 'queued', id,
                   received_at
            FROM messages WHERE owner_id = %s LIMIT 1
            """,
            [message_id, scope.owner_id],
        )
        await parts.plan(scope, message_id, ["Sim."])


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("signed", "JSON"))])
async def test_a_signed_example_holds_for_no_other_body(front: Front, name: str) -> None:
    request, _ = EXAMPLES[name]
    changed = request.body.replace("5511987650001", "5511987650002")
    assert changed != request.body
    answer = await replay(front, request, changed)
    assert (answer.status_code, answer.text) == (403, EXAMPLES["Refused"][1].body)
    assert front.stored() == []
