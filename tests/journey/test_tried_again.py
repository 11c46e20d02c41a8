"""understand, tried again: what was not had or heard for a reason that has been put right since, once somebody asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from recado.assistants import unheard
from recado.channels.port import ErrorClass, SendError
from recado.errors import Conflict
from recado.identity import plans
from recado.media.download import MediaRefused, MediaUnavailable
from recado.media.storage import StorageUnavailable
from recado.media.transcription import TranscriptionFailed
from recado.ops import failed
from recado.ops.failed import Failure
from tests.journey.attached import SAID, Outside, media, message, names, note, replies, run, understand
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, desk_of
from tests.journey.test_attachments_kept_up import age
from tests.journey.test_late_words import lane

TOLD = unheard.WORDS["pt"]


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


async def listed(front: Front) -> list[Failure]:
    async with await front.wiring.connect("recado_platform") as conn:
        return await failed.failures(conn, owner_id=front.owner_id)


async def retry(front: Front, message_id: UUID) -> str:
    async with await front.wiring.connect("recado_platform") as conn:
        return await failed.retry(conn, message_id)


async def answered_without(front: Front, outside: Outside) -> UUID:
    """A note that was not understood, and its contact told so."""
    message_id = await note(front)
    await understand(front, outside, message_id)
    await lane(front, desk_of(front, Mind()))
    assert (replies(front), message(front, message_id)["status"]) == ([TOLD], "answered")
    return message_id


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("no_model", {"hearing": TranscriptionFailed("no_model")}),
    ("unavailable", {"hearing": TranscriptionFailed("unavailable")}),
    ("slow", {"hearing": TranscriptionFailed("slow")}),
    ("no_transcriber", {"transcribes": False}),
    ("login", {"fetching": MediaUnavailable("login")}),
    ("failing", {"fetching": MediaUnavailable("failing")}),
    ("account", {"login": SendError(ErrorClass.CONFIGURATION, "the secret can't be read")}),
    ("storage", {"storing": StorageUnavailable("away"), "hearing": ""}),
]


@pytest.mark.parametrize(("reason", "wrong"), WRONG, ids=[reason for reason, _ in WRONG])
async def test_a_note_is_listed_with_the_reason_and_answered_once_that_is_put_right(
    front: Front, tmp_path: Path, reason: str, wrong: dict[str, Any]
) -> None:
    outside = Outside(tmp_path, **wrong)
    message_id = await answered_without(front, outside)
    (failure,) = await listed(front)
    assert (failure.id, failure.status, f"({reason})" in failure.text) == (message_id, "answered", True)
    kept = media(front)["storage_key"]
    assert await retry(front, message_id) == "queued"
    assert await retry(front, message_id) == "in work"
    assert names(front)[-1] == ("transcribe_audio", "voice")
    right = Outside(tmp_path)
    await understand(front, right, message_id)
    assert await lane(front, desk_of(front, Mind("Sim, fazemos."))) == 1
    assert replies(front) == [TOLD, "Sim, fazemos."]
    assert (media(front)["status"], media(front)["reason"]) == ("stored", None)
    assert message(front, message_id)["transcript"] == SAID
    assert len(right.asked) == (0 if kept else 1), "what is kept is not fetched again"
    assert await listed(front) == []
    with pytest.raises(Conflict):
        await retry(front, message_id)


async def test_over_the_plans_limit_it_is_tried_again_under_another_plan(front: Front, outside: Outside) -> None:
    async with await front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "tiny", transcription_seconds=1)
        await plans.add(conn, "large", transcription_seconds=1000)
        await plans.assign(conn, front.owner_id, "tiny")
    await understand(front, outside, await note(front))
    run(front, "UPDATE messages SET status = 'answered'")
    message_id = await note(front)
    await understand(front, outside, message_id)
    run(front, "UPDATE messages SET status = 'answered'")
    assert [failure.id for failure in await listed(front)] == [message_id]
    async with await front.wiring.connect("recado_platform") as conn:
        await plans.assign(conn, front.owner_id, "large")
    await retry(front, message_id)
    await understand(front, outside, message_id)
    assert message(front, message_id)["transcript"] == SAID


@pytest.mark.parametrize(
    "wrong",
    [
        {"hearing": TranscriptionFailed("too_long")},
        {"hearing": TranscriptionFailed("unreadable")},
        {"hearing": ""},
        {"fetching": MediaRefused("type")},
        {"fetching": MediaUnavailable("missing")},
    ],
)
async def test_what_would_end_the_same_way_is_not_listed_and_not_tried(
    front: Front, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    message_id = await answered_without(front, Outside(tmp_path, **wrong))
    assert await listed(front) == []
    with pytest.raises(Conflict, match="answered"):
        await retry(front, message_id)
    assert replies(front) == [TOLD]


async def test_a_note_that_was_heard_and_answered_is_not_tried_because_its_file_is_lost(
    front: Front, outside: Outside
) -> None:
    outside.storing = StorageUnavailable("away")
    message_id = await note(front)
    await understand(front, outside, message_id)
    await lane(front, desk_of(front, Mind()))
    assert media(front)["reason"] == "storage"
    assert await listed(front) == []
    with pytest.raises(Conflict):
        await retry(front, message_id)


async def test_what_is_kept_stays_kept_when_trying_again_fails(front: Front, outside: Outside) -> None:
    outside.hearing = TranscriptionFailed("no_model")
    message_id = await answered_without(front, outside)
    key = media(front)["storage_key"]
    for wrong in ({"storing": StorageUnavailable("away")}, {"hearing": RuntimeError("a fault of ours")}):
        run(front, "UPDATE media SET reason = 'no_model'")
        run(front, "UPDATE messages SET status = 'answered'")
        await retry(front, message_id)
        again = Outside(outside.home, **wrong)
        await understand(front, again, message_id)
        assert (media(front)["status"], media(front)["storage_key"], again.asked) == ("stored", key, [])


async def test_a_day_later_nothing_is_tried_whoever_is_named(front: Front, outside: Outside) -> None:
    outside.hearing = TranscriptionFailed("no_model")
    message_id = age(front, await note(front), 25 * 3600)
    await understand(front, outside, message_id)
    await lane(front, desk_of(front, Mind()))
    assert message(front, message_id)["status"] == "answered"
    assert await listed(front) == []
    with pytest.raises(Conflict, match="older than 24 hours"):
        await retry(front, message_id)


async def test_of_a_message_with_people_nothing_is_tried(front: Front, outside: Outside) -> None:
    outside.hearing = TranscriptionFailed("no_model")
    message_id = await answered_without(front, outside)
    run(front, "UPDATE conversations SET status = 'handoff'")
    with pytest.raises(Conflict, match="handoff"):
        await retry(front, message_id)
    assert media(front)["status"] == "stored"


@pytest.mark.parametrize(
    ("kind", "media_type", "work"),
    [
        ("document", "audio/mpeg", ("transcribe_audio", "voice")),
        ("audio", "application/octet-stream", ("transcribe_audio", "voice")),
        ("document", "application/pdf", ("fetch_media", "media")),
    ],
)
async def test_a_file_that_was_held_is_tried_as_what_it_would_have_been(
    front: Front, kind: str, media_type: str, work: tuple[str, str]
) -> None:
    message_id = await note(front, kind=kind, media_type=media_type)
    assert names(front) == [work]
    run(front, "DELETE FROM dbos.workflow_status")
    run(front, "UPDATE messages SET status = 'held', held_for = 'limit', awaits_media = false")
    await retry(front, message_id)
    assert names(front) == [work]
