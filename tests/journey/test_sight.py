"""What a turn shows: the newest pictures of the conversation, small, each behind the line that it came with."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image

from recado.assistants.run import RULES, Line, Picture
from recado.conversations import media as attachments
from recado.conversations.media import Media
from recado.conversations.reading import Reading
from recado.db.scope import scoped
from recado.ids import new_id
from recado.journey.answer.sight import MOST_PICTURES, pictures_of, worth_showing
from recado.media.folder import Folder
from recado.media.storage import key_of
from tests.journey.front import Front, message_sid, open_front
from tests.journey.test_answer import Mind, desk_of, turn

OWNER = new_id()


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


def media(content_type: str | None = "image/jpeg", *, status: str = "stored", **more: Any) -> Media:
    media_id = new_id()
    facts: dict[str, Any] = {
        "url": None, "file_name": None, "reason": None, "size_bytes": 1, "sha256": None, "duration_s": None,
        "width": None, "height": None, "pages": None, "text": None, "storage_key": key_of(OWNER, media_id),
    }  # fmt: skip
    return Media(
        id=media_id, message_id=new_id(), ordinal=0, announced_type="image/jpeg", status=status,
        content_type=content_type, **{**facts, **more},
    )  # fmt: skip


def reading(*found: Media, author: str = "contact") -> Reading:
    return Reading(author=author, kind="image", body="", media=found)


def jpeg(color: str = "red", size: tuple[int, int] = (2000, 1000)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG")
    return buffer.getvalue()


async def stored(storage: Folder, tmp_path: Path, data: bytes) -> Media:
    one = media()
    assert one.storage_key is not None
    (tmp_path / "upload").write_bytes(data)
    await storage.put(one.storage_key, tmp_path / "upload", content_type="image/jpeg")
    return one


def test_only_the_newest_pictures_of_the_contact_are_shown() -> None:
    pictures = [media() for _ in range(MOST_PICTURES + 2)]
    others = [
        media("audio/ogg"),
        media("application/pdf"),
        media("image/svg+xml"),
        media(status="refused"),
        media(None),
    ]
    found = worth_showing([reading(one) for one in pictures] + [reading(*others), reading(media(), author="operator")])
    assert found == pictures[2:]
    assert worth_showing([reading(*pictures)]) == pictures[2:]


async def test_pictures_are_made_small_and_nothing_of_them_is_left_behind(tmp_path: Path) -> None:
    storage = Folder(tmp_path / "media")
    one, two = [await stored(storage, tmp_path, jpeg(color)) for color in ("red", "blue")]
    seen = await pictures_of(storage, tmp_path / "home", [one, two])
    with Image.open(BytesIO(seen[two.id].data)) as small:
        assert (small.format, small.size) == ("JPEG", (1024, 512))
    assert seen[one.id].content_type == "image/jpeg"
    assert list((tmp_path / "home" / "scratch").iterdir()) == []


async def test_a_picture_that_can_not_be_had_or_read_is_left_out_and_the_others_shown(tmp_path: Path) -> None:
    storage = Folder(tmp_path / "media")
    good = await stored(storage, tmp_path, jpeg())
    broken = await stored(storage, tmp_path, b"\xff\xd8\xff broken")
    seen = await pictures_of(storage, tmp_path, [media(), broken, good, media(storage_key="../../etc/passwd")])
    assert list(seen) == [good.id]


async def test_pictures_that_wait_to_be_decoded_hold_no_thread_and_no_other_owners_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, go_on, began = Folder(tmp_path / "media"), threading.Event(), queue.Queue[Path]()

    def reduce(path: Path, _into: Path) -> Path:
        began.put(path)
        assert go_on.wait(60)
        return path

    monkeypatch.setattr("recado.media.images.reduce", reduce)
    with ThreadPoolExecutor(3) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        many = [await stored(storage, tmp_path, jpeg()) for _ in range(6)]
        other = media(storage_key=key_of(new_id(), new_id()))
        assert other.storage_key is not None
        (tmp_path / "upload").write_bytes(jpeg())
        await storage.put(other.storage_key, tmp_path / "upload", content_type="image/jpeg")
        looks = [asyncio.create_task(pictures_of(storage, tmp_path, [one])) for one in many]
        async with asyncio.timeout(30):
            while began.empty():
                await asyncio.sleep(0)
        looks.append(asyncio.create_task(pictures_of(storage, tmp_path, [other])))
        try:
            async with asyncio.timeout(30):
                while str(other.id) not in {path.name for path in began.queue}:
                    await asyncio.to_thread(time.sleep, 0.01)
            assert began.qsize() == 2
        finally:
            go_on.set()
        assert sum(map(len, await asyncio.gather(*looks))) == 7


async def test_without_pictures_nothing_is_opened(tmp_path: Path) -> None:
    assert await pictures_of(Folder(tmp_path / "media"), tmp_path / "home", []) == {}
    assert not (tmp_path / "home").exists()


@dataclass(slots=True)
class Eyes:
    """What the turn asked to see; every picture is its media's id."""

    asked: list[list[UUID]] = field(default_factory=list)

    async def __call__(self, found: Sequence[Media]) -> Mapping[UUID, Picture]:
        self.asked.append([one.id for one in found])
        return {one.id: Picture(content_type="image/jpeg", data=one.id.bytes) for one in found}


@dataclass(slots=True)
class Seeing(Mind):
    """A model that also keeps the lines that it was given."""

    lines: list[Line] = field(default_factory=list)
    earlier: list[Line] = field(default_factory=list)

    async def __call__(self, assistant: Any, **given: Any) -> Any:
        self.lines, self.earlier = list(given["pending"]), list(given["history"])
        return await Mind.__call__(self, assistant, **given)


async def send(front: Front, body: str = "", **parameters: str) -> tuple[UUID, UUID]:
    """A message with an attachment, which is fetched at once; answers the conversation and the media's id."""
    sid = message_sid()
    arrived = await front.arrival(body, MessageSid=sid, **parameters)
    await front.accept(arrived)
    [row] = front.rows("SELECT id, conversation_id FROM messages WHERE provider_sid = %s", sid)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await scope.conn.execute("UPDATE messages SET awaits_media = false WHERE id = %s", [row["id"]])
        await scope.conn.execute("DELETE FROM media WHERE message_id = %s", [row["id"]])
        media_id = new_id()
        announced = parameters.get("MediaContentType0", "text/plain")
        if "MediaUrl0" in parameters:
            await scope.conn.execute(
                "INSERT INTO media (owner_id, id, message_id, announced_type, file_name) VALUES (%s, %s, %s, %s, %s)",
                [front.owner_id, media_id, row["id"], announced, "pedido.pdf"],
            )
            await attachments.settle(
                scope, media_id, status="stored", now=front.wiring.clock.now(), content_type=announced,
                storage_key=key_of(front.owner_id, media_id), text="Um bolo de milho. " * 200,
            )  # fmt: skip
    return row["conversation_id"], media_id


PICTURE = {"MessageType": "image", "MediaUrl0": "https://api.twilio.com/x", "MediaContentType0": "image/jpeg"}
STICKER = PICTURE | {"MediaContentType0": "image/webp"}
DOCUMENT = {"MessageType": "document", "MediaUrl0": "https://api.twilio.com/x", "MediaContentType0": "application/pdf"}


async def test_an_album_and_a_question_are_one_turn_in_the_order_sent(front: Front) -> None:
    eyes, mind = Eyes(), Seeing()
    desk = replace(desk_of(front, mind), default_model="openai:gpt-5-mini", pictures_of=eyes)
    _, first = await send(front, "antes", **PICTURE)
    _, second = await send(front, **PICTURE)
    _, _ = await send(front, **DOCUMENT)
    conversation_id, _ = await send(front, "Qual ficou melhor?")
    await turn(front, desk, conversation_id)
    assert eyes.asked == [[first, second]]
    texts = [line.text for line in mind.lines]
    assert texts[:2] == ["[picture] antes", "[picture]"]
    assert texts[2].startswith('[document "pedido.pdf", its text: Um bolo de milho.')
    assert texts[3] == "Qual ficou melhor?"
    assert [[one.data for one in line.pictures] for line in mind.lines] == [[first.bytes], [second.bytes], [], []]
    [made] = front.rows("SELECT outcome FROM turns")
    assert made["outcome"] == "answered"
    # In the next turn they are history: the pictures are there still, the document is cut shorter.
    await front.accept(await front.arrival("E o preço?"))
    newest = front.stored()[-1]
    await turn(front, desk, newest["conversation_id"])
    assert [line.text for line in mind.lines] == ["E o preço?"]
    assert [one.data for line in mind.earlier for one in line.pictures] == [first.bytes, second.bytes]
    assert "its text begins: Um bolo" in mind.earlier[2].text


async def test_a_sticker_is_shown_like_a_picture_and_the_assistants_rules_say_the_same(front: Front) -> None:
    eyes, mind = Eyes(), Seeing()
    conversation_id, sticker = await send(front, **STICKER)
    await turn(
        front, replace(desk_of(front, mind), default_model="openai:gpt-5-mini", pictures_of=eyes), conversation_id
    )
    [line] = mind.lines
    assert (line.text, [one.data for one in line.pictures]) == ("[sticker]", [sticker.bytes])
    assert "You see a picture or a sticker only where it follows its line" in RULES


async def test_nothing_is_fetched_for_a_model_that_does_not_see(front: Front) -> None:
    eyes, mind = Eyes(), Seeing()
    conversation_id, _ = await send(front, "antes", **PICTURE)
    await turn(front, replace(desk_of(front, mind), pictures_of=eyes), conversation_id)
    assert eyes.asked == []
    assert [line.text for line in mind.lines] == ["[picture] antes"]
