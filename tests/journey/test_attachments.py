"""understand, attachments: fetched and made text before the turn, in one transaction with it; never silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.assistants import unheard
from recado.channels.port import ErrorClass, SendError
from recado.errors import NotFound
from recado.fair import Gate
from recado.identity import plans
from recado.journey.understand import fetching
from recado.journey.understand.attachments import understand_media
from recado.journey.understand.language import ASSISTANTS, OF_COUNTRY, WRITTEN
from recado.media.download import MediaRefused, MediaUnavailable
from recado.media.reader import PARSERS, Read
from recado.media.storage import StorageUnavailable
from recado.media.transcription import Languages, Transcript, TranscriptionFailed
from tests.journey.attached import SAID, Outside, media, message, names, note, replies, run, turn, understand
from tests.journey.front import ACCOUNT_SID, Front, open_front
from tests.journey.test_answer import Mind


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


SECRET = "cartao 4111111111111111"


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


@pytest.mark.parametrize(
    ("kind", "media_type", "name", "queue"),
    [
        ("audio", "audio/ogg", "transcribe_audio", "voice"),
        ("document", "audio/mpeg", "transcribe_audio", "voice"),
        ("image", "image/jpeg", "fetch_media", "media"),
        ("document", "application/pdf", "fetch_media", "media"),
    ],
)
async def test_what_comes_with_an_attachment_is_fetched_before_its_turn(
    front: Front, kind: str, media_type: str, name: str, queue: str
) -> None:
    message_id = await note(front, kind=kind, media_type=media_type)
    (work,) = front.work()
    assert (work["name"], work["queue_name"]) == (name, queue)
    assert work["workflow_uuid"] == f"{message_id}:media"
    stored = message(front, message_id)
    assert work["queue_partition_key"] == str(stored["conversation_id"])
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


async def test_what_nobody_foresaw_settles_the_attachment_as_failed_and_the_turn_goes_on(
    front: Front, outside: Outside
) -> None:
    message_id = await note(front)

    class Broken:
        """A clock that fails once, when the outcome is to be stored."""

        left = 3

        def now(self) -> datetime:
            self.left -= 1
            if self.left == 0:
                raise RuntimeError(SECRET)
            return front.wiring.clock.now()

    await understand(front, outside, message_id, clock=Broken())
    stored, (turn,) = message(front, message_id), [row for row in front.work() if row["queue_name"] == "turns"]
    assert (stored["status"], stored["awaits_media"], stored["starts"]) == ("received", False, 0)
    assert (media(front)["status"], media(front)["reason"]) == ("failed", "fault")
    assert turn["workflow_uuid"] == str(message_id)
    assert front.rows("SELECT attention FROM conversations") == [{"attention": "unheard"}]
    assert SECRET not in str(front.rows("SELECT * FROM events"))


async def test_what_ended_its_workers_twice_is_not_looked_at_again(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    front.rows("UPDATE messages SET starts = 2, begun_at = now() RETURNING id")
    await understand(front, outside, message_id)
    assert outside.asked == []
    assert (media(front)["status"], media(front)["reason"]) == ("failed", "broken")
    assert message(front, message_id)["starts"] == 0, "the turn is counted by itself"
    assert [row["queue_name"] for row in front.work()] == ["voice", "turns"]


async def test_a_stop_says_nothing_of_the_attachment(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    seen: list[int] = []

    async def stops(**_: Any) -> Any:
        seen.append(message(front, message_id)["starts"])
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await understand(front, outside, message_id, fetch=stops)
    assert (seen, message(front, message_id)["starts"]) == ([1], 0)


@pytest.mark.parametrize("broken", ["recado.events", "dbos.workflow_status"])
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


async def test_two_executors_with_the_same_note_in_work_count_it_once(front: Front, outside: Outside) -> None:
    # As when a worker is declared dead that only was slow.
    message_id = await note(front)
    both, hear = asyncio.Barrier(2), outside.transcribe

    async def together(path: Path, *, content_type: str, languages: Languages) -> Transcript:
        await both.wait()
        return await hear(path, content_type=content_type, languages=languages)

    outside.transcribe = together  # type: ignore[method-assign]
    await asyncio.gather(understand(front, outside, message_id), understand(front, outside, message_id))
    assert message(front, message_id)["transcript"] == SAID
    assert front.rows("SELECT amount FROM usage WHERE metric = 'transcription_seconds'") == [{"amount": 5}]
    assert len(front.rows("SELECT FROM events WHERE step = 'understand'")) == 1
    assert len(front.work()) == 2


async def test_the_assistants_language_is_likely_and_the_contacts_more(front: Front, outside: Outside) -> None:
    await understand(front, outside, await note(front))
    # In one burst: what they wrote has had no turn yet.
    await front.accept(await front.arrival("Hola, ¿hacen pan sin gluten?"))
    await understand(front, outside, await note(front))
    # The contact's telephone is Brazilian.
    assert outside.languages == [
        {"pt": ASSISTANTS * OF_COUNTRY, "es": 1, "en": 1},
        {"pt": ASSISTANTS * OF_COUNTRY, "es": WRITTEN, "en": 1},
    ]


async def test_the_transcriber_is_told_the_type_that_the_content_has(front: Front, outside: Outside) -> None:
    outside.content_type = "audio/amr"
    await understand(front, outside, await note(front, media_type="audio/ogg"))
    assert outside.types == ["audio/amr"]


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


@pytest.mark.parametrize(
    ("wrote", "language"),
    [("???", "pt"), ("Hola, ¿hacen pan sin gluten?", "es"), ("Do you have any bread without gluten?", "en")],
)
async def test_the_contact_is_told_in_their_language(front: Front, outside: Outside, wrote: str, language: str) -> None:
    first = await front.arrival(wrote)
    await front.accept(first)
    await turn(front, first.message_id)
    message_id = await note(front)
    outside.hearing = ""
    await understand(front, outside, message_id)
    await turn(front, message_id)
    assert replies(front)[1:] == [unheard.WORDS[language]]


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


async def test_what_the_plan_has_no_room_for_is_refused_heard_all_the_same_and_said_to_people(
    front: Front, outside: Outside
) -> None:
    async with await front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", stored_bytes=len(outside.content))
        await plans.assign(conn, front.owner_id, "small")
    for status, reason in (("stored", None), ("refused", "quota")):
        message_id = await note(front)
        await understand(front, outside, message_id)
        (kept,) = front.rows("SELECT status, reason, storage_key FROM media ORDER BY id DESC LIMIT 1")
        assert (kept["status"], kept["reason"], kept["storage_key"] is None) == (status, reason, status == "refused")
        assert message(front, message_id)["transcript"] == SAID
        (conversation,) = front.rows("SELECT attention FROM conversations")
        assert conversation["attention"] == ("unheard" if reason else None)
    assert len([path for path in (outside.home / "media").rglob("*") if path.is_file()]) == 1
    counted = "SELECT amount FROM usage WHERE metric = 'stored_bytes'"
    assert front.rows(counted) == [{"amount": len(outside.content)}]
    run(front, "DELETE FROM recado.media WHERE storage_key IS NOT NULL")
    assert front.rows(counted) == [{"amount": 0}]
    await understand(front, outside, await note(front))
    assert front.rows(counted) == [{"amount": len(outside.content)}]


async def test_of_the_files_of_one_message_so_many_are_kept_as_there_is_room_for(
    front: Front, outside: Outside
) -> None:
    async with await front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", stored_bytes=2 * len(outside.content) - 1)
        await plans.assign(conn, front.owner_id, "small")
    address = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{'MM' + '1' * 32}/Media/ME"
    both = {f"MediaUrl{place}": f"{address}{place * 32}" for place in ("0", "1")}
    arrival = await front.arrival(
        "",
        **{"MessageSid": "MM" + "1" * 32, "MessageType": "audio", "NumMedia": "2", **both},
        **{f"MediaContentType{place}": "audio/ogg" for place in ("0", "1")},
    )
    await front.accept(arrival)
    await understand(front, outside, arrival.message_id)
    kept = front.rows("SELECT status, reason FROM media ORDER BY id")
    assert [(row["status"], row["reason"]) for row in kept] == [("stored", None), ("refused", "quota")]
    assert front.rows("SELECT amount FROM usage WHERE metric = 'stored_bytes'") == [{"amount": len(outside.content)}]


async def test_text_and_a_note_that_failed_get_one_answer_that_says_both(front: Front, outside: Outside) -> None:
    await front.accept(await front.arrival("Vocês abrem domingo?"))
    outside.hearing = ""
    message_id = await note(front)
    await understand(front, outside, message_id)
    mind = Mind("Não abrimos.")
    await turn(front, message_id, mind)
    ((question, heard),) = mind.shown
    assert question == "Vocês abrem domingo?"
    assert heard.strip()
    assert replies(front) == [f"Não abrimos.\n\n{unheard.WORDS['pt']}"]
    # Told once: the next answer is about what comes next.
    await front.accept(await front.arrival("E no sábado?"))
    await turn(front, message_id, mind)
    assert replies(front)[1:] == ["Não abrimos."]


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


async def test_a_message_that_is_gone_is_an_error(front: Front, outside: Outside) -> None:
    desk = outside.desk(front)
    with pytest.raises(NotFound):
        await understand_media(desk, front.owner_id, UUID(int=1), UUID(int=2), voice=True)


async def test_documents_of_one_owner_keep_no_other_owners_from_being_read() -> None:
    began, go_on = list[str](), asyncio.Event()

    async def read(path: Path, _type: str) -> Read:
        began.append(path.name)
        if path.name == "slow":
            await go_on.wait()
        return Read()

    desk: Any = SimpleNamespace(read=read, parsers=Gate(PARSERS))

    def reading(owner: str, name: str, content_type: str = "application/pdf") -> asyncio.Task[Read]:
        case: Any = SimpleNamespace(owner_id=owner)
        return asyncio.create_task(fetching._read(desk, case, Path(name), content_type))

    slow = [reading("a", "slow") for _ in range(9)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await reading("b", "quick")
        await reading("a", "picture", "image/png")
    assert began == ["slow", "quick", "picture"]
    go_on.set()
    await asyncio.gather(*slow)
