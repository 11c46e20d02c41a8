"""Rows as the journey leaves them, for commands to find."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from recado.db.secrets import keyring
from recado.ids import new_id
from tests.conftest import SECRET_KEYS

ACCOUNT_SID = "AC" + "a" * 32
NUMBER = "whatsapp:+14155238886"
CONTACT = "whatsapp:+5511987654321"
TOKEN = "a-token-of-the-tests"
ARRIVED = datetime.now(UTC).replace(microsecond=123000) - timedelta(minutes=10)


def new_sid() -> str:
    return "SM" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """An owner's rows, and ways to add to them."""

    conn: psycopg.Connection[tuple[Any, ...]]
    owner: UUID
    account: UUID
    number: UUID
    conversation: UUID

    @classmethod
    def with_an_owner(cls, conn: psycopg.Connection[tuple[Any, ...]]) -> Rows:
        owner, account, number, contact, conversation = (new_id() for _ in range(5))
        conn.execute("INSERT INTO owners (id, name) VALUES (%s, 'Padaria Central')", [owner])
        sealed = keyring([SECRET_KEYS]).seal(TOKEN, owner_id=owner, row=f"twilio_accounts/{account}/auth_token")
        conn.execute(
            "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token, proven_at) "
            "VALUES (%s, %s, %s, %s, now())",
            [owner, account, ACCOUNT_SID, sealed],
        )
        conn.execute(
            "INSERT INTO numbers (owner_id, id, account_id, address) VALUES (%s, %s, %s, %s)",
            [owner, number, account, NUMBER],
        )
        conn.execute(
            "INSERT INTO contacts (owner_id, id, identity_key, address, profile_name) VALUES (%s, %s, %s, %s, 'Ana')",
            [owner, contact, CONTACT, CONTACT],
        )
        conn.execute(
            "INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at) "
            "VALUES (%s, %s, %s, %s, now())",
            [owner, conversation, number, contact],
        )
        return cls(conn=conn, owner=owner, account=account, number=number, conversation=conversation)

    def inbound(
        self,
        *,
        status: str = "answered",
        held_for: str | None = None,
        turn: UUID | None = None,
        body: str = "Que horas abre?",
    ) -> UUID:
        message = new_id()
        self.conn.execute(
            "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
            "held_for, provider_sid, correlation_id, turn_id, received_at) "
            "VALUES (%s, %s, %s, %s, 'inbound', 'contact', %s, %s, %s, %s, %s, %s, %s)",
            [
                *(self.owner, message, self.conversation, self.account, body),
                *(status, held_for, new_sid(), message, turn, ARRIVED),
            ],
        )
        return message

    def outbound(
        self,
        *,
        status: str,
        parts: Sequence[tuple[str, str | None]],
        error_code: int | None = None,
        held_for: str | None = None,
        answers: UUID | None = None,
        turn: UUID | None = None,
    ) -> UUID:
        """A message in parts, each a status and a MessageSid; as many characters as its parts have."""
        message = new_id()
        self.conn.execute(
            "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
            "held_for, error_code, correlation_id, reply_to, turn_id, received_at) "
            "VALUES (%s, %s, %s, %s, 'outbound', 'assistant', %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                *(self.owner, message, self.conversation, self.account, "Abrimos às sete."),
                *(status, held_for, error_code, answers or message, answers, turn, ARRIVED + timedelta(seconds=2)),
            ],
        )
        for index, (part_status, sid) in enumerate(parts, start=1):
            self.conn.execute(
                "INSERT INTO message_parts (owner_id, message_id, part, body, status, provider_sid, error_code, "
                "taken_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    *(self.owner, message, index, f"{index}", part_status, sid),
                    *(error_code if part_status in ("failed", "canceled") else None, ARRIVED if sid else None),
                ],
            )
        return message

    def turn(self, turn: UUID, *, outcome: str = "keyless") -> None:
        self.conn.execute(
            "INSERT INTO turns (owner_id, id, conversation_id, correlation_id, outcome, started_at, finished_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                *(self.owner, turn, self.conversation, turn, outcome),
                *(ARRIVED + timedelta(milliseconds=1200), ARRIVED + timedelta(milliseconds=1300)),
            ],
        )

    def event(self, message: UUID, step: str, what: str, after_ms: int, correlation: UUID, **data: object) -> None:
        self.conn.execute(
            "INSERT INTO events (owner_id, at, step, what, conversation_id, message_id, correlation_id, data) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                *(self.owner, ARRIVED + timedelta(milliseconds=after_ms), step, what),
                *(self.conversation, message, correlation, Jsonb(data)),
            ],
        )

    def attempt(self, message: UUID, part: int, outcome: str, after_ms: int) -> None:
        started = ARRIVED + timedelta(milliseconds=after_ms)
        self.conn.execute(
            "INSERT INTO delivery_attempts (owner_id, id, message_id, part, outcome, started_at, finished_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [self.owner, new_id(), message, part, outcome, started, started + timedelta(milliseconds=20)],
        )

    def parts(self, message: UUID) -> list[tuple[Any, ...]]:
        """Status and MessageSid of the message's parts."""
        return self.conn.execute(
            "SELECT status, provider_sid FROM message_parts WHERE message_id = %s ORDER BY part", [message]
        ).fetchall()

    def status(self, message: UUID) -> str:
        return str(self.value("SELECT status FROM messages WHERE id = %s", message))

    def work(self, message: UUID) -> list[str]:
        """The ids of the workflows that were enqueued for the message."""
        found = self.conn.execute(
            "SELECT workflow_uuid FROM dbos.workflow_status WHERE starts_with(workflow_uuid, %s) ORDER BY 1",
            [str(message)],
        )
        return [row[0] for row in found.fetchall()]

    def value(self, query: str, *parameters: object) -> object:
        row = self.conn.execute(query, parameters).fetchone()
        return row[0] if row else None
