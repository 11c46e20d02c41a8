"""Programs that call the JSON API over ASGI, each with an API key of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2

from recado.assistants import assistant, knowledge
from recado.channels.twilio import listing, numbers
from recado.conversations import consent_words, media
from recado.db.scope import scoped
from recado.identity import invitations, keys, users
from recado.identity.callers import at_command_line
from recado.ids import new_id
from recado.media.storage import key_of
from recado.webhooks import endpoints
from tests.journey.front import NUMBER, Front
from tests.product import establish

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + bytes(range(256)) * 20


@dataclass(frozen=True, slots=True)
class Program:
    """One that calls with this key; None calls without any."""

    front: Front
    key: str | None

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        transport = httpx2.ASGITransport(self.front.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
            return await http.request(method, path, headers=headers | more.pop("headers", {}), **more)

    async def get(self, path: str, **more: Any) -> Any:
        """The body of an answer that must be 200."""
        answer = await self.ask("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def change(self, path: str, given: dict[str, Any]) -> httpx2.Response:
        """A change of the version that is there now."""
        read = (await self.ask("GET", path)).headers["ETag"]
        return await self.ask("PATCH", path, json=given, headers={"If-Match": read})


@dataclass(frozen=True, slots=True)
class Office:
    """An owner with one of everything, and their programs."""

    front: Front
    admin: Program
    conversation_id: UUID
    message_id: UUID
    ids: dict[str, str]

    async def program(self, *scopes: str, owner_id: UUID | None = None) -> Program:
        """A program with a new key of these scopes."""
        async with scoped(self.front.wiring.pool, owner_id or self.front.owner_id) as scope:
            _, text = await keys.make(scope, name="test", scopes=scopes)
        return Program(self.front, text)

    async def stranger(self) -> Program:
        """A program of another owner, allowed everything there."""
        other = await establish(self.front.wiring, "AC" + "f" * 32, "token", "whatsapp:+14155550000")
        return await self.program("admin", owner_id=other)


async def furnish(front: Front) -> Office:
    """Give the owner a contact who wrote, knowledge, a user, an invitation and a key."""
    await front.accept(await front.arrival("Oi", to=NUMBER))
    now = front.wiring.clock.now()
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        entries = [knowledge.Entry(title="Horário", content="Das 6 às 20 horas.")]
        await knowledge.replace(scope, source="faq.md", entries=entries, language="pt")
        user, _ = await users.put(scope, email="ana@padaria.example", role="viewer", password_hash="x", now=now)
        invitation, _ = await invitations.make(
            scope, email="rui@padaria.example", role="viewer", by=at_command_line("root"), now=now
        )
        default = await assistant.ensure_default(scope)
        made, text = await keys.make(scope, name="admin", scopes=["admin"])
        word = await consent_words.add_word(scope, "basta", "stop")
        webhook, _ = await endpoints.add(scope, front.wiring.keyring, url="https://crm.padaria.example/")
        [account] = await listing.accounts(scope, after=None, limit=1)
        [number] = await numbers.page(scope, after=None, limit=1)
        [entry] = await knowledge.page(scope, after=None, limit=1)
        media_id = new_id()
        key = key_of(front.owner_id, media_id)
        picture = front.wiring.settings.home / "picture"
        picture.write_bytes(JPEG)
        await front.wiring.storage.put(key, picture, content_type="image/jpeg")
        await media.add_upload(
            scope,
            media_id,
            content_type="image/jpeg",
            file_name=None,
            size_bytes=len(JPEG),
            sha256=b"x",
            storage_key=key,
            now=now,
        )
    erasure_id = new_id()
    front.rows(
        "INSERT INTO erasures (owner_id, id, contact_ids, identity_hashes, status, requested_at, look_again_at) "
        "VALUES (%s, %s, ARRAY[gen_random_uuid()], '{}', 'done', now(), now())",
        front.owner_id,
        erasure_id,
    )
    [message] = front.stored()
    [conversation] = front.rows("SELECT id, contact_id FROM conversations")
    ids = {
        "account_id": str(account.id),
        "assistant_id": str(default.id),
        "entry_id": str(entry.id),
        "number_id": str(number.id),
        "user_id": str(user.id),
        "contact_id": str(conversation["contact_id"]),
        "conversation_id": str(conversation["id"]),
        "message_id": str(message["id"]),
        "key_id": str(made.id),
        "invitation_id": str(invitation.id),
        "word_id": str(word.id),
        "webhook_id": str(webhook.id),
        "media_id": str(media_id),
        "erasure_id": str(erasure_id),
    }
    return Office(front, Program(front, text), conversation["id"], message["id"], ids)
