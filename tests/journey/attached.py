"""A note or picture that came: what is outside is as the test wants it, and each step is taken by the test itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from recado.channels.twilio.senders import Login
from recado.journey.answer.turn import process_ai_response
from recado.journey.understand.attachments import understand_media
from recado.journey.understand.media_desk import MediaDesk
from recado.media.download import Downloaded
from recado.media.folder import Folder
from recado.media.reader import Reader
from recado.media.transcription import Languages, Transcript
from tests.journey.front import ACCOUNT_SID, Front
from tests.journey.test_answer import Mind, desk_of

SAID = "Vocês fazem entrega?"


@dataclass
class Outside:
    """Twilio's media, the storage and the transcriber, as the test wants them."""

    home: Path
    content: bytes = b"OggS"
    content_type: str = "audio/ogg"
    fetching: Exception | None = None
    login: Exception | None = None
    storing: Exception | None = None
    hearing: str | Exception = SAID
    seconds: float = 4.2
    transcribes: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    languages: list[dict[str, float]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    at_once: int = 1

    async def fetch(self, *, into: Path, **asked: Any) -> Downloaded:
        self.asked.append(asked)
        if self.fetching is not None:
            raise self.fetching
        into.write_bytes(self.content)  # noqa: ASYNC240
        return Downloaded(content_type=self.content_type, size_bytes=len(self.content), sha256=b"x" * 32)

    async def login_of(self, _owner_id: UUID, _account_id: UUID) -> Login:
        if self.login is not None:
            raise self.login
        return Login(ACCOUNT_SID, ("user", "password"))

    async def start(self) -> None: ...

    async def transcribe(self, path: Path, *, content_type: str, languages: Languages) -> Transcript:
        assert path.exists()  # noqa: ASYNC240
        self.languages.append(dict(languages))
        self.types.append(content_type)
        if isinstance(self.hearing, Exception):
            raise self.hearing
        return Transcript(text=self.hearing, language="pt", duration_s=self.seconds)

    async def aclose(self) -> None: ...

    def desk(self, front: Front) -> MediaDesk:
        (self.home / "scratch").mkdir(exist_ok=True)
        return MediaDesk(
            pool=front.wiring.pool,
            clock=front.wiring.clock,
            fetch=self.fetch,
            login_of=self.login_of,
            storage=Kept(self),  # type: ignore[arg-type]
            transcriber=self if self.transcribes else None,
            read=Reader().read,
            scratch=self.home / "scratch",
        )


@dataclass
class Kept:
    """The storage of what is outside."""

    outside: Outside

    def _folder(self) -> Folder:
        if self.outside.storing is not None:
            raise self.outside.storing
        return Folder(self.outside.home / "media")

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        await self._folder().put(key, path, content_type=content_type)

    async def fetch(self, key: str, into: Path) -> None:
        await self._folder().fetch(key, into)

    async def delete(self, key: str) -> None:
        await self._folder().delete(key)


async def note(
    front: Front, *, kind: str = "audio", media_type: str = "audio/ogg", body: str = "", **more: Any
) -> UUID:
    """A message with one attachment; answers its id."""
    sid = "MM" + secrets.token_hex(16)
    url = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}/Media/ME" + "0" * 32
    arrival = await front.arrival(
        body, MessageSid=sid, MessageType=kind, NumMedia="1", MediaUrl0=url, MediaContentType0=media_type, **more
    )
    await front.accept(arrival)
    return arrival.message_id


async def understand(front: Front, outside: Outside, message_id: UUID, *, voice: bool = True, **changes: Any) -> None:
    (row,) = front.rows("SELECT conversation_id FROM messages WHERE id = %s", message_id)
    desk = replace(outside.desk(front), **changes)
    await understand_media(desk, front.owner_id, row["conversation_id"], message_id, voice=voice)


async def turn(front: Front, message_id: UUID, mind: Mind | None = None) -> None:
    (row,) = front.rows("SELECT conversation_id FROM messages WHERE id = %s", message_id)
    desk = desk_of(front, mind or Mind())
    await process_ai_response(
        desk, front.owner_id, row["conversation_id"], message_id, arrived_at=front.wiring.clock.now()
    )


def message(front: Front, message_id: UUID) -> dict[str, Any]:
    (row,) = front.rows("SELECT * FROM messages WHERE id = %s", message_id)
    return row


def media(front: Front) -> dict[str, Any]:
    (row,) = front.rows("SELECT * FROM media")
    return row


def names(front: Front) -> list[tuple[str, str]]:
    return [(work["name"], work["queue_name"]) for work in front.work()]


def replies(front: Front) -> list[str]:
    return [row["body"] for row in front.stored() if row["direction"] == "outbound"]


def run(front: Front, query: str, *parameters: Any) -> None:
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute(query, parameters)  # type: ignore[arg-type]
