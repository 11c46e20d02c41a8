"""Requests that act: in one transaction, and once for an `Idempotency-Key`.

The same key with the same request gets the same answer, status included, for a day; of two at once, one acts and the
other waits for its answer. Answers are stored sealed: one may show a secret that nobody can have again. They are rows
of the owner whom the request is about; of what a platform administrator asks about owners, rows without one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Header, Request, Response
from pydantic import BaseModel

from recado.api.shared.door import Person, Visit
from recado.api.shared.problems import Problem, of_error, respond
from recado.api.shared.versions import etag
from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.errors import SecretError
from recado.identity.kept_answers import KEPT, sealed_row
from recado.identity.users import Where, whose
from recado.ids import new_id

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Makes the request safe to repeat: for 24 hours the same key with the same request gets the same "
        "answer and nothing is done again. The same key with another request is 422.",
    ),
]


@dataclass(frozen=True, slots=True)
class Found:
    """What was there already: it is answered with 200 and without `Location`, whatever a new one is answered with."""

    shown: BaseModel


Done = BaseModel | Found
W = TypeVar("W", Scope, Connection)


async def once(
    request: Request,
    visit: Visit,
    key: str | None,
    work: Callable[[Scope], Awaitable[Done]],
    *,
    status: int,
    location: str | None = None,
    asked: bytes | None = None,
) -> Response:
    """Do `work` in one transaction and answer what it answers; with a key, once for that key.

    What has a version is answered with its ETag, and `location` with the id of what was made in its `{id}`. `asked`
    stands for the body where that was read already.
    """
    return await _once(request, visit, visit.scope(), key, work, (status, location), asked)


async def once_across(
    request: Request,
    who: Person,
    key: str | None,
    work: Callable[[Connection], Awaitable[Done]],
    *,
    status: int,
    location: str | None = None,
) -> Response:
    """Like `once`, for a platform administrator: `work` sees all owners' rows, and the kept answer is no owner's."""
    return await _once(request, who, who.across(), key, work, (status, location), None)


async def _once(
    request: Request,
    who: Visit | Person,
    transaction: AbstractAsyncContextManager[W],
    key: str | None,
    work: Callable[[W], Awaitable[Done]],
    answered: tuple[int, str | None],
    asked: bytes | None,
) -> Response:
    if key is None:
        async with transaction as where:
            return _answer(*answered, await work(where))
    body = await request.body() if asked is None else asked
    asked = "\n".join((request.method, request.url.path, request.url.query)).encode() + b"\n" + body
    async with transaction as where:
        entry = await _claim(where, who, key, asked)
        if isinstance(entry, Response):
            return entry
        try:
            # A savepoint: what a refused request had begun is undone, and the refusal is kept as its answer.
            async with whose(where)[0].transaction():
                response = _answer(*answered, await work(where))
        except Exception as error:
            problem = of_error(error)
            if problem is None:
                raise
            response = respond(problem)
        await _keep(where, who, entry, response)
    return response


async def _keep(where: Where, who: Visit | Person, entry: UUID, response: Response) -> None:
    """Keep the answer of an entry, sealed."""
    conn, owner_id = whose(where)
    answer = {
        "status": response.status_code,
        "headers": [[name, value] for name, value in response.headers.items() if name != "content-length"],
        "body": bytes(response.body).decode(),
    }
    sealed = who.wiring.keyring.seal(json.dumps(answer), owner_id=owner_id, row=sealed_row(entry))
    await conn.execute(
        "UPDATE idempotency_keys SET answer = %s WHERE owner_id IS NOT DISTINCT FROM %s AND id = %s",
        [sealed, owner_id, entry],
    )


async def _claim(where: Where, who: Visit | Person, key: str, asked: bytes) -> Response | UUID:
    """The id of a new entry for this key, or the answer that the request got before."""
    conn, owner_id = whose(where)
    entry, request_hash, now = new_id(), hashlib.sha256(asked).digest(), who.wiring.clock.now()
    await _forget_old(where, now)
    parameters = {
        "owner": owner_id,
        "id": entry,
        "caller": who.caller.id,
        "key": hashlib.sha256(key.encode()).digest(),
        "request": request_hash,
        "now": now,
    }
    # Waits for another request with this key to commit, and then finds its entry.
    made = await conn.execute(
        """
        INSERT INTO idempotency_keys (owner_id, id, caller_id, key_hash, request_hash, created_at)
        VALUES (%(owner)s, %(id)s, %(caller)s, %(key)s, %(request)s, %(now)s)
        ON CONFLICT (owner_id, caller_id, key_hash) DO NOTHING
        """,
        parameters,
    )
    if made.rowcount:
        return entry
    row = await (
        await conn.execute(
            """
            SELECT id, request_hash, answer FROM idempotency_keys
            WHERE owner_id IS NOT DISTINCT FROM %(owner)s AND caller_id = %(caller)s AND key_hash = %(key)s
            """,
            parameters,
        )
    ).fetchone()
    if row is None or row["answer"] is None:
        raise Problem(409, "the request with this Idempotency-Key is gone: use a new key")
    if row["request_hash"] != request_hash:
        raise Problem(422, "this Idempotency-Key was used for another request")
    return _kept(who, owner_id, row)


async def _forget_old(where: Where, now: datetime) -> None:
    conn, owner_id = whose(where)
    await conn.execute(
        """
        DELETE FROM idempotency_keys WHERE id IN (
            SELECT id FROM idempotency_keys WHERE owner_id IS NOT DISTINCT FROM %(owner)s AND created_at < %(old)s
            ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)
        """,
        {"owner": owner_id, "old": now - KEPT},
    )


def _kept(who: Visit | Person, owner_id: UUID | None, row: Mapping[str, Any]) -> Response:
    """The answer that an entry keeps. Raises Problem (409) where it can't be opened any more."""
    try:
        opened = who.wiring.keyring.open(row["answer"], owner_id=owner_id, row=sealed_row(row["id"]))
        answer = json.loads(opened)
    except SecretError:
        raise Problem(409, "the answer for this Idempotency-Key can't be read any more: use a new key") from None
    return Response(answer["body"], answer["status"], headers=dict(answer["headers"]))


def _answer(status: int, location: str | None, done: Done) -> Response:
    if isinstance(done, Found):
        status, location, done = 200, None, done.shown
    headers = {}
    if (version := getattr(done, "version", None)) is not None:
        headers["ETag"] = etag(version)
    if location is not None:
        headers["Location"] = location.format(id=getattr(done, "id", ""))
    return Response(done.model_dump_json(), status, headers=headers, media_type="application/json")
