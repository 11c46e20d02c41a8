"""One real row for every table that holds an owner's rows: a new table gets its entry here, or the walk fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

Row = dict[str, Any]
Conn = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner, and the one row that it has in each table."""

    id: UUID
    rows: dict[str, Row] = field(default_factory=dict)

    def of(self, table: str) -> UUID:
        """The id of the owner's row in that table."""
        found: UUID = self.rows[table]["id"]
        return found

    def fresh(self, table: str) -> Row:
        """Another row of the owner's, as it would be accepted; nothing of it is stored yet."""
        return {"owner_id": self.id, **ROWS[table](self)} if table != "owners" else self.rows[table]


def insert(conn: Conn, table: str, row: Row) -> int:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    return conn.execute(statement, list(row.values())).rowcount


def settle(conn: Conn) -> Tenant:
    """A new owner with one row in every table; the connection sees all rows."""
    tenant = Tenant(uuid4())
    tenant.rows["owners"] = {"id": tenant.id, "name": str(tenant.id)}
    insert(conn, "owners", tenant.rows["owners"])
    for table in ROWS:
        if table != "owners":
            tenant.rows[table] = tenant.fresh(table)
            insert(conn, table, tenant.rows[table])
    return tenant


def _digest() -> bytes:
    return hashlib.sha256(uuid4().bytes).digest()


def _moment() -> datetime:
    return datetime.now(UTC)


def _sid(prefix: str) -> str:
    return prefix + uuid4().hex


def _message(t: Tenant) -> Row:
    return {
        "id": uuid4(),
        "conversation_id": t.of("conversations"),
        "account_id": t.of("twilio_accounts"),
        "direction": "inbound",
        "author": "contact",
        "body": "oi",
        "status": "answered",
        "provider_sid": _sid("SM"),
        "correlation_id": uuid4(),
        "received_at": "2026-03-01",
    }


#: In the order of their references. An id that no table gives is the row's own.
ROWS: dict[str, Callable[[Tenant], Row]] = {
    "owners": lambda t: {"id": uuid4(), "name": str(uuid4())},
    "assistants": lambda t: {"id": uuid4(), "name": str(uuid4())},
    "knowledge": lambda t: {
        "id": uuid4(),
        "source": str(uuid4()),
        "ordinal": 1,
        "title": "t",
        "content": "c",
        "search": "",
    },
    "knowledge_words": lambda t: {"lexeme": uuid4().hex, "slot": 0, "entries": 1},
    "knowledge_places": lambda t: {"lexeme": uuid4().hex, "in_content": True, "entry_id": t.of("knowledge")},
    "twilio_accounts": lambda t: {"id": uuid4(), "account_sid": _sid("AC"), "auth_token": b"sealed"},
    "numbers": lambda t: {
        "id": uuid4(),
        "account_id": t.of("twilio_accounts"),
        "address": str(uuid4()),
        "assistant_id": t.of("assistants"),
    },
    "quarantine": lambda t: {"account_id": t.of("twilio_accounts"), "since": "2026-03-01", "restored_at": _moment()},
    "contents": lambda t: {
        "id": uuid4(),
        "account_id": t.of("twilio_accounts"),
        "hash": _digest(),
        "content_sid": _sid("HX"),
    },
    "templates": lambda t: {
        "id": uuid4(),
        "account_id": t.of("twilio_accounts"),
        "content_sid": _sid("HX"),
        "name": "t",
        "language": "pt",
        "status": "approved",
        "content_type": "twilio/text",
        "body": "oi",
        "variables": [],
        "synced_at": "2026-03-01",
    },
    "contacts": lambda t: {"id": uuid4(), "identity_key": str(uuid4()), "address": "whatsapp:+5511900000000"},
    "suppressions": lambda t: {"identity_key": str(uuid4()), "reason": "stop"},
    "consent_words": lambda t: {"id": uuid4(), "word": str(uuid4()), "action": "stop"},
    "conversations": lambda t: {
        "id": uuid4(),
        "number_id": t.of("numbers"),
        "contact_id": t.of("contacts"),
        "status": "closed",
        "last_inbound_at": "2026-03-01",
    },
    "turns": lambda t: {
        "id": uuid4(),
        "conversation_id": t.of("conversations"),
        "correlation_id": uuid4(),
        "outcome": "keyless",
        "started_at": "2026-03-01",
        "finished_at": "2026-03-01",
    },
    "messages": _message,
    "message_parts": lambda t: {
        "message_id": t.of("messages"),
        "part": 1 if "message_parts" not in t.rows else 2,
        "body": "oi",
    },
    "delivery_attempts": lambda t: {
        "id": uuid4(),
        "message_id": t.of("messages"),
        "part": 1,
        "outcome": "taken",
        "started_at": "2026-03-01",
    },
    "events": lambda t: {"step": "accept", "what": "received", "message_id": t.of("messages")},
    "media": lambda t: {"id": uuid4(), "message_id": t.of("messages"), "announced_type": "image/png"},
    "users": lambda t: {
        "id": uuid4(),
        "email": f"{uuid4()}@example.com",
        "role": "viewer",
        "password_hash": "x",
        "password_changed_at": "2026-03-01",
    },
    "sessions": lambda t: {
        "id": uuid4(),
        "user_id": t.of("users"),
        "token_hash": _digest(),
        "created_at": "2026-03-01",
        "last_seen_at": "2026-03-01",
    },
    "known_browsers": lambda t: {
        "id": uuid4(),
        "user_id": t.of("users"),
        "token_hash": _digest(),
        "last_used_at": "2026-03-01",
    },
    "invitations": lambda t: {
        "id": uuid4(),
        "email": f"{uuid4()}@example.com",
        "role": "viewer",
        "token_hash": _digest(),
        "created_at": "2026-03-01",
        "expires_at": "2026-03-01",
    },
    "api_keys": lambda t: {
        "id": uuid4(),
        "name": "x",
        "hint": "rk_x",
        "key_hash": _digest(),
        "scopes": ["read"],
    },
    "audit": lambda t: {
        "caller_kind": "cli",
        "caller_name": "x",
        "action": "add",
        "thing": "number",
        "data": Jsonb({}),
    },
    "idempotency_keys": lambda t: {
        "id": uuid4(),
        "caller_id": uuid4(),
        "key_hash": _digest(),
        "request_hash": _digest(),
    },
    "webhooks": lambda t: {"id": uuid4(), "url": "https://x.example/", "secret": b"sealed", "reached": 0},
    "webhook_waiting": lambda t: {
        "webhook_id": t.of("webhooks"),
        "event_id": 1 if "webhook_waiting" not in t.rows else 2,
        "lane": uuid4(),
        "next_at": "2026-03-01",
    },
    "webhook_attempts": lambda t: {
        "id": uuid4(),
        "webhook_id": t.of("webhooks"),
        "type": "confirm.read",
        "duration_ms": 1,
        "outcome": "delivered",
    },
    "erasure_keys": lambda t: {"id": uuid4(), "sealed": b"sealed"},
    "erased_suppressions": lambda t: {"identity_hash": _digest(), "reason": "word"},
    "erasures": lambda t: {
        "id": uuid4(),
        "contact_ids": [uuid4()],
        "identity_hashes": [_digest()],
        "status": "done",
        "requested_at": "2026-03-01",
        "look_again_at": "2026-03-01",
    },
    "erasure_items": lambda t: {
        "id": uuid4(),
        "erasure_id": t.of("erasures"),
        "account_id": t.of("twilio_accounts"),
        "kind": "message",
        "what": _sid("SM"),
        "look_again_at": "2026-03-01",
    },
    "retention": lambda t: {"what": "messages" if "retention" not in t.rows else "media", "days": 30},
    "usage": lambda t: {
        "period": "2026-03-01" if "usage" not in t.rows else "2026-04-01",
        "metric": "messages",
        "amount": 1,
    },
}
