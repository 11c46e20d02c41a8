"""understand, its desk: what the fetching of attachments works with, and what becomes of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol
from uuid import UUID

from recado.channels.twilio.senders import Login
from recado.clock import Clock
from recado.conversations.media import FAILED, WAITING, Media
from recado.conversations.messages import Awaiting
from recado.db.pool import Pool
from recado.fair import Gate
from recado.journey.suspects import Suspects
from recado.media.download import Absence, Downloaded, Refusal
from recado.media.reader import PARSERS, Read
from recado.media.storage import Storage
from recado.media.transcription import Failure, Languages, Transcriber, Transcript

#: Why an attachment was not kept or not understood, where neither the fetching nor the transcriber says it.
Own = Literal[
    "account",
    "storage",
    "quota",
    "fault",
    "no_transcriber",
    "over_budget",
    "no_speech",
    "late",
    "broken",
    "expired",
    "erased",
]
Reason = Refusal | Absence | Failure | Own
#: Why an attachment that nobody had settled in time was given up (`ops/recovery`). It is still fetched, for people to
#: see, and what a voice note says is answered after all.
LATE: Final = "late"
#: Why one was not kept, or a note not transcribed, that the owner can do something about: people are asked to look.
FOR_PEOPLE = frozenset(
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
class Case:
    """One message's attachments, with what is needed to fetch and to understand them."""

    owner_id: UUID
    message: Awaiting
    media: tuple[Media, ...]
    languages: Languages = field(repr=False)
    over_budget: bool
    #: By `time.monotonic`.
    began_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attachment."""

    media_id: UUID
    status: str
    reason: Reason | None = None
    downloaded: Downloaded | None = None
    storage_key: str | None = None
    transcript: Transcript | None = None
    read: Read | None = None


def is_open(one: Media) -> bool:
    return one.status == WAITING or is_late(one)


def is_late(one: Media) -> bool:
    return (one.status, one.reason) == (FAILED, LATE)
