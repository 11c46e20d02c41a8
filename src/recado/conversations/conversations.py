"""Conversations: one thread between a contact and a number, from opening to closing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from recado.conversations.happenings import happened
from recado.conversations.states import Action, State, after
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound
from recado.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation with whom it is held, and between which addresses.

    To a contact who is `suppressed` nothing is sent but the message `confirmation_id`, which confirms it to them; to
    one who is being erased nothing at all. `recall` says that the owner has opt-outs of people who were erased.
    """

    id: UUID
    status: str
    number_id: UUID
    account_id: UUID
    number_address: str = field(repr=False)
    messaging_service_sid: str | None
    contact_address: str = field(repr=False)
    contact_name: str | None = field(repr=False)
    contact_language: str | None
    contact_language_why: str | None
    contact_id: UUID
    identity_key: str = field(repr=False)
    last_inbound_at: datetime | None
    owner_status: str
    public_url: str | None
    suppressed: bool
    confirmation_id: UUID | None
    budget_told: date | None
    recall: bool = False


_GET = """
SELECT v.id, v.status, v.number_id, n.account_id, n.address AS number_address, n.messaging_service_sid,
       c.address AS contact_address,
       c.profile_name AS contact_name, c.language AS contact_language,
       c.language_why AS contact_language_why, c.id AS contact_id, c.identity_key, v.last_inbound_at,
       o.status AS owner_status, a.public_url, v.budget_told,
       s.identity_key IS NOT NULL OR c.erasure_id IS NOT NULL AS suppressed, s.confirmation_id,
       EXISTS (SELECT FROM erased_suppressions e WHERE e.owner_id = v.owner_id) AS recall
FROM conversations v
JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
JOIN owners o ON o.id = v.owner_id
LEFT JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
WHERE v.owner_id = %s AND v.id = %s
"""
_LOCK = "SELECT FROM conversations WHERE owner_id = %s AND id = %s FOR UPDATE"


async def get(scope: Scope, conversation_id: UUID, *, lock: bool = False) -> Conversation:
    """The conversation; with `lock`, no message is accepted into it and no other turn ends before the commit."""
    if lock:
        # By itself: a statement that had to wait would join the contact who the conversation's was before.
        async with scope.conn.pipeline():
            await scope.conn.execute(_LOCK, [scope.owner_id, conversation_id])
            cursor = await scope.conn.execute(_GET, [scope.owner_id, conversation_id])
    else:
        cursor = await scope.conn.execute(_GET, [scope.owner_id, conversation_id])
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"conversation {conversation_id}")
    return Conversation(**row)


async def ask_for_people(scope: Scope, conversation_id: UUID, *, why: str) -> None:
    """Mark the conversation as one that people should look at; the assistant stays in it."""
    await scope.conn.execute(
        "UPDATE conversations SET attention = coalesce(attention, %s), version = version + 1 "
        "WHERE owner_id = %s AND id = %s",
        [why, scope.owner_id, conversation_id],
    )


async def leave_to_people(scope: Scope, conversation_id: UUID, *, now: datetime) -> None:
    """Give the conversation to people, who have not taken it yet, because it goes in circles; it is counted anew."""
    await scope.conn.execute(
        "UPDATE conversations SET status = 'handoff', circled_at = %s, version = version + 1 "
        "WHERE owner_id = %s AND id = %s AND status = 'open'",
        [now, scope.owner_id, conversation_id],
    )


async def tell_of_budget(scope: Scope, conversation_id: UUID, *, period: date) -> None:
    """Remember that the contact was told in this period that only people answer."""
    await scope.conn.execute(
        "UPDATE conversations SET budget_told = %s WHERE owner_id = %s AND id = %s",
        [period, scope.owner_id, conversation_id],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A conversation as it is shown; `version` grows with every change of its state."""

    id: UUID
    number_id: UUID
    contact_id: UUID
    status: State
    assignee_id: UUID | None
    attention: str | None
    close_reason: str | None
    last_inbound_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    version: int


_LISTED = """
    id, number_id, contact_id, status, assignee AS assignee_id, attention, close_reason, last_inbound_at, opened_at,
    closed_at, version
"""


async def page(
    scope: Scope,
    *,
    status: State | None = None,
    contact_id: UUID | None = None,
    assignee_id: UUID | None = None,
    before: UUID | None,
    limit: int,
) -> list[Listed]:
    """The owner's conversations before that id, newest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"""
        SELECT {_LISTED} FROM conversations
        WHERE owner_id = %(owner)s AND id < %(before)s
          AND (%(status)s::text IS NULL OR status = %(status)s)
          AND (%(contact)s::uuid IS NULL OR contact_id = %(contact)s)
          AND (%(assignee)s::uuid IS NULL OR assignee = %(assignee)s)
        ORDER BY id DESC LIMIT %(limit)s
        """,  # noqa: S608 - the columns are a constant
        {
            "owner": scope.owner_id,
            "before": before or UUID(int=2**128 - 1),
            "status": status,
            "contact": contact_id,
            "assignee": assignee_id,
            "limit": limit + 1,
        },
    )
    return [Listed(**row) for row in await cursor.fetchall()]


async def listed(scope: Scope, conversation_id: UUID, *, lock: bool = False) -> Listed:
    """The conversation as it is shown; with `lock`, nobody else changes it before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM conversations WHERE owner_id = %s AND id = %s"  # noqa: S608 - the columns are a constant
        + (" FOR UPDATE" if lock else ""),
        [scope.owner_id, conversation_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no conversation {conversation_id}")
    return Listed(**row)


async def with_contact(scope: Scope, *, number_id: UUID, contact_id: UUID) -> Listed:
    """The contact's conversation with that number that is not closed, or a new one, locked until the commit.

    A new one has the window that the contact's last message to that number opened, in whichever conversation it was.
    """
    # Changes nothing where there is one: it locks that, and waits for one that somebody is opening just now.
    cursor = await scope.conn.execute(
        f"""
        INSERT INTO conversations AS v (owner_id, id, number_id, contact_id, last_inbound_at)
        VALUES (%(owner)s, %(id)s, %(number)s, %(contact)s, (
            SELECT max(last_inbound_at) FROM conversations
            WHERE owner_id = %(owner)s AND contact_id = %(contact)s AND number_id = %(number)s))
        ON CONFLICT (owner_id, number_id, contact_id) WHERE status <> 'closed'
        DO UPDATE SET last_inbound_at = v.last_inbound_at
        RETURNING {_LISTED}
        """,  # noqa: S608 - the columns are a constant
        {"owner": scope.owner_id, "id": new_id(), "number": number_id, "contact": contact_id},
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it was inserted or found
    return Listed(**row)


async def change_state(
    scope: Scope, found: Listed, action: Action, *, reason: str | None, by: UUID | None = None, now: datetime
) -> Listed:
    """Take the conversation, give it back or close it, and record the event; `found` was read with `lock`.

    What asked for people is settled by any of the three. The user `by` who takes it is its assignee, and nobody is once
    it is given back. Raises Conflict where the action makes no sense.
    """
    status = after(found.status, action)
    cursor = await scope.conn.execute(
        f"""
        UPDATE conversations
        SET status = %(status)s, version = version + 1, attention = NULL, assignee = %(assignee)s,
            close_reason = CASE WHEN %(status)s = 'closed' THEN %(reason)s END,
            closed_at = CASE WHEN %(status)s = 'closed' THEN %(now)s::timestamptz END
        WHERE owner_id = %(owner)s AND id = %(id)s RETURNING {_LISTED}
        """,  # noqa: S608 - the columns are a constant
        {
            "owner": scope.owner_id,
            "id": found.id,
            "status": status,
            "assignee": {"take": by or found.assignee_id, "give_back": None, "close": found.assignee_id}[action],
            "reason": reason,
            "now": now,
        },
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it is locked
    what = {"take": "taken", "give_back": "given_back", "close": "closed"}[action]
    await happened(scope, "answer", what, conversation_id=found.id)
    return Listed(**row)


async def assign(scope: Scope, found: Listed, *, assignee_id: UUID | None) -> Listed:
    """Make a user of the owner the one who sees to the conversation, None nobody; `found` was read with `lock`.

    Records the event, unless they were that already. Raises Conflict when it is closed.
    """
    if found.status == "closed":
        raise Conflict("the conversation is closed: it can't be assigned")
    if found.assignee_id == assignee_id:
        return found
    cursor = await scope.conn.execute(
        f"UPDATE conversations SET assignee = %s, version = version + 1 "  # noqa: S608 - the columns are a constant
        f"WHERE owner_id = %s AND id = %s RETURNING {_LISTED}",
        [assignee_id, scope.owner_id, found.id],
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it is locked
    if assignee_id is None:
        await happened(scope, "answer", "unassigned", conversation_id=found.id)
    else:
        await happened(scope, "answer", "assigned", conversation_id=found.id, assignee_id=str(assignee_id))
    return Listed(**row)
