"""Ending a quarantine: Twilio's list is taken in, then the account may speak again.

What contacts wrote since the moment that the database is of is stored as if its webhook came now, what was sent since
is attributed to the messages that wait to be sent or stored as sent, and what was answered waits no more. Each account
by itself: one whose token is revoked stays silent, and holds nobody else. Whatever dies in between, the same again goes
on: what was taken in is known by its MessageSid, and is held until all of its account is there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from recado.channels.port import Archive, Listed, SendError
from recado.channels.twilio.addresses import canonical_address, identity_key, is_whatsapp
from recado.channels.twilio.archive import as_posted
from recado.channels.twilio.directory import Account, Directory, Number
from recado.channels.twilio.parse import contact_words, parse_inbound
from recado.channels.twilio.senders import Senders
from recado.clock import Clock
from recado.conversations import conversations, erased, parts
from recado.conversations.happenings import happened
from recado.db import pool as db
from recado.db.pool import PASSING, Connection, Pool, Row, persistently
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.delivery.same import same, says_nothing
from recado.errors import RecadoError, Rejected, SecretError
from recado.ids import id_at, made_ms
from recado.journey.accept import accept
from recado.journey.accept.accept import Arrival
from recado.journey.deliver import aftermath, dispatch
from recado.journey.deliver.dispatch import DeliverDesk
from recado.media.storage import Storage
from recado.ops.backup.judge import Said, Verdict, judge
from recado.ops.backup.quarantine import Silence
from recado.ops.backup.restore import BEFORE
from recado.ops.privacy import ledger
from recado.settings import Settings

log = structlog.get_logger(__name__)

#: What a message is held for while its account's list is taken in, and when nobody can say whether it was answered.
RESTORED: Final = "restored"
#: How many of a contact's messages are stored at once, and how many accounts are asked at once.
BATCH, ACCOUNTS_AT_ONCE = 64, 4
#: A request that a killed process had on its way is in Twilio's list after this time, or was not taken.
SETTLE_S: Final = 20.0
#: From so long after the first moment that Twilio is asked of, what is sent and not known here may be ours.
OTHERS: Final = BEFORE - timedelta(minutes=2)
#: The part of the longest part of an answer that a first part has at least.
_SHARE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a release works with; `lane` is a connection of the application's on which `accept` is prepared."""

    pool: Pool
    platform: Connection
    lane: Connection
    directory: Directory
    desk: DeliverDesk
    keyring: Keyring
    #: By owner, until when what somebody wrote or was sent is gone, under the hash of what they are known by.
    erased: Mapping[UUID, Mapping[bytes, datetime]]
    archive_of: Callable[[UUID, UUID], Awaitable[Archive]]


@asynccontextmanager
async def opened(
    settings: Settings, keyring: Keyring, clock: Clock, *, url: str, platform: Connection, storage: Storage
) -> AsyncIterator[Tools]:
    """What a release works with, as a worker has it that delivers and an API that accepts; it sends nothing."""

    def no_link(*_: object) -> str:
        raise RecadoError("a release sends nothing")

    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(db.open_pool(url, "recado_app", size=ACCOUNTS_AT_ONCE))
        lane = await stack.enter_async_context(await db.connect(url, "recado_app"))
        await accept.prepare(lane)
        senders = Senders(
            pool,
            keyring,
            api_url=settings.twilio_api_url,
            messaging_url=settings.twilio_messaging_url,
            content_url=settings.twilio_content_url,
        )
        stack.push_async_callback(senders.aclose)
        desk = DeliverDesk(
            pool=pool,
            clock=clock,
            split_chars=settings.split_chars,
            public_url=settings.public_url,
            sender_of=senders.of,
            contents_of=senders.contents_of,
            media_link=no_link,
        )
        yield Tools(
            pool=pool,
            platform=platform,
            lane=lane,
            directory=Directory(pool, keyring),
            desk=desk,
            keyring=keyring,
            erased=await _erased(storage),
            archive_of=senders.archive_of,
        )


async def _erased(storage: Storage) -> dict[UUID, dict[bytes, datetime]]:
    found: dict[UUID, dict[bytes, datetime]] = defaultdict(dict)
    async for entry in ledger.entries(storage):
        theirs = found[entry.owner_id]
        theirs |= {one: max(entry.at, theirs.get(one, entry.at)) for one in entry.hashes}
    return dict(found)


@dataclass(slots=True)
class _Account:
    """One account's list, as far as its numbers are known here."""

    tools: Tools
    silence: Silence
    account: Account
    archive: Archive
    numbers: Mapping[str, Number]
    listed: list[Listed]
    known: Mapping[str, UUID]
    places: Mapping[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def owner_id(self) -> UUID:
        return self.silence.owner_id


_SETTLED_IN = """
SELECT extract(epoch FROM max(restored_at) + make_interval(secs => %s) - clock_timestamp())::float AS left_s
FROM restores
"""
_ASKED = """
UPDATE quarantine SET asked_at = clock_timestamp(), error = %(error)s, counts = %(counts)s,
    released_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() END,
    released_by = CASE WHEN %(error)s::text IS NULL THEN 'asked' END
WHERE owner_id = %(owner)s AND account_id = %(account)s AND released_at IS NULL
"""
_UNASKED = """
UPDATE quarantine SET released_at = clock_timestamp(), released_by = 'unasked'
WHERE owner_id = %s AND account_id = %s AND released_at IS NULL
"""
#: Any number that nothing else in the database locks.
_LOCK = "SELECT pg_try_advisory_lock(7264002) AS ours"


async def alone(platform: Connection) -> bool:
    """Whether this connection is the only one that releases, from here to its end."""
    row = await (await platform.execute(_LOCK)).fetchone()
    return bool(row and row["ours"])


async def settled_in(platform: Connection) -> float:
    """How long to wait before Twilio's list is final for what was on its way at the end."""
    row = await (await platform.execute(_SETTLED_IN, [SETTLE_S])).fetchone()
    return float(row["left_s"] or 0.0) if row is not None else 0.0


async def without_asking(platform: Connection, silence: Silence) -> None:
    """Let the account speak, whatever went out since: what waits may be said twice."""
    await platform.execute(_UNASKED, [silence.owner_id, silence.account_id])


async def release(tools: Tools, silent: Sequence[Silence]) -> None:
    """Take in what Twilio lists for each of these accounts and let it speak; one that fails stays silent, with why."""
    at_once = asyncio.Semaphore(ACCOUNTS_AT_ONCE)
    storing = asyncio.Lock()

    async def one(silence: Silence) -> None:
        async with at_once:
            error, counts = await _taken_in(tools, silence, storing)
        async with storing:
            told = {"owner": silence.owner_id, "account": silence.account_id}
            await tools.platform.execute(_ASKED, {**told, "error": error, "counts": Jsonb(counts)})

    await asyncio.gather(*map(one, silent))


async def _taken_in(tools: Tools, silence: Silence, storing: asyncio.Lock) -> tuple[str | None, dict[str, int]]:
    """Why the account stays silent, None when all of its list is taken in; and what that was."""
    try:
        account = await tools.directory.account(silence.account_sid)
        if account is None or account.id != silence.account_id:
            return "its Twilio account is removed", {}
        archive = await tools.archive_of(silence.owner_id, silence.account_id)
        listed = await _without_erased(tools, silence, await archive.since(silence.since))
    except (SendError, SecretError) as error:
        return str(error), {}
    try:
        numbers, known = await _numbers(tools, silence), await _known(tools, silence, [one.sid for one in listed])
        case = _Account(tools, silence, account, archive, numbers, listed, known)
        case.places = _places(case)
        rows = await _inbound(case)
        async with storing:
            for start in range(0, len(rows), BATCH):
                done = await accept.write(tools.lane, rows[start : start + BATCH])
                case.counts["received"] += sum(one.new for one in done)
        for contact in _by_contact(case):
            case.counts.update(await persistently(partial(_settle_contact, case, contact)))
    except (RecadoError, *PASSING) as error:
        log.warning("not_released", task="restore", account_id=silence.account_id, error=type(error).__name__)
        return str(error) if isinstance(error, RecadoError) else "the database was away", {}
    return None, {word: count for word, count in case.counts.items() if count}


async def _without_erased(tools: Tools, silence: Silence, listed: list[Listed]) -> list[Listed]:
    """What is listed, but for what is of people who were erased after it: Twilio may not have deleted it yet."""
    until = tools.erased.get(silence.owner_id)
    if not until:
        return listed
    async with scoped(tools.pool, silence.owner_id) as scope:
        key = await erased.key_of(scope, tools.keyring)
    if key is None:
        return listed

    def stays(one: Listed) -> bool:
        gone = until.get(erased.digest(key, identity_key((one.from_ or "") if one.inbound else one.to)))
        return gone is None or one.created_at > gone

    return [one for one in listed if stays(one)]


async def _numbers(tools: Tools, silence: Silence) -> dict[str, Number]:
    async with scoped(tools.pool, silence.owner_id) as scope:
        cursor = await scope.conn.execute(
            "SELECT id, address, status FROM numbers WHERE owner_id = %s AND account_id = %s",
            [silence.owner_id, silence.account_id],
        )
        rows = await cursor.fetchall()
    return {row["address"]: Number(id=row["id"], routed=row["status"] == "active") for row in rows}


def _number_of(case: _Account, one: Listed) -> Number | None:
    """Ours that it came to or went from, if it is WhatsApp's; a number that is not known here is another system's.

    Raises RecadoError while Twilio does not tell from which number it sends.
    """
    address = one.to if one.inbound else one.from_
    if address is None and is_whatsapp(one.to):
        raise RecadoError("Twilio has not chosen yet from which number it sends a message: try again in a minute")
    return case.numbers.get(canonical_address(address)) if address and is_whatsapp(address) else None


async def _inbound(case: _Account) -> list[Arrival]:
    """What contacts wrote that is not there, in Twilio's order, to be stored as held."""
    rows: list[Arrival] = []
    for one in case.listed:
        if not one.inbound or one.sid in case.known:
            continue
        number = _number_of(case, one)
        if number is None:
            case.counts["elsewhere"] += 1
            continue
        media = await case.archive.media(one.sid) if one.num_media else []
        posted = as_posted(one, media, account_sid=case.account.account_sid)
        try:
            inbound = parse_inbound(posted)
        except Rejected:
            case.counts["unreadable"] += 1
            continue
        rows.append(
            Arrival(
                owner_id=case.owner_id,
                account_id=case.account.id,
                number=number,
                inbound=inbound,
                words=contact_words(inbound),
                message_id=id_at(case.places[one.sid]),
                received_at=one.created_at,
                held="restored" if number.routed else None,
            )
        )
    return rows


async def _known(tools: Tools, silence: Silence, sids: Sequence[str]) -> dict[str, UUID]:
    """The messages that have these MessageSids here, or parts that do."""
    async with scoped(tools.pool, silence.owner_id) as scope:
        cursor = await scope.conn.execute(
            """
            SELECT provider_sid AS sid, id FROM messages
            WHERE owner_id = %(owner)s AND account_id = %(account)s AND provider_sid = ANY(%(sids)s)
            UNION ALL
            SELECT provider_sid, message_id FROM message_parts
            WHERE owner_id = %(owner)s AND provider_sid = ANY(%(sids)s)
            """,
            {"owner": silence.owner_id, "account": silence.account_id, "sids": list(sids)},
        )
        return {row["sid"]: row["id"] for row in await cursor.fetchall()}


def _places(case: _Account) -> dict[str, int]:
    """By MessageSid, the millisecond at which a message that is not known stands in its conversation.

    Twilio tells seconds; what is known here has its place by a finer clock. The order is Twilio's.
    """
    places: dict[str, int] = {}
    last: dict[tuple[UUID, str] | None, int] = {}
    for one in case.listed:
        thread = _thread(case, one)
        if (known := case.known.get(one.sid)) is not None:
            last[thread] = max(last.get(thread, 0), made_ms(known))
        else:
            last[thread] = max(last.get(thread, 0) + 1, int(one.created_at.timestamp() * 1000))
            places[one.sid] = last[thread]
    return places


def _thread(case: _Account, one: Listed) -> tuple[UUID, str] | None:
    """Number and person between whom it was said; None where the number is not ours."""
    number = _number_of(case, one)
    return None if number is None else (number.id, identity_key((one.from_ or "") if one.inbound else one.to))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contact:
    """What Twilio lists of one contact and one of our numbers, in its order."""

    number_id: UUID
    identity: str
    listed: Sequence[Listed]


def _by_contact(case: _Account) -> list[_Contact]:
    found: dict[tuple[UUID, str], list[Listed]] = defaultdict(list)
    for one in case.listed:
        if (thread := _thread(case, one)) is not None:
            found[thread].append(one)
    return [_Contact(number_id=key[0], identity=key[1], listed=listed) for key, listed in found.items()]


async def _settle_contact(case: _Account, contact: _Contact) -> Counter[str]:
    """What was sent to this contact is known as sent, what was answered is answered; one transaction."""
    counts: Counter[str] = Counter()
    sent = [one for one in contact.listed if not one.inbound]
    async with scoped(case.tools.pool, case.owner_id) as scope:
        there = await _conversation(scope, contact)
        if there is None:
            # Somebody whom nobody has written to here, and who has not written: what went to them has no place.
            counts["elsewhere"] += len(sent)
            return counts
        await conversations.get(scope, there, lock=True)
        ours = await _attributed(scope, [one.sid for one in sent])
        for one in sent:
            if one.sid in ours:
                await _learn(scope, one, ours[one.sid], counts)
        new = [one for one in sent if one.sid not in ours]
        found = await _find_waiting(scope, case.tools.desk, there, new)
        for sid, (message_id, part) in found.items():
            one = next(one for one in new if one.sid == sid)
            counts["sent"] += 1
            await _learn(scope, one, {"message_id": message_id, "part": part, "reason": None}, counts)
            await parts.close_attempts(scope, message_id)
        # What went out well before the moment is known here if it is ours: it was begun in a row of its own.
        strangers = [one for one in new if one.sid not in found and one.created_at >= case.silence.since + OTHERS]
        for one in strangers:
            await _take_in(scope, there, one, id_at(case.places[one.sid]))
            counts["answers"] += 1
        answers = {one.sid for one in strangers} | {sid for sid, row in ours.items() if row["reason"] == RESTORED}
        await _judge(scope, case, there, contact, answers, counts)
    return counts


async def _conversation(scope: Scope, contact: _Contact) -> UUID | None:
    """The contact's conversation with the number: the open one, else the newest."""
    cursor = await scope.conn.execute(
        """
        SELECT v.id FROM conversations v JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        WHERE v.owner_id = %(owner)s AND v.number_id = %(number)s
          AND (c.identity_key = %(person)s OR c.external_id = %(person)s)
        ORDER BY v.status = 'closed', v.id DESC LIMIT 1
        """,
        {"owner": scope.owner_id, "number": contact.number_id, "person": contact.identity},
    )
    row = await cursor.fetchone()
    return None if row is None else row["id"]


async def _attributed(scope: Scope, sids: Sequence[str]) -> dict[str, Row]:
    """The parts that have these MessageSids, or had them before they were sent again."""
    cursor = await scope.conn.execute(
        """
        SELECT p.provider_sid AS sid, p.message_id, p.part, m.reason FROM message_parts p
        JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
        WHERE p.owner_id = %(owner)s AND p.provider_sid = ANY(%(sids)s)
        UNION ALL
        SELECT retired, p.message_id, p.part, m.reason FROM message_parts p
        CROSS JOIN LATERAL unnest(p.retired_sids) retired
        JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
        WHERE p.owner_id = %(owner)s AND p.retired_sids <> '{}' AND retired = ANY(%(sids)s)
        """,
        {"owner": scope.owner_id, "sids": list(sids)},
    )
    return {row["sid"]: row for row in await cursor.fetchall()}


async def _learn(scope: Scope, one: Listed, part: Mapping[str, Any], counts: Counter[str]) -> None:
    await aftermath.apply_status(
        scope,
        message_id=part["message_id"],
        part=part["part"],
        sid=one.sid,
        status=one.status,
        error_code=one.error_code,
    )
    counts["statuses"] += 1


async def _find_waiting(
    scope: Scope, desk: DeliverDesk, conversation_id: UUID, new: Sequence[Listed]
) -> dict[str, tuple[UUID, int]]:
    """Which of these, by MessageSid, are parts that wait to be sent here: in their order, and with the same words.

    What is more than text says what Twilio makes of it: a part like that is the next of its kind that is nobody else's.
    """
    waiting = await _waiting_parts(scope, desk, conversation_id) if new else []
    found: dict[str, tuple[UUID, int]] = {}
    for loosely in (False, True):
        for one in new:
            if one.sid in found:
                continue
            for place, part in enumerate(waiting):
                if _is(one, part[1], loosely=loosely):
                    found[one.sid] = part[0], part[1].part
                    del waiting[place]
                    break
    return found


def _is(one: Listed, part: parts.Part, *, loosely: bool) -> bool:
    is_file = part.content is not None and part.content["kind"] == "media"
    if is_file != (one.num_media > 0):
        return False
    if not loosely:
        return same(one.body, part.body) and (bool(one.body.strip()) or is_file)
    return part.content is not None or says_nothing(one.body)


async def _waiting_parts(scope: Scope, desk: DeliverDesk, conversation_id: UUID) -> list[tuple[UUID, parts.Part]]:
    cursor = await scope.conn.execute(
        """
        SELECT id, body, content FROM messages
        WHERE owner_id = %s AND conversation_id = %s AND direction = 'outbound' AND status IN ('queued', 'held')
        ORDER BY id
        """,
        [scope.owner_id, conversation_id],
    )
    found = []
    for message in await cursor.fetchall():
        try:
            planned = await dispatch.planned(scope, desk, message)
        except dispatch.Unsendable:
            continue
        found += [(message["id"], part) for part in planned if part.status == parts.WAITING]
    return found


async def _take_in(scope: Scope, conversation_id: UUID, one: Listed, message_id: UUID) -> None:
    """Store what was sent and is not known here, as it is listed, with its status. Nothing is enqueued for it."""
    await scope.conn.execute(
        """
        INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status,
                              correlation_id, received_at, reason)
        SELECT v.owner_id, %(id)s, v.id, n.account_id, 'outbound',
               CASE v.status WHEN 'handoff' THEN 'operator' ELSE 'assistant' END, 'text', %(body)s, 'queued', %(id)s,
               %(at)s, 'restored'
        FROM conversations v JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
        WHERE v.owner_id = %(owner)s AND v.id = %(conversation)s
        """,
        {
            "owner": scope.owner_id,
            "id": message_id,
            "conversation": conversation_id,
            "body": one.body,
            "at": one.created_at,
        },
    )
    await parts.plan(scope, message_id, [one.body])
    # A failure is told, and has no consequence: who sent it has seen to that.
    await parts.move_status(
        scope, message_id=message_id, part=1, sid=one.sid, status=one.status, error_code=one.error_code
    )
    await happened(
        scope,
        "deliver",
        "restored",
        conversation_id=conversation_id,
        message_id=message_id,
        correlation_id=message_id,
    )


_ASKED_HERE = """
SELECT m.id, m.provider_sid, m.received_at, m.status,
       m.status = 'held' AND m.body = '' AND NOT EXISTS (
           SELECT FROM media a WHERE a.owner_id = m.owner_id AND a.message_id = m.id) AS untold
FROM messages m
WHERE m.owner_id = %s AND m.conversation_id = %s AND m.direction = 'inbound'
  AND (m.status = 'received' OR m.status = 'held' AND m.held_for = 'restored') ORDER BY m.id
"""


async def _judge(
    scope: Scope,
    case: _Account,
    conversation_id: UUID,
    contact: _Contact,
    answers: set[str],
    counts: Counter[str],
) -> None:
    """Put each message that waits where it belongs: answered, to be answered, or for people."""
    rows = await (await scope.conn.execute(_ASKED_HERE, [scope.owner_id, conversation_id])).fetchall()
    if not rows:
        return
    by_sid = {row["provider_sid"]: row for row in rows}
    unlisted = [row for row in rows if row["provider_sid"] not in {one.sid for one in contact.listed}]
    listed = [_said(one, by_sid, answers) for one in contact.listed]
    older = [Said(what="asked", at=row["received_at"], id=row["id"]) for row in unlisted]
    said = _in_order(older, [one for one in listed if one is not None])
    verdicts = judge(said, long=case.tools.desk.split_chars // _SHARE)
    by_verdict: dict[str, list[UUID]] = defaultdict(list)
    for row in rows:
        # A place, a contact card: Twilio's list does not say what it was.
        verdict: Verdict = verdicts[row["id"]]
        verdict = "unsure" if row["untold"] and verdict == "waits" else verdict
        if not (verdict == "waits" and row["status"] == "received"):
            by_verdict[verdict].append(row["id"])
    await _answered(scope, by_verdict["answered"])
    await _wait(scope, by_verdict["waits"])
    if by_verdict["unsure"]:
        await scope.conn.execute(_UNSURE, [scope.owner_id, by_verdict["unsure"]])
        await conversations.ask_for_people(scope, conversation_id, why=RESTORED)
    for word, ids in by_verdict.items():
        counts[word] += len(ids)


def _said(one: Listed, asked: Mapping[str, Row], answers: set[str]) -> Said | None:
    if one.inbound:
        row = asked.get(one.sid)
        return None if row is None else Said(what="asked", at=one.created_at, id=row["id"])
    what = "answer" if one.sid in answers else "known"
    return Said(what=what, at=one.created_at, chars=len(one.body), has_file=one.num_media > 0)  # type: ignore[arg-type]


def _in_order(older: Iterable[Said], listed: Sequence[Said]) -> list[Said]:
    """What Twilio's list has, in its order, and what is from before it; of one second that goes first."""
    merged, rest = [], list(older)
    for one in listed:
        while rest and rest[0].at.replace(microsecond=0) <= one.at:
            merged.append(rest.pop(0))
        merged.append(one)
    return merged + rest


_UNSURE = """
UPDATE messages SET status = 'held', held_for = 'restored', awaits_media = false, starts = 0, begun_at = NULL
WHERE owner_id = %s AND id = ANY(%s)
"""
# What came with it is fetched all the same: people look at it, and no turn follows.
_ANSWERED = """
WITH answered AS (
    UPDATE messages SET status = 'answered', held_for = NULL, awaits_media = false, starts = 0, begun_at = NULL
    WHERE owner_id = %(owner)s AND id = ANY(%(ids)s)
    RETURNING owner_id, id, conversation_id, correlation_id, received_at, kind
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'answer', 'restored', conversation_id, id, correlation_id FROM answered
)
SELECT enqueue_media(owner_id, conversation_id, id, received_at, has_voice(owner_id, id, kind), id::text || ':restored')
FROM answered a WHERE EXISTS (
    SELECT FROM media WHERE media.owner_id = a.owner_id AND media.message_id = a.id AND media.status = 'waiting')
"""
_WAIT = """
WITH again AS (
    UPDATE messages m SET status = 'received', held_for = NULL, awaits_media = EXISTS (
        SELECT FROM media WHERE media.owner_id = m.owner_id AND media.message_id = m.id AND media.status = 'waiting')
    WHERE m.owner_id = %(owner)s AND m.id = ANY(%(ids)s)
    RETURNING m.owner_id, m.id, m.conversation_id, m.correlation_id, m.received_at, m.kind, m.awaits_media
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'accept', 'restored', conversation_id, id, correlation_id FROM again
)
SELECT CASE WHEN awaits_media
    THEN enqueue_media(owner_id, conversation_id, id, received_at, has_voice(owner_id, id, kind),
                       id::text || ':restored')
    ELSE enqueue_turn(owner_id, conversation_id, id, received_at, id::text || ':restored') END
FROM (SELECT * FROM again ORDER BY id) ordered
"""


async def _answered(scope: Scope, ids: Sequence[UUID]) -> None:
    if ids:
        await scope.conn.execute(_ANSWERED, {"owner": scope.owner_id, "ids": list(ids)})


async def _wait(scope: Scope, ids: Sequence[UUID]) -> None:
    if ids:
        await scope.conn.execute(_WAIT, {"owner": scope.owner_id, "ids": list(ids)})
