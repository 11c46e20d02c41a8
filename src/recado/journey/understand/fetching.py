"""understand, one attachment: fetched, kept, and made text of; whatever goes wrong is its outcome, never an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recado import metrics, tracing
from recado.channels.port import SendError
from recado.conversations.happenings import happened
from recado.conversations.media import FAILED, REFUSED, STORED, Media
from recado.errors import RecadoError
from recado.journey.understand.media_desk import Case, MediaDesk, Outcome, Reason
from recado.media.download import Downloaded, MediaRefused, MediaUnavailable
from recado.media.reader import Read
from recado.media.storage import key_of
from recado.media.transcription import Transcript, TranscriptionFailed
from recado.text import tidy


async def fetch_and_understand(desk: MediaDesk, case: Case, one: Media, path: Path, *, voice: bool) -> Outcome:
    """Fetch, understand and keep one attachment; whatever goes wrong is its outcome, never an error."""
    outcome = Outcome(media_id=one.id, status=FAILED, reason="fault")
    if one.storage_key is not None:
        return await _understand_kept(desk, case, one, path, voice=voice)
    try:
        downloaded = await _download(desk, case, one, path)
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
        metrics.TRIES("download", "account").inc()
        return replace(outcome, reason="account")
    except MediaRefused as error:
        metrics.TRIES("download", error.reason).inc()
        return replace(outcome, status=REFUSED, reason=error.reason)
    except MediaUnavailable as error:
        metrics.TRIES("download", error.reason).inc()
        return replace(outcome, reason=error.reason)
    except Exception as error:  # a fault of ours or of a library must not cost the contact the answer
        await _note(case, "media_failed", error)
        return replace(outcome, reason=outcome.reason or "fault")


async def _download(desk: MediaDesk, case: Case, one: Media, path: Path) -> Downloaded:
    with tracing.span(case.message.correlation_id, "download", parent=("understand", case.message.id)):
        login = await desk.login_of(case.owner_id, case.message.account_id)
        downloaded = await desk.fetch(
            url=one.url or "",
            account_sid=login.account_sid,
            message_sid=case.message.provider_sid or "",
            login=login.basic,
            announced_type=one.announced_type,
            into=path,
        )
    metrics.TRIES("download", "none").inc()
    return downloaded


async def _understand_kept(desk: MediaDesk, case: Case, one: Media, path: Path, *, voice: bool) -> Outcome:
    """Try again to understand what was kept before; whatever goes wrong it stays kept."""
    got = Downloaded(
        content_type=one.content_type or one.announced_type, size_bytes=one.size_bytes or 0, sha256=one.sha256 or b""
    )
    outcome = Outcome(media_id=one.id, status=STORED, downloaded=got, storage_key=one.storage_key)
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


async def _read(desk: MediaDesk, case: Case, path: Path, content_type: str) -> Read:
    """What is in it. Documents are parsed a few at once, in shares: one may keep its parser for most of a minute."""
    if content_type.startswith("image/"):
        return await desk.read(path, content_type)
    async with desk.parsers.turn(case.owner_id):
        return await desk.read(path, content_type)


async def _transcribe(
    desk: MediaDesk, case: Case, path: Path, content_type: str
) -> tuple[Transcript | None, Reason | None]:
    """The transcript, or why there is none; a transcript without words is there to be counted."""
    if desk.transcriber is None:
        return None, "no_transcriber"
    if case.over_budget:
        return None, "over_budget"
    try:
        with tracing.span(case.message.correlation_id, "transcribe", parent=("understand", case.message.id)):
            async with desk.ears.turn(case.owner_id):
                transcript = await desk.transcriber.transcribe(
                    path, content_type=content_type, languages=case.languages
                )
    except TranscriptionFailed as error:
        metrics.TRIES("transcribe", error.reason).inc()
        return None, error.reason
    metrics.TRIES("transcribe", "none").inc()
    # A model or an endpoint may write anything.
    transcript = replace(transcript, text=tidy(transcript.text))
    return transcript, None if transcript.text else "no_speech"


async def _note(case: Case, what: str, error: Exception) -> None:
    await happened(
        case.owner_id,
        "understand",
        what,
        conversation_id=case.message.conversation_id,
        message_id=case.message.id,
        correlation_id=case.message.correlation_id,
        error=type(error).__name__,
    )
