"""People who were erased: what stays of them is a keyed hash, by which an opt-out of theirs is still heeded.

The key is the owner's, random, and sealed like every secret of the database: neither a copy of the database nor a list
of all telephone numbers tells whose hash it is. What they were known by is hashed, so the same person is found again
however their number is written (`channels/twilio/addresses`).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from secrets import token_hex
from uuid import UUID

from recado.conversations.conversations import Conversation
from recado.db.scope import Scope
from recado.db.secrets import Keyring

#: How a conversation is looked at before anything is said in it: `recall`, or `as_it_is`.
Recall = Callable[[Scope, Conversation], Awaitable[Conversation]]


async def as_it_is(_scope: Scope, conversation: Conversation) -> Conversation:
    """The conversation itself."""
    return conversation


def key_row(owner_id: UUID) -> str:
    """What an owner's sealed key is bound to."""
    return f"erasure_keys/{owner_id}/sealed"


async def ensure_key(scope: Scope, keyring: Keyring) -> bytes:
    """The owner's key, made when there is none. Raises SecretError when no present key opens it."""
    while (found := await key_of(scope, keyring)) is None:
        owner_id = scope.owner_id
        await put_key(scope, keyring.seal(token_hex(32), owner_id=owner_id, row=key_row(owner_id)))
    return found


async def put_key(scope: Scope, sealed: bytes) -> None:
    """Make this the owner's key, if there is none."""
    await scope.conn.execute(
        "INSERT INTO erasure_keys (owner_id, id, sealed) VALUES (%s, %s, %s) ON CONFLICT (owner_id, id) DO NOTHING",
        [scope.owner_id, scope.owner_id, sealed],
    )


async def key_of(scope: Scope, keyring: Keyring) -> bytes | None:
    """The owner's key, None where nobody was erased yet."""
    cursor = await scope.conn.execute(
        "SELECT sealed FROM erasure_keys WHERE owner_id = %s AND id = %s", [scope.owner_id, scope.owner_id]
    )
    row = await cursor.fetchone()
    return None if row is None else opened(keyring, scope.owner_id, row["sealed"])


def opened(keyring: Keyring, owner_id: UUID, sealed: bytes) -> bytes:
    """The key that is sealed there. Raises SecretError."""
    return bytes.fromhex(keyring.open(sealed, owner_id=owner_id, row=key_row(owner_id)))


def digest(key: bytes, identity: str) -> bytes:
    """The keyed hash (HMAC-SHA-256) of what a person is known by."""
    return hmac.digest(key, identity.encode(), "sha256")


async def keep_suppressions(scope: Scope, identities: Iterable[str], hashes: Iterable[bytes]) -> str | None:
    """What these people's opt-outs become: hashes. Answers why they opted out, None where nobody had."""
    known = list(identities)
    cursor = await scope.conn.execute(
        "DELETE FROM suppressions WHERE owner_id = %s AND identity_key = ANY(%s) RETURNING reason, created_at",
        [scope.owner_id, known],
    )
    rows = sorted(await cursor.fetchall(), key=lambda row: (row["reason"] == "people", row["created_at"]))
    if not rows:
        return None
    await keep(scope, hashes, reason=rows[0]["reason"])
    reason: str = rows[0]["reason"]
    return reason


async def keep(scope: Scope, hashes: Iterable[bytes], *, reason: str) -> None:
    """Whoever these hashes are of wants no messages."""
    await scope.conn.execute(
        """
        INSERT INTO erased_suppressions (owner_id, identity_hash, reason)
        SELECT %s, hash, %s FROM unnest(%s::bytea[]) hash ON CONFLICT DO NOTHING
        """,
        [scope.owner_id, reason, list(hashes)],
    )


async def recall(keyring: Keyring, scope: Scope, conversation: Conversation) -> Conversation:
    """The conversation, its contact suppressed if they are somebody who was erased after they had opted out.

    The suppression is then theirs as of anybody else, and the hash goes. Who has opted in since is as anybody else.
    """
    if not conversation.recall or conversation.suppressed or (key := await key_of(scope, keyring)) is None:
        return conversation
    cursor = await scope.conn.execute(
        "SELECT identity_key, external_id, opted_in_at FROM contacts WHERE owner_id = %s AND id = %s",
        [scope.owner_id, conversation.contact_id],
    )
    contact = await cursor.fetchone()
    if contact is None:
        return conversation
    hashes = [digest(key, known) for known in (contact["identity_key"], contact["external_id"]) if known]
    cursor = await scope.conn.execute(
        "DELETE FROM erased_suppressions WHERE owner_id = %s AND identity_hash = ANY(%s) RETURNING reason",
        [scope.owner_id, hashes],
    )
    gone = await cursor.fetchall()
    if not gone or contact["opted_in_at"] is not None:
        return conversation
    await scope.conn.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason, created_at) "
        "VALUES (%s, %s, %s, clock_timestamp()) ON CONFLICT (owner_id, identity_key) DO NOTHING",
        [scope.owner_id, contact["identity_key"], gone[0]["reason"]],
    )
    return replace(conversation, suppressed=True)
