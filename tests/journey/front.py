"""The webhooks' application over ASGI, with an owner whose account is that of Twilio's examples."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from recado import telemetry
from recado.app import create_app
from recado.channels.twilio.directory import Directory
from recado.channels.twilio.parse import parse_inbound
from recado.db.pool import Connection
from recado.journey.accept import accept
from recado.journey.accept.accept import Accepted, Arrival, arrival
from recado.settings import Settings
from recado.wiring import Wiring, wire
from tests import lending
from tests.channels.examples import EXAMPLES, inbound
from tests.conftest import SECRET_KEYS
from tests.product import INBOUND, establish

PUBLIC_URL = "https://hooks.example.com"
ACCOUNT_SID = "AC" + "0" * 32
TOKEN = EXAMPLES["token"]
NUMBER = "whatsapp:+14155238886"

Fields = Sequence[tuple[str, str]]


def signature_of(url: str, token: str, fields: Fields = ()) -> str:
    """What Twilio would send: by the official validator, not by ours."""
    return str(RequestValidator(token).compute_signature(url, MultiDict(fields)))


def message_sid() -> str:
    return "SM" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Front:
    """An application with an owner."""

    app: FastAPI
    wiring: Wiring
    owner_id: UUID
    database_url: str
    #: Connections that nobody uses at present.
    lanes: list[Connection] = field(default_factory=list)

    async def post(
        self,
        fields: Fields = (),
        *,
        path: str = INBOUND,
        token: str | None = TOKEN,
        url: str | None = None,
        content: Any = None,
        headers: dict[str, str] | None = None,
        client: str = "127.0.0.1",
        method: str = "POST",
    ) -> httpx2.Response:
        """Post a form as Twilio does, or `content` as it is; signed for `url`, or the public URL and path."""
        given = {"Content-Type": "application/x-www-form-urlencoded"}
        if token is not None:
            given["X-Twilio-Signature"] = signature_of(url or PUBLIC_URL + path, token, fields)
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False, client=(client, 40000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://internal:8080") as http:
            body = content if content is not None else str(httpx2.QueryParams(list(fields))).encode()
            return await http.request(method, path, content=body, headers=given | (headers or {}))

    async def arrival(
        self,
        body: str = "Oi",
        *,
        to: str = NUMBER,
        account_sid: str = ACCOUNT_SID,
        at: datetime | None = None,
        message_id: UUID | None = None,
        **changes: str | None,
    ) -> Arrival:
        """What `receive` makes of an authentic message."""
        directory = Directory(self.wiring.pool, self.wiring.keyring)
        account = await directory.account(account_sid)
        assert account is not None
        number = await directory.number(account, to)
        given = {"MessageSid": message_sid(), "AccountSid": account_sid, "To": to, "Body": body, **changes}
        made = arrival(
            account, number, parse_inbound(inbound("text", **given)), body, now=at or self.wiring.clock.now()
        )
        return made if message_id is None else replace(made, message_id=message_id)

    async def lane(self) -> Connection:
        """A connection as the acceptor's lanes have one."""
        conn = await self.wiring.connect()
        await accept.prepare(conn)
        return conn

    async def accept(self, *arrivals: Arrival) -> list[Accepted]:
        """Store the arrivals as one batch, in a lane that stays open for the next."""
        conn = self.lanes.pop() if self.lanes else await self.lane()
        try:
            return await accept.write(conn, arrivals)
        finally:
            self.lanes.append(conn)

    def work(self) -> list[dict[str, Any]]:
        """The workflows in the order in which their lane gives them out."""
        return self.rows(
            "SELECT w.workflow_uuid, w.name, w.queue_name, "
            "split_part(w.queue_partition_key, ':', 2) AS queue_partition_key, "
            "split_part(w.queue_partition_key, ':', 1) AS lane_owner, w.status, i.inputs "
            "FROM dbos.workflow_status w JOIN dbos.workflow_input i USING (workflow_uuid) "
            "ORDER BY w.priority, w.created_at, w.workflow_uuid"
        )

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the database, as its superuser sees them."""
        return lending.rows(self.database_url, query, *parameters)

    def stored(self) -> list[dict[str, Any]]:
        """The messages in the order of their ids."""
        return self.rows("SELECT * FROM messages ORDER BY id")


@asynccontextmanager
async def open_front(database_url: str, home: Path, *, found: bool = True, **settings: Any) -> AsyncIterator[Front]:
    """The application on that database; with `found`, its owner is made first."""
    telemetry.configure(format="json", level="DEBUG")
    values = {
        "home": home,
        "database_url": database_url,
        "secret_keys": SECRET_KEYS,
        "public_url": PUBLIC_URL,
        "twilio_api_url": "http://127.0.0.1:1",  # nobody is there: what would call Twilio hears so at once
        "limits": "off",  # the tests' contact says more in a minute than a person does
    }
    async with wire(Settings(**{**values, **settings}, _env_file=None), connections=4) as wiring:
        owner_id = await establish(wiring, ACCOUNT_SID, TOKEN, NUMBER) if found else UUID(int=0)
        app = create_app(wiring)
        async with app.router.lifespan_context(app):
            front = Front(app, wiring, owner_id, database_url)
            try:
                yield front
            finally:
                for lane in front.lanes:
                    await lane.close()
