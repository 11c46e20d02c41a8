"""What a delivery works with, and what each part of a message is posted as: text, attachment, buttons, template."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from recado.channels.port import Contents, ErrorClass, Sender, SendError
from recado.clock import Clock
from recado.conversations import media, parts, templates
from recado.conversations.conversations import Conversation
from recado.conversations.erased import Recall, as_it_is
from recado.conversations.happenings import happened
from recado.conversations.parts import Attempt, Part
from recado.db.pool import Pool, Row, persistently
from recado.db.scope import Scope, scoped
from recado.delivery.content import (
    Attachment,
    Choices,
    TemplateUse,
    as_text,
    definition,
    digest,
    from_json,
    pieces,
    takes_text,
    to_json,
)
from recado.delivery.retry import POLICY, RetryPolicy
from recado.delivery.split import split
from recado.errors import NotFound
from recado.journey.suspects import Suspects

#: Outbound order is not guaranteed by Twilio: a part waits for `sent` of the one before it, but not for ever.
PREDECESSOR_S = 5.0
#: Twilio's Content API is asked this often before buttons become a text.
CONTENT_TRIES = 2
#: A message leaves so long after its attempt began, or not by that attempt: whoever takes a worker for dead posts it
#: again after `crash_settle_s`, and the worker may only have been stopped for that long.
LEAVES_WITHIN_S = 15.0
#: Kinds of parts that are made at Twilio before they are posted.
CHOICES = ("quick_replies", "list")


#: What the contact of a conversation hears in place of an answer that can't be delivered; None for nothing.
Apology = Callable[[Scope, Conversation], Awaitable[str | None]]


async def no_apology(_scope: Scope, _conversation: Conversation) -> str | None:
    """Nothing is said."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverDesk:
    """What a delivery works with.

    A message that Twilio's list does not show `settle_s` after an attempt ended without an outcome (or `crash_settle_s`
    after one began whose end nobody saw) was not taken: longer than a call may last on our side and on Twilio's.
    `pause` waits, or raises what gives the slot back meanwhile (`journey/pause`). `media_link` makes the address where
    Twilio fetches an owner's attachment: public URL, owner, attachment. `recall` knows who opted out before they were
    erased.
    """

    pool: Pool
    clock: Clock
    split_chars: int
    public_url: str | None
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]]
    contents_of: Callable[[UUID, UUID], Awaitable[Contents]]
    media_link: Callable[[str, UUID, UUID], str]
    settle_s: float = 5.0
    crash_settle_s: float = 20.0
    reconcile_poll_s: float = 1.0
    predecessor_s: float = PREDECESSOR_S
    policy: RetryPolicy = POLICY
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    suspects: Suspects = field(default_factory=Suspects)
    apology: Apology = no_apology
    recall: Recall = as_it_is

    def url_for(self, conversation: Conversation) -> str | None:
        """Where Twilio reaches us for this conversation's account, if it can."""
        return conversation.public_url or self.public_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A part with all that sending it takes."""

    message_id: UUID
    correlation_id: UUID
    queued_at: datetime
    conversation: Conversation = field(repr=False)
    part: Part
    is_last: bool
    attempt: Attempt
    reconcile: bool
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade:
    """Buttons or a list that Twilio has not made yet, at the end of a message."""

    message_id: UUID
    correlation_id: UUID
    conversation: Conversation = field(repr=False)
    part: Part
    choices: Choices


class Unsendable(Exception):
    """The message can't be sent as what it is; `reason` is a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def planned(scope: Scope, desk: DeliverDesk, message: Row) -> list[Part]:
    """The message's parts: those there are, or as many as its text needs, what is not text coming last.

    Raises Unsendable when its attachment is not there.
    """
    message_id, body = message["id"], message["body"]
    if message["content"] is None:
        return await parts.plan(scope, message_id, split(body, desk.split_chars))
    if there := await parts.of_message(scope, message_id):
        return there
    content = from_json(message["content"])
    with_text = True
    if isinstance(content, TemplateUse):
        return await parts.plan(scope, message_id, [body], content=to_json(content))
    if isinstance(content, Attachment):
        try:
            attachment = await media.get(scope, content.media_id)
        except NotFound:
            raise Unsendable("media_gone") from None
        if attachment.status != media.STORED:
            raise Unsendable("media_gone")
        with_text = takes_text(attachment.content_type or attachment.announced_type)
    texts, last = pieces(body, desk.split_chars, with_text=with_text)
    return await parts.plan(scope, message_id, [*texts, last], content=to_json(content))


def unmade(message: Row, conversation: Conversation, part: Part) -> Unmade | None:
    """What has to be made at Twilio before this part can be posted."""
    if part.content is None or part.content["kind"] not in CHOICES or "content_sid" in part.content:
        return None
    choices = from_json(part.content)
    assert not isinstance(choices, Attachment | TemplateUse)  # noqa: S101 - their kinds are not among CHOICES
    return Unmade(
        message_id=message["id"],
        correlation_id=message["correlation_id"],
        conversation=conversation,
        part=part,
        choices=choices,
    )


async def make(desk: DeliverDesk, owner_id: UUID, wanted: Unmade) -> None:
    """Have Twilio make the buttons or the list, once for each account; the part becomes a text where it can't."""
    sid = await persistently(partial(_made_before, desk, owner_id, wanted))
    error: SendError | None = None
    if sid is None:
        try:
            made_sid = await _create(desk, owner_id, wanted)
        except SendError as failure:
            error = failure
        else:
            sid = await persistently(partial(_remember, desk, owner_id, wanted, made_sid))
    await persistently(partial(_settle, desk, owner_id, wanted, sid, error))


async def _made_before(desk: DeliverDesk, owner_id: UUID, wanted: Unmade) -> str | None:
    async with scoped(desk.pool, owner_id) as scope:
        return await templates.made(scope, wanted.conversation.account_id, digest(wanted.choices, wanted.part.body))


async def _remember(desk: DeliverDesk, owner_id: UUID, wanted: Unmade, sid: str) -> str:
    async with scoped(desk.pool, owner_id) as scope:
        wanted_digest = digest(wanted.choices, wanted.part.body)
        return await templates.remember(scope, wanted.conversation.account_id, wanted_digest, sid)


async def _settle(desk: DeliverDesk, owner_id: UUID, wanted: Unmade, sid: str | None, error: SendError | None) -> None:
    """The part is posted by what was made, or as text, where Twilio did not make it."""
    async with scoped(desk.pool, owner_id) as scope:
        if sid is not None:
            content = {"kind": to_json(wanted.choices)["kind"], "content_sid": sid}
            await parts.become(scope, wanted.message_id, wanted.part.part, [wanted.part.body], content=content)
            return
        code = error.code if error else None
        await say_as_text(scope, desk, wanted, code=code)
        await happened(
            scope,
            "deliver",
            "content_not_made",
            conversation_id=wanted.conversation.id,
            message_id=wanted.message_id,
            correlation_id=wanted.correlation_id,
            code=code,
        )


async def _create(desk: DeliverDesk, owner_id: UUID, wanted: Unmade) -> str:
    contents = await desk.contents_of(owner_id, wanted.conversation.account_id)
    for tries_left in range(CONTENT_TRIES - 1, -1, -1):
        try:
            return await contents.create(definition(wanted.choices, wanted.part.body))
        except SendError as error:
            # Made twice it is there twice, which harms nothing: an unknown outcome is simply tried again.
            if tries_left == 0 or error.error_class not in (ErrorClass.RETRY, ErrorClass.UNKNOWN):
                raise
    raise AssertionError("unreachable")


async def say_as_text(scope: Scope, desk: DeliverDesk, wanted: Unmade, *, code: int | None) -> None:
    """The part lists its choices as text from now on, and the timeline says so."""
    text = as_text(wanted.choices, wanted.part.body)
    await parts.become(scope, wanted.message_id, wanted.part.part, split(text, desk.split_chars))
    await happened(
        scope,
        "deliver",
        "buttons_as_text",
        conversation_id=wanted.conversation.id,
        message_id=wanted.message_id,
        correlation_id=wanted.correlation_id,
        part=wanted.part.part,
        code=code,
    )


def posted(desk: DeliverDesk, owner_id: UUID, job: Job) -> Mapping[str, Any]:
    """The arguments of `Sender.send` that say what the part is."""
    match job.part.content:
        case {"kind": "media", "media_id": media_id}:
            url = desk.url_for(job.conversation)
            assert url is not None  # noqa: S101 - held before it came here
            # The link is made for each attempt, so that a late one does not carry an expired link.
            return {"body": job.part.body, "media_url": desk.media_link(url, owner_id, UUID(media_id))}
        case {"content_sid": sid, **more}:
            return {"body": job.part.body, "content_sid": sid, "content_variables": more.get("variables")}
        case _:
            return {"body": job.part.body}
