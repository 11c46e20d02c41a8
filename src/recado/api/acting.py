"""Requests that act: in one transaction, once for an `Idempotency-Key`, and only on the version that was read.

The same key with the same request gets the same answer, status included, for a day; of two at once, one acts and the
other waits for its answer. Answers are stored sealed: one may show a secret that nobody can have again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Request, Response
from pydantic import BaseModel

from recado.api.door import Visit
from recado.api.problems import Problem, of_error, respond
from recado.db.scope import Scope
from recado.errors import SecretError
from recado.identity.kept_answers import KEPT
from recado.ids import new_id

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Makes the request safe to repeat: for 24 hours the same key with the same request gets the same "
        "answer and nothing is done again. The same key with another request is 422.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(pattern=r'^"[0-9]{1,9}"$', description="The `ETag` of the version that you read; 412 if there is a newer."),
]

Work = Callable[[Scope], Awaitable[BaseModel]]


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def demand(if_match: str | None) -> str:
    """The version that a change is meant for. Raises Problem (428) where the caller does not say which."""
    if if_match is None:
        raise Problem(428, "a change needs the header If-Match, with the ETag of what you read")
    return if_match


def check_version(if_match: str | None, version: int) -> None:
    """Raise Problem (412) when the caller read another version than this one."""
    if if_match is not None and if_match != etag(version):
        raise Problem(412, "somebody changed it since you read it: read it again", headers={"ETag": etag(version)})


async def once(
    request: Request,
    visit: Visit,
    key: str | None,
    work: Work,
    *,
    status: int,
    location: str | None = None,
    asked: bytes | None = None,
) -> Response:
    """Do `work` in one transaction and answer what it answers; with a key, once for that key.

    What has a version is answered with its ETag, and `location` with the id of what was made in its `{id}`. `asked`
    stands for the body where that was read already.
    """
    if key is None:
        async with visit.scope() as scope:
            return _answer(status, await work(scope), location)
    body = await request.body() if asked is None else asked
    asked = "\n".join((request.method, request.url.path, request.url.query)).encode() + b"\n" + body
    async with visit.scope() as scope:
        entry = await _claim(scope, visit, key, asked)
        if isinstance(entry, Response):
            return entry
        try:
            # A savepoint: what a refused request had begun is undone, and the refusal is kept as its answer.
            async with scope.conn.transaction():
                response = _answer(status, await work(scope), location)
        except Exception as error:
            problem = of_error(error)
            if problem is None:
                raise
            response = respond(problem)
        answer = {
            "status": response.status_code,
            "headers": [[name, value] for name, value in response.headers.items() if name != "content-length"],
            "body": bytes(response.body).decode(),
        }
        sealed = visit.wiring.keyring.seal(json.dumps(answer), owner_id=scope.owner_id, row=_row(entry))
        await scope.conn.execute(
            "UPDATE idempotency_keys SET answer = %s WHERE owner_id = %s AND id = %s",
            [sealed, scope.owner_id, entry],
        )
    return response


async def _claim(scope: Scope, visit: Visit, key: str, asked: bytes) -> Response | object:
    """The id of a new entry for this key, or the answer that the request got before."""
    parameters = {
        "owner": scope.owner_id,
        "id": new_id(),
        "caller": visit.caller.id,
        "key": hashlib.sha256(key.encode()).digest(),
        "request": hashlib.sha256(asked).digest(),
        "now": visit.wiring.clock.now(),
        "old": visit.wiring.clock.now() - KEPT,
    }
    await scope.conn.execute(
        """
        DELETE FROM idempotency_keys WHERE owner_id = %(owner)s AND id IN (
            SELECT id FROM idempotency_keys WHERE owner_id = %(owner)s AND created_at < %(old)s
            ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)
        """,
        parameters,
    )
    # Waits for another request with this key to commit, and then finds its entry.
    made = await scope.conn.execute(
        """
        INSERT INTO idempotency_keys (owner_id, id, caller_id, key_hash, request_hash, created_at)
        VALUES (%(owner)s, %(id)s, %(caller)s, %(key)s, %(request)s, %(now)s)
        ON CONFLICT (owner_id, caller_id, key_hash) DO NOTHING
        """,
        parameters,
    )
    if made.rowcount:
        return parameters["id"]
    row = await (
        await scope.conn.execute(
            """
            SELECT id, request_hash, answer FROM idempotency_keys
            WHERE owner_id = %(owner)s AND caller_id = %(caller)s AND key_hash = %(key)s
            """,
            parameters,
        )
    ).fetchone()
    if row is None or row["answer"] is None:
        raise Problem(409, "the request with this Idempotency-Key is gone: use a new key")
    if row["request_hash"] != parameters["request"]:
        raise Problem(422, "this Idempotency-Key was used for another request")
    try:
        opened = visit.wiring.keyring.open(row["answer"], owner_id=scope.owner_id, row=_row(row["id"]))
        answer = json.loads(opened)
    except SecretError:
        raise Problem(409, "the answer for this Idempotency-Key can't be read any more: use a new key") from None
    return Response(answer["body"], answer["status"], headers=dict(answer["headers"]))


def _row(entry: object) -> str:
    return f"idempotency_keys/{entry}/answer"


def _answer(status: int, shown: BaseModel, location: str | None) -> Response:
    headers = {}
    if (version := getattr(shown, "version", None)) is not None:
        headers["ETag"] = etag(version)
    if location is not None:
        headers["Location"] = location.format(id=getattr(shown, "id", ""))
    return Response(shown.model_dump_json(), status, headers=headers, media_type="application/json")
