"""understand, what came with a message: fetch it, make text of voice, then let the turn have the message.

`fetch_media` and `transcribe_audio` run on the queue `media`, before the turn. Whatever happens to an attachment, the
message goes on: what could not be had or understood is on its row in a word, for people to see, and the turn says so to
the contact. What becomes of all of them is one transaction with the turn's workflow, so a crash only repeats the work.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, Protocol
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.channels.port import SendError
from recado.channels.twilio.senders import Login
from recado.clock import Clock
from recado.conversations import conversations, messages
from recado.conversations import media as attachments
from recado.conversations.happenings import happened
from recado.conversations.media import FAILED, REFUSED, STORED, WAITING, Media
from recado.conversations.messages import Awaiting
from recado.db.pool import PASSING, Pool, persistently
from recado.db.scope import Scope, scoped
from recado.errors import RecadoError
from recado.fair import Gate
from recado.identity import plans
from recado.journey.pause import Later
from recado.journey.suspects import Suspects, blamed, put_back
from recado.journey.understand.language import may_be_spoken, with_contact_language
from recado.media.download import Absence, Downloaded, MediaRefused, MediaUnavailable, Refusal
from recado.media.reader import PARSERS, Read
from recado.media.storage import Storage, key_of
from recado.media.transcription import Failure, Languages, Transcriber, Transcript, TranscriptionFailed
from recado.text import storable, tidy

#: Why an attachment was not kept or not understood, where neither the fetching nor the transcriber says it.
Own = Literal["account", "storage", "quota", "fault", "no_transcriber", "over_budget", "no_speech", "late", "broken"]
Reason = Refusal | Absence | Failure | Own
#: Why an attachment that nobody had settled in time was given up (`ops/recovery`). It is still fetched, for people to
#: see, and what a voice note says is answered after all.
LATE: Final = "late"
#: Why one was not kept, or a note not transcribed, that the owner can do something about: people are asked to look.
_FOR_PEOPLE = frozenset(
    {"broken", "no_transcriber", "over_budget", "no_model", "unavailable", "slow", "format", "quota"}
)


class Fetch(Protocol):
    """How an attachment is fetched: `media.download.Downloads.fetch`."""

    async def __call__(
        self,
        *,
        url: str,
        account_sid: str,
        message_sid: str,
        login: tuple[str, str],
        announced_type: str,
        into: Path,
    ) -> Downloaded:
        """Raises MediaRefused or MediaUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDesk:
    """What the fetching works with. `read` looks into a file that is no voice; `scratch` is for temporary files.

    An owner's notes wait for `ears`, which the owners share, and its documents for `parsers`.
    """

    pool: Pool
    clock: Clock
    fetch: Fetch
    login_of: Callable[[UUID, UUID], Awaitable[Login]]
    storage: Storage
    transcriber: Transcriber | None
    read: Callable[[Path, str], Awaitable[Read]]
    scratch: Path
    suspects: Suspects = field(default_factory=Suspects)
    ears: Gate = field(default_factory=lambda: Gate(1))
    parsers: Gate = field(default_factory=lambda: Gate(PARSERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One message's attachments, with what is needed to fetch and to understand them."""

    owner_id: UUID
    message: Awaiting
    media: tuple[Media, ...]
    languages: Languages = field(repr=False)
    over_budget: bool
    #: By `time.monotonic`.
    began_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of one attachment."""

    media_id: UUID
    status: str
    reason: Reason | None = None
    downloaded: Downloaded | None = None
    storage_key: str | None = None
    transcript: Transcript | None = None
    read: Read | None = None


async def understand_media(
    desk: MediaDesk, owner_id: UUID, conversation_id: UUID, message_id: UUID, *, voice: bool
) -> None:
    """Fetch the message's attachments, make text of its voice with `voice`, and enqueue its turn.

    Idempotent: attachments that were settled are not touched again, and the turn is enqueued once. Words of a note that
    was given up as late get a turn of their own.
    """
    began: dict[UUID, int] = {}
    try:
        async with AsyncExitStack() as stack:
            await _understand(desk, owner_id, conversation_id, message_id, began, stack, voice=voice)
    except (Later, *PASSING):
        await put_back(desk.pool, owner_id, began, step="understand")
        raise
    except Exception:  # a fault of ours must not cost the contact the answer to the rest
        await happened(owner_id, "understand", "media_failed", conversation_id=conversation_id, message_id=message_id)
        await persistently(partial(_give_up, desk, owner_id, message_id))
    except BaseException:  # a stop: another worker goes on with it
        await put_back(desk.pool, owner_id, began, step="understand")
        raise


async def _understand(
    desk: MediaDesk,
    owner_id: UUID,
    conversation_id: UUID,
    message_id: UUID,
    began: dict[UUID, int],
    stack: AsyncExitStack,
    *,
    voice: bool,
) -> None:
    """Do so; what was counted up in `began` is left with the caller, however it ends."""

    async def before() -> Awaiting:
        async with scoped(desk.pool, owner_id) as scope:
            return await messages.awaiting(scope, message_id)

    async def begin() -> bool:
        now = desk.clock.now()
        async with scoped(desk.pool, owner_id) as scope:
            found = await messages.awaiting(scope, message_id)
            if await blamed(scope, [found], now=now):
                return False
            began[message_id] = found.starts + 1
            await messages.count_starts(scope, began, now=now)
            return True

    if (await persistently(before)).starts:
        await stack.enter_async_context(desk.suspects.alone())
    sound = await persistently(begin)
    case = await persistently(partial(_case_of, desk, owner_id, conversation_id, message_id))
    if not case.media and not case.message.waits:
        await put_back(desk.pool, owner_id, began, step="understand")
        return
    if sound:
        with TemporaryDirectory(dir=desk.scratch) as folder:
            outcomes = [await _settle(desk, case, one, Path(folder) / str(one.id), voice=voice) for one in case.media]
    else:
        outcomes = [_Outcome(media_id=one.id, status=FAILED, reason="broken") for one in case.media]
    outcomes, refused = await persistently(partial(_conclude, desk, case, outcomes))
    for key in refused:
        with suppress(RecadoError, OSError):  # what no attachment has is swept later
            await desk.storage.delete(key)


async def _give_up(desk: MediaDesk, owner_id: UUID, message_id: UUID) -> None:
    """Settle what is open as failed, look at nothing else, and let the turn have the message."""
    now = desk.clock.now()
    async with scoped(desk.pool, owner_id) as scope:
        message = await messages.awaiting(scope, message_id, lock=True)
        there = (await attachments.of_messages(scope, [message_id])).get(message_id, [])
        for one in there:
            if _is_open(one):
                await attachments.settle(
                    scope, one.id, status=FAILED, now=now, reason="fault", storage_key=one.storage_key
                )
        await messages.release(scope, message_id, transcript=None, language=None)
        await conversations.ask_for_people(scope, message.conversation_id, why="unheard")
        await happened(
            scope,
            "understand",
            "not_understood",
            conversation_id=message.conversation_id,
            message_id=message_id,
            correlation_id=message.correlation_id,
            reasons=["fault"],
            outcome="not_understood",
            reason="fault",
        )


async def _case_of(desk: MediaDesk, owner_id: UUID, conversation_id: UUID, message_id: UUID) -> _Case:
    async with scoped(desk.pool, owner_id) as scope:
        message = await messages.awaiting(scope, message_id)
        found = (await attachments.of_messages(scope, [message_id])).get(message_id, [])
        # What they wrote just before the note has had no turn yet.
        conversation = await with_contact_language(scope, await conversations.get(scope, conversation_id))
        assistant = await assistants.for_number(scope, conversation.number_id)
        return _Case(
            owner_id=owner_id,
            message=message,
            media=tuple(one for one in found if _is_open(one)),
            languages=may_be_spoken(conversation, assistant),
            over_budget=await plans.reached(scope, "transcription_seconds", desk.clock.now()),
            began_at=time.monotonic(),
        )


def _is_open(one: Media) -> bool:
    return one.status == WAITING or _is_late(one)


def _is_late(one: Media) -> bool:
    return (one.status, one.reason) == (FAILED, LATE)


async def _settle(desk: MediaDesk, case: _Case, one: Media, path: Path, *, voice: bool) -> _Outcome:
    """Fetch, understand and keep one attachment; whatever goes wrong is its outcome, never an error."""
    outcome = _Outcome(media_id=one.id, status=FAILED, reason="fault")
    if one.storage_key is not None:
        return await _understand_kept(desk, case, one, path, voice=voice)
    try:
        login = await desk.login_of(case.owner_id, case.message.account_id)
        downloaded = await desk.fetch(
            url=one.url or "",
            account_sid=login.account_sid,
            message_sid=case.message.provider_sid or "",
            login=login.basic,
            announced_type=one.announced_type,
            into=path,
        )
        outcome = replace(outcome, downloaded=downloaded)
        key = key_of(case.owner_id, one.id)
        try:
            await desk.storage.put(key, path, content_type=downloaded.content_type)
            outcome = replace(outcome, status=STORED, reason=None, storage_key=key)
        except (RecadoError, OSError) as error:
            await _note(case, "not_stored", error)
            outcome = replace(outcome, reason="storage")
        if voice:
            transcript, reason = await _transcribe(desk, case, path, downloaded.content_type)
            return replace(outcome, transcript=transcript, reason=outcome.reason or reason)
        return replace(outcome, read=await _read(desk, case, path, downloaded.content_type))
    except SendError:
        return replace(outcome, reason="account")
    except MediaRefused as error:
        return replace(outcome, status=REFUSED, reason=error.reason)
    except MediaUnavailable as error:
        return replace(outcome, reason=error.reason)
    except Exception as error:  # a fault of ours or of a library must not cost the contact the answer
        await _note(case, "media_failed", error)
        return replace(outcome, reason=outcome.reason or "fault")


async def _understand_kept(desk: MediaDesk, case: _Case, one: Media, path: Path, *, voice: bool) -> _Outcome:
    """Try again to understand what was kept before; whatever goes wrong it stays kept."""
    got = Downloaded(
        content_type=one.content_type or one.announced_type, size_bytes=one.size_bytes or 0, sha256=one.sha256 or b""
    )
    outcome = _Outcome(media_id=one.id, status=STORED, downloaded=got, storage_key=one.storage_key)
    try:
        await desk.storage.fetch(one.storage_key or "", path)
        if voice:
            transcript, reason = await _transcribe(desk, case, path, got.content_type)
            return replace(outcome, transcript=transcript, reason=reason)
        return replace(outcome, read=await _read(desk, case, path, got.content_type))
    except (RecadoError, OSError) as error:
        await _note(case, "not_had_again", error)
        return replace(outcome, reason="storage")
    except Exception as error:  # as where it is fetched
        await _note(case, "media_failed", error)
        return replace(outcome, reason="fault")


async def _read(desk: MediaDesk, case: _Case, path: Path, content_type: str) -> Read:
    """What is in it. Documents are parsed a few at once, in shares: one may keep its parser for most of a minute."""
    if content_type.startswith("image/"):
        return await desk.read(path, content_type)
    async with desk.parsers.turn(case.owner_id):
        return await desk.read(path, content_type)


async def _transcribe(
    desk: MediaDesk, case: _Case, path: Path, content_type: str
) -> tuple[Transcript | None, Reason | None]:
    """The transcript, or why there is none; a transcript without words is there to be counted."""
    if desk.transcriber is None:
        return None, "no_transcriber"
    if case.over_budget:
        return None, "over_budget"
    try:
        async with desk.ears.turn(case.owner_id):
            transcript = await desk.transcriber.transcribe(path, content_type=content_type, languages=case.languages)
    except TranscriptionFailed as error:
        return None, error.reason
    # A model or an endpoint may write anything.
    transcript = replace(transcript, text=tidy(transcript.text))
    return transcript, None if transcript.text else "no_speech"


async def _conclude(desk: MediaDesk, case: _Case, done: Sequence[_Outcome]) -> tuple[list[_Outcome], list[str]]:
    """Write down what became of them; answers that, and the files for which the owner's plan has no room."""
    now = desk.clock.now()
    async with scoped(desk.pool, case.owner_id) as scope:
        # Before the message, as a turn does: none ends meanwhile that was made without the words.
        message = await messages.awaiting(scope, case.message.id)
        conversation = await conversations.get(scope, message.conversation_id, lock=True)
        # Another executor may have done the same work meanwhile: what it settled is neither counted nor told again.
        message = await messages.awaiting(scope, case.message.id, lock=True)
        if message.conversation_id != conversation.id:  # it came into another one this moment
            conversation = await conversations.get(scope, message.conversation_id, lock=True)
        there = (await attachments.of_messages(scope, [message.id])).get(message.id, [])
        unsettled = {one.id for one in there if _is_open(one)}
        given_up = any(_is_late(one) for one in there)
        outcomes = [outcome for outcome in done if outcome.media_id in unsettled]
        if done and not outcomes:
            return list(done), []
        outcomes, refused = await _within_quota(scope, case, outcomes)
        transcripts = [outcome.transcript for outcome in outcomes if outcome.transcript is not None]
        said = [transcript for transcript in transcripts if transcript.text]
        if any(outcome.reason in _FOR_PEOPLE for outcome in outcomes):
            await conversations.ask_for_people(scope, message.conversation_id, why="unheard")
        for outcome in outcomes:
            got = outcome.downloaded
            await attachments.settle(
                scope,
                outcome.media_id,
                status=outcome.status,
                now=now,
                reason=outcome.reason,
                content_type=got.content_type if got else None,
                size_bytes=got.size_bytes if got else None,
                sha256=got.sha256 if got else None,
                storage_key=outcome.storage_key,
                duration_s=outcome.transcript.duration_s if outcome.transcript else None,
                width=outcome.read.width if outcome.read else None,
                height=outcome.read.height if outcome.read else None,
                pages=outcome.read.pages if outcome.read else None,
                text=storable(outcome.read.text) if outcome.read and outcome.read.text else None,
            )
        await messages.release(
            scope,
            message.id,
            transcript="\n".join(transcript.text for transcript in said) or None,
            language=said[0].language if said else None,
            again=given_up and bool(said) and conversation.status == "open",
        )
        reasons = sorted({outcome.reason for outcome in outcomes if outcome.reason})
        await happened(
            scope,
            "understand",
            _what(outcomes),
            conversation_id=message.conversation_id,
            message_id=message.id,
            correlation_id=message.correlation_id,
            duration_s=time.monotonic() - case.began_at,
            outcome=_what(outcomes),
            attachments=len(outcomes),
            count=len(outcomes),
            reasons=reasons,
            reason=next(iter(reasons), None),
            seconds=sum(transcript.duration_s for transcript in transcripts),
        )
        await plans.meter(
            scope, "transcription_seconds", sum(ceil(transcript.duration_s) for transcript in transcripts), now=now
        )
    return outcomes, refused


async def _within_quota(scope: Scope, case: _Case, outcomes: Sequence[_Outcome]) -> tuple[list[_Outcome], list[str]]:
    """The outcomes, those refused for which there is no room, and where their files are. What was kept before stays."""
    before = {one.id for one in case.media if one.storage_key is not None}
    found: list[_Outcome] = []
    refused: list[str] = []
    more_bytes = 0
    for outcome in outcomes:
        if outcome.storage_key is None or outcome.downloaded is None or outcome.media_id in before:
            found.append(outcome)
        elif await plans.has_room(scope, more_bytes + outcome.downloaded.size_bytes):
            more_bytes += outcome.downloaded.size_bytes
            found.append(outcome)
        else:
            refused.append(outcome.storage_key)
            found.append(replace(outcome, status=REFUSED, reason="quota", storage_key=None))
    return found, refused


async def _note(case: _Case, what: str, error: Exception) -> None:
    await happened(
        case.owner_id,
        "understand",
        what,
        conversation_id=case.message.conversation_id,
        message_id=case.message.id,
        correlation_id=case.message.correlation_id,
        error=type(error).__name__,
    )


def _what(outcomes: Sequence[_Outcome]) -> str:
    if any(outcome.transcript is not None and outcome.transcript.text for outcome in outcomes):
        return "transcribed"
    return "fetched" if all(outcome.reason is None for outcome in outcomes) else "not_understood"
