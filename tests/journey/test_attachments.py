"""understand, attachments: fetched and made text before the turn, in one transaction with it; never silence."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.assistants import unheard
from recado.channels.port import ErrorClass, SendError
from recado.channels.twilio.senders import Login
from recado.errors import NotFound
from recado.identity import plans
from recado.journey.answer import process_ai_response
from recado.journey.attachments import MediaDesk, understand_media
from recado.media.download import Downloaded, MediaRefused, MediaUnavailable
from recado.media.reading import read
from recado.media.storage import Folder, StorageUnavailable
from recado.media.transcription import Transcript, TranscriptionFailed
from recado.ops import failed, recovery
from tests.journey.front import ACCOUNT_SID, Front, open_front
from tests.journey.test_answer import Mind, desk_of

SAID = "Vocês fazem entrega?"


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@dataclass(slots=True)
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
    languages: list[str | None] = field(default_factory=list)

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

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        if self.storing is not None:
            raise self.storing
        await Folder(self.home / "media").put(key, path, content_type=content_type)

    async def start(self) -> None: ...

    async def transcribe(self, path: Path, *, language: str | None) -> Transcript:
        assert path.exists()  # noqa: ASYNC240
        self.languages.append(language)
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
            storage=self,  # type: ignore[arg-type]
            transcriber=self if self.transcribes else None,
            read=read,
            scratch=self.home / "scratch",
        )


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


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


async def understand(front: Front, outside: Outside, message_id: UUID, *, voice: bool = True) -> None:
    (row,) = front.rows("SELECT conversation_id FROM messages WHERE id = %s", message_id)
    await understand_media(outside.desk(front), front.owner_id, row["conversation_id"], message_id, voice=voice)


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


@pytest.mark.parametrize(
    ("kind", "media_type", "name"),
    [
        ("audio", "audio/ogg", "transcribe_audio"),
        ("document", "audio/mpeg", "transcribe_audio"),
        ("image", "image/jpeg", "fetch_media"),
        ("document", "application/pdf", "fetch_media"),
    ],
)
async def test_what_comes_with_an_attachment_is_fetched_before_its_turn(
    front: Front, kind: str, media_type: str, name: str
) -> None:
    message_id = await note(front, kind=kind, media_type=media_type)
    (work,) = front.work()
    assert (work["name"], work["queue_name"], work["queue_partition_key"]) == (name, "media", None)
    assert work["workflow_uuid"] == f"{message_id}:media"
    stored = message(front, message_id)
    assert json.loads(work["inputs"])["positionalArgs"][:3] == [
        str(front.owner_id), str(stored["conversation_id"]), str(message_id)
    ]  # fmt: skip
    assert stored["awaits_media"]
    kept = media(front)
    assert (kept["message_id"], kept["status"], kept["announced_type"]) == (message_id, "waiting", media_type)


async def test_of_what_is_held_or_unrouted_nothing_is_fetched(front: Front) -> None:
    await note(front, to="whatsapp:+14155559999")
    assert front.work() == []
    (stored,) = front.stored()
    assert (stored["status"], stored["awaits_media"]) == ("unrouted", False)
    assert media(front)["status"] == "waiting"


async def test_a_repeated_note_changes_nothing(front: Front) -> None:
    arrival = await front.arrival("", MessageType="audio", MediaUrl0="https://x", MediaContentType0="audio/ogg")
    await front.accept(arrival, arrival)
    await front.accept(arrival)
    assert len(front.stored()) == len(front.work()) == len(front.rows("SELECT FROM media")) == 1


async def test_transcript_meter_event_and_turn_are_stored_together_under_one_correlation_id(
    front: Front, outside: Outside
) -> None:
    message_id = await note(front)
    await understand(front, outside, message_id)
    stored = message(front, message_id)
    assert (stored["transcript"], stored["transcript_language"], stored["awaits_media"]) == (SAID, "pt", False)
    kept = media(front)
    assert (kept["status"], kept["reason"], kept["duration_s"]) == ("stored", None, 4.2)
    assert kept["storage_key"] == f"{front.owner_id}/{kept['id']}"
    assert (outside.home / "media" / kept["storage_key"]).read_bytes() == outside.content
    assert names(front)[1] == ("process_ai_response", "turns")
    assert front.work()[1]["workflow_uuid"] == str(message_id)
    assert front.work()[1]["queue_partition_key"] == str(stored["conversation_id"])
    (used,) = front.rows("SELECT amount FROM usage WHERE metric = 'transcription_seconds'")
    assert used["amount"] == 5
    (event,) = front.rows("SELECT * FROM events WHERE step = 'understand'")
    assert (event["what"], event["correlation_id"]) == ("transcribed", stored["correlation_id"])
    assert SAID not in str(event["data"])
    assert list((outside.home / "scratch").iterdir()) == []
    (asked,) = outside.asked
    assert (asked["account_sid"], asked["message_sid"]) == (ACCOUNT_SID, stored["provider_sid"])


@pytest.mark.parametrize("broken", ["recado.events", "recado.usage", "dbos.workflow_status"])
async def test_all_of_it_is_stored_or_nothing(database_url: str, tmp_path: Path, broken: str) -> None:
    async with open_front(database_url, tmp_path) as front:
        message_id = await note(front)
        run(
            front,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;"
            f"CREATE TRIGGER refuse BEFORE INSERT ON {broken} EXECUTE FUNCTION refuse()",
        )
        with pytest.raises(psycopg.DataError):
            await understand(front, Outside(tmp_path), message_id)
        stored = message(front, message_id)
        assert (stored["transcript"], stored["awaits_media"], media(front)["status"]) == (None, True, "waiting")
        assert len(front.work()) == 1


async def test_done_again_after_a_crash_it_changes_nothing(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    await understand(front, outside, message_id)
    outside.hearing = "outra coisa"
    await understand(front, outside, message_id)
    assert message(front, message_id)["transcript"] == SAID
    assert len(front.work()) == 2
    assert len(outside.languages) == 1
    assert len(front.rows("SELECT FROM events WHERE step = 'understand'")) == 1


async def test_the_contacts_language_is_passed_on_else_the_assistants(front: Front, outside: Outside) -> None:
    await understand(front, outside, await note(front))
    run(front, "UPDATE contacts SET language = 'es-MX'")
    await understand(front, outside, await note(front))
    assert outside.languages == ["pt", "es"]


async def test_what_was_said_is_what_the_assistant_answers(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    await understand(front, outside, message_id)
    mind = Mind("Sim, fazemos.")
    await turn(front, message_id, mind)
    assert SAID in mind.shown[0][0]
    assert replies(front) == ["Sim, fazemos."]


REASONS: list[tuple[dict[str, Any], str, str]] = [
    ({"hearing": ""}, "stored", "no_speech"),
    ({"hearing": TranscriptionFailed("too_long")}, "stored", "too_long"),
    ({"hearing": TranscriptionFailed("unreadable")}, "stored", "unreadable"),
    ({"hearing": RuntimeError("a fault of ours")}, "stored", "fault"),
    ({"transcribes": False}, "stored", "no_transcriber"),
    ({"fetching": MediaRefused("size")}, "refused", "size"),
    ({"fetching": MediaUnavailable("missing")}, "failed", "missing"),
    ({"fetching": RuntimeError("a fault of ours")}, "failed", "fault"),
    ({"login": SendError(ErrorClass.CONFIGURATION, "the account is gone")}, "failed", "account"),
]


@pytest.mark.parametrize(("wrong", "status", "reason"), REASONS)
async def test_a_note_that_was_not_understood_is_answered_once_and_people_see_why(
    front: Front, outside: Outside, wrong: dict[str, Any], status: str, reason: str
) -> None:
    for name, value in wrong.items():
        setattr(outside, name, value)
    message_id = await note(front)
    await understand(front, outside, message_id)
    kept = media(front)
    assert (kept["status"], kept["reason"]) == (status, reason)
    (event,) = front.rows("SELECT what, data FROM events WHERE step = 'understand'")
    assert (event["what"], event["data"]["reasons"]) == ("not_understood", [reason])
    mind = Mind()
    await turn(front, message_id, mind)
    await turn(front, message_id, mind)
    assert mind.shown == [], "no model is asked about nothing"
    assert replies(front) == [unheard.WORDS["pt"]]
    assert message(front, message_id)["status"] == "answered"


@pytest.mark.parametrize("language", ["pt", "es", "en"])
async def test_the_contact_is_told_in_their_language(front: Front, outside: Outside, language: str) -> None:
    message_id = await note(front)
    run(front, "UPDATE contacts SET language = %s", language)
    outside.hearing = ""
    await understand(front, outside, message_id)
    await turn(front, message_id)
    assert replies(front) == [unheard.WORDS[language]]


async def test_a_storage_that_is_away_costs_the_file_and_not_the_answer(front: Front, outside: Outside) -> None:
    outside.storing = StorageUnavailable("away")
    message_id = await note(front)
    await understand(front, outside, message_id)
    assert (media(front)["status"], media(front)["reason"]) == ("failed", "storage")
    assert message(front, message_id)["transcript"] == SAID


async def test_over_the_plans_limit_nothing_is_transcribed_and_people_are_asked(front: Front, outside: Outside) -> None:
    async with await front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", transcription_seconds=5)
        await plans.assign(conn, front.owner_id, "small")
    for reason in (None, "over_budget"):
        await understand(front, outside, await note(front))
        (kept,) = front.rows("SELECT reason, status FROM media ORDER BY id DESC LIMIT 1")
        assert (kept["reason"], kept["status"]) == (reason, "stored")
    assert len(outside.languages) == 1
    (conversation,) = front.rows("SELECT attention FROM conversations")
    assert conversation["attention"] == "unheard"


async def test_text_and_a_note_that_failed_get_one_answer_that_says_both(front: Front, outside: Outside) -> None:
    await front.accept(await front.arrival("Vocês abrem domingo?"))
    outside.hearing = ""
    message_id = await note(front)
    await understand(front, outside, message_id)
    mind = Mind("Não abrimos. E o áudio não deu para ouvir.")
    await turn(front, message_id, mind)
    ((question, heard),) = mind.shown
    assert question == "Vocês abrem domingo?"
    assert heard.strip()
    assert len(replies(front)) == 1


async def test_a_picture_is_fetched_and_measured_and_its_turn_follows(front: Front, outside: Outside) -> None:
    from PIL import Image

    picture = outside.home / "picture.png"
    Image.new("RGB", (30, 20)).save(picture)
    outside.content, outside.content_type = picture.read_bytes(), "image/png"
    message_id = await note(front, kind="image", media_type="image/png", body="Este")
    await understand(front, outside, message_id, voice=False)
    kept = media(front)
    assert (kept["status"], kept["width"], kept["height"]) == ("stored", 30, 20)
    assert names(front)[1] == ("process_ai_response", "turns")
    assert outside.languages == []


async def test_an_earlier_turn_leaves_everything_to_the_notes_own_in_the_order_sent(
    front: Front, outside: Outside
) -> None:
    first = await front.arrival("primeiro")
    await front.accept(first)
    message_id = await note(front)
    await front.accept(await front.arrival("terceiro"))
    mind = Mind()
    await turn(front, first.message_id, mind)
    assert mind.shown == [], "nothing was taken"
    await understand(front, outside, message_id)
    await turn(front, message_id, mind)
    ((one, two, three),) = mind.shown
    assert (one, three) == ("primeiro", "terceiro")
    assert SAID in two
    assert len(replies(front)) == 1


async def test_a_note_that_comes_while_the_model_thinks_is_waited_for(front: Front, outside: Outside) -> None:
    first = await front.arrival("primeiro")
    await front.accept(first)
    came: list[UUID] = []

    async def meanwhile() -> None:
        if not came:
            came.append(await note(front))

    mind = Mind(meanwhile=meanwhile)

    async def soon() -> None:
        while not came:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.4)
        await understand(front, outside, came[0])

    later = asyncio.create_task(soon())
    await turn(front, first.message_id, mind)
    await later
    assert [len(lines) for lines in mind.shown] == [1, 2]
    assert len(replies(front)) == 1


async def test_a_note_that_takes_too_long_is_left_to_its_own_turn(
    front: Front, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.journey.understand.MEDIA_S", 0.3)
    first = await front.arrival("primeiro")
    await front.accept(first)
    came: list[UUID] = []

    async def meanwhile() -> None:
        if not came:
            came.append(await note(front))

    mind = Mind(meanwhile=meanwhile)
    await turn(front, first.message_id, mind)
    assert [len(lines) for lines in mind.shown] == [1, 1], "thought again once, and not once more"
    assert len(replies(front)) == 1
    assert message(front, came[0])["status"] == "received"
    await understand(front, outside, came[0])
    await turn(front, came[0], mind)
    assert SAID in mind.shown[-1][0]
    assert len(replies(front)) == 2


def age(front: Front, message_id: UUID, seconds: int) -> UUID:
    """Let the message have come so long ago; answers its new id, under which its attachment is too."""
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute("ALTER TABLE media DROP CONSTRAINT IF EXISTS media_owner_id_message_id_fkey")
        row = conn.execute(
            "UPDATE messages SET id = uuid_floor(now() - make_interval(secs => %(s)s)), "
            "received_at = now() - make_interval(secs => %(s)s) WHERE id = %(id)s RETURNING id",
            {"s": seconds, "id": message_id},
        ).fetchone()
        assert row is not None
        conn.execute("UPDATE media SET message_id = %s WHERE message_id = %s", [row[0], message_id])
    found: UUID = row[0]
    return found


async def late(front: Front) -> int:
    async with front.wiring.platform_pool() as pool:
        return await recovery.give_up_late_media(pool, front.wiring.clock.now())


async def strays(front: Front) -> tuple[int, int]:
    async with front.wiring.platform_pool() as pool:
        return await recovery.fetch_stray_media(pool), await recovery.give_work_to_strays(pool)


async def test_attachments_that_nobody_fetches_are_given_up_and_the_conversation_goes_on(
    front: Front, outside: Outside
) -> None:
    message_id = await note(front)
    assert await late(front) == 0
    run(front, "UPDATE dbos.workflow_status SET created_at = 0")
    message_id = age(front, message_id, recovery.LATE_S + 5)
    assert await late(front) == 1
    assert await late(front) == 0
    assert (media(front)["status"], media(front)["reason"]) == ("failed", "late")
    assert names(front)[-1] == ("process_ai_response", "turns")
    (event,) = front.rows("SELECT what FROM events WHERE step = 'understand'")
    assert event["what"] == "late"
    await turn(front, message_id)
    assert replies(front) == [unheard.WORDS["pt"]]
    # Who comes to it after all still keeps it, for people, and nobody is answered twice.
    await understand(front, outside, message_id)
    assert (media(front)["status"], message(front, message_id)["transcript"]) == ("stored", SAID)
    assert names(front).count(("process_ai_response", "turns")) == 1


async def test_awaited_attachments_without_work_get_it_and_their_conversation_gets_no_other(front: Front) -> None:
    await front.accept(await front.arrival("antes"))
    message_id = age(front, await note(front), recovery.STRAY_S + 5)
    run(front, "DELETE FROM dbos.workflow_status")
    assert await strays(front) == (1, 0)
    assert await strays(front) == (0, 0)
    assert [(work["name"], work["workflow_uuid"]) for work in front.work()] == [
        ("transcribe_audio", f"{message_id}:media:1")
    ]


async def test_fetching_that_ends_in_an_error_again_and_again_ends_as_late(front: Front) -> None:
    age(front, await note(front), recovery.LATE_S + 5)
    run(front, "DELETE FROM dbos.workflow_status")
    for _ in range(recovery.TRIES):
        assert await strays(front) == (1, 0)
        run(front, "UPDATE dbos.workflow_status SET status = 'ERROR'")
    assert await strays(front) == (0, 0)
    assert await late(front) == 1


async def test_a_held_note_that_is_retried_is_fetched_first_and_then_answered(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    run(front, "DELETE FROM dbos.workflow_status")
    run(front, "UPDATE messages SET status = 'held', awaits_media = false")
    async with await front.wiring.connect("recado_platform") as conn:
        assert await failed.retry(conn, message_id) == "queued"
        assert await failed.retry(conn, message_id) == "in work"
    (work,) = front.work()
    assert (work["name"], work["queue_name"]) == ("transcribe_audio", "media")
    await understand(front, outside, message_id)
    await turn(front, message_id)
    assert message(front, message_id)["status"] == "answered"


async def test_a_retried_note_whose_turn_there_was_before_gets_another(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    await understand(front, outside, message_id)
    run(front, "UPDATE messages SET awaits_media = true")
    run(front, "UPDATE media SET status = 'waiting'")
    await understand(front, outside, message_id)
    turns = [work["workflow_uuid"] for work in front.work() if work["queue_name"] == "turns"]
    assert len(set(turns)) == 2


async def test_a_message_that_is_gone_is_an_error(front: Front, outside: Outside) -> None:
    desk = outside.desk(front)
    with pytest.raises(NotFound):
        await understand_media(desk, front.owner_id, UUID(int=1), UUID(int=2), voice=True)
