"""Templates of an owner's Twilio accounts as they were at the last sync, and the one that carries late replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.channels import port
from recado.db.scope import Scope
from recado.delivery import templates as rules
from recado.delivery.content import OUR_NAME, TemplateUse
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template; `status` is Twilio's word, and only `approved` ones are sent."""

    id: UUID
    account_id: UUID
    content_sid: str
    name: str
    language: str
    category: str | None
    status: str
    rejection_reason: str | None
    content_type: str
    body: str = field(repr=False)
    variables: list[str]
    synced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a sync found: how many templates there are, and how many are gone since the last.

    `mended` names those that held characters which no database keeps, with their fields: they are known without these.
    """

    known: int
    gone: int
    mended: tuple[str, ...] = ()


_COLUMNS = (
    "id, account_id, content_sid, name, language, category, status, rejection_reason, content_type, body, variables, "
    "synced_at"
)


async def sync(scope: Scope, account_id: UUID, found: Sequence[port.Template], *, now: datetime) -> Synced:
    """Make the account's templates those that Twilio has; the buttons and lists that we made there are none."""
    cursor = await scope.conn.execute(
        "SELECT content_sid FROM contents WHERE owner_id = %s AND account_id = %s", [scope.owner_id, account_id]
    )
    ours = {row["content_sid"] for row in await cursor.fetchall()}
    kept = [
        one
        for one in found
        if one.content_sid not in ours
        and not one.name.startswith(OUR_NAME)
        and rules.CONTENT_SID.fullmatch(one.content_sid)
    ]
    async with scope.conn.cursor() as many:
        await many.executemany(
            """
            INSERT INTO templates (owner_id, id, account_id, content_sid, name, language, category, status,
                                   rejection_reason, content_type, body, variables, synced_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (owner_id, account_id, content_sid) DO UPDATE SET
                name = excluded.name, language = excluded.language, category = excluded.category,
                status = excluded.status, rejection_reason = excluded.rejection_reason,
                content_type = excluded.content_type, body = excluded.body, variables = excluded.variables,
                synced_at = excluded.synced_at
            """,
            [
                (
                    scope.owner_id,
                    new_id(),
                    account_id,
                    one.content_sid,
                    one.name,
                    one.language,
                    one.category,
                    one.status,
                    one.rejection_reason,
                    one.content_type,
                    one.body,
                    list(rules.variables_of(one.types)),
                    now,
                )
                for one in kept
            ],
        )
    gone = await scope.conn.execute(
        "DELETE FROM templates WHERE owner_id = %s AND account_id = %s AND content_sid <> ALL(%s)",
        [scope.owner_id, account_id, [one.content_sid for one in kept]],
    )
    return Synced(
        known=len({one.content_sid for one in kept}),
        gone=gone.rowcount,
        mended=tuple(f"{one.content_sid}: {', '.join(one.mended)}" for one in kept if one.mended),
    )


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Template]:
    """The owner's templates after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM templates WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s",  # noqa: S608
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Template(**row) for row in await cursor.fetchall()]


async def approved(scope: Scope, account_id: UUID, *, limit: int = 100) -> list[Template]:
    """The account's approved templates by name and language; of two with the same, the one that came last is first."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM templates WHERE owner_id = %s AND account_id = %s AND status = %s "  # noqa: S608
        "ORDER BY name, language, id DESC LIMIT %s",
        [scope.owner_id, account_id, rules.APPROVED, limit],
    )
    return [Template(**row) for row in await cursor.fetchall()]


async def get(scope: Scope, account_id: UUID, content_sid: str) -> Template:
    """The account's template of that ContentSid. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM templates WHERE owner_id = %s AND account_id = %s AND content_sid = %s",  # noqa: S608
        [scope.owner_id, account_id, content_sid],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no template {content_sid}")
    return Template(**row)


async def use(
    scope: Scope, account_id: UUID, content_sid: str, variables: Mapping[str, str]
) -> tuple[TemplateUse, str]:
    """The template with these variables, ready to be sent, and what it then says.

    Raises UsageError for one that is not known and for variables that can't be sent, Conflict for one that is not
    approved.
    """
    try:
        found = await get(scope, account_id, content_sid)
    except NotFound:
        raise UsageError("the conversation's Twilio account has no such template: `recado templates sync`") from None
    if found.status != rules.APPROVED:
        raise Conflict(f"the template is {found.status}: only an approved one can be sent")
    rules.check(found.variables, variables, found.body)
    return TemplateUse(content_sid=content_sid, variables=variables), rules.render(found.body, variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """The template that carries a reply once the window is closed; texts may hold `{contact_name}` and `{text}`."""

    content_sid: str
    variables: dict[str, str] = field(repr=False)


async def fallback_for(scope: Scope, number_id: UUID) -> Fallback | None:
    """The fallback of the assistant that answers for the number, if its owner has chosen one."""
    cursor = await scope.conn.execute(
        "SELECT fallback_template AS chosen FROM assistant_of(%s, %s)",
        [scope.owner_id, number_id],
    )
    row = await cursor.fetchone()
    return Fallback(**row["chosen"]) if row is not None and row["chosen"] is not None else None


async def set_fallback(scope: Scope, assistant_id: UUID, fallback: Fallback | None) -> None:
    """Choose the template that carries the assistant's late replies, or none: then they are held.

    Raises UsageError for a template that none of the owner's accounts has, and where its variables don't fit.
    """
    if fallback is not None:
        cursor = await scope.conn.execute(
            "SELECT variables, body FROM templates WHERE owner_id = %s AND content_sid = %s ORDER BY id LIMIT 1",
            [scope.owner_id, fallback.content_sid],
        )
        row = await cursor.fetchone()
        if row is None:
            raise UsageError("no Twilio account of the owner has such a template: `recado templates sync`")
        rules.check_fallback(row["variables"], fallback.variables, row["body"])
    stored = None if fallback is None else {"content_sid": fallback.content_sid, "variables": fallback.variables}
    await scope.conn.execute(
        "UPDATE assistants SET fallback_template = %s, version = version + 1, updated_at = now() "
        "WHERE owner_id = %s AND id = %s",
        [None if stored is None else Jsonb(stored), scope.owner_id, assistant_id],
    )


async def made(scope: Scope, account_id: UUID, digest: bytes) -> str | None:
    """The ContentSid of buttons or a list that the account has already."""
    cursor = await scope.conn.execute(
        "SELECT content_sid FROM contents WHERE owner_id = %s AND account_id = %s AND hash = %s",
        [scope.owner_id, account_id, digest],
    )
    row = await cursor.fetchone()
    return str(row["content_sid"]) if row is not None else None


async def remember(scope: Scope, account_id: UUID, digest: bytes, content_sid: str) -> str:
    """Keep the ContentSid for the next time; of two that were made at once, all use the one that was kept first."""
    await scope.conn.execute(
        "INSERT INTO contents (owner_id, id, account_id, hash, content_sid) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (owner_id, account_id, hash) DO NOTHING",
        [scope.owner_id, new_id(), account_id, digest, content_sid],
    )
    return await made(scope, account_id, digest) or content_sid


async def forget(scope: Scope, account_id: UUID, content_sid: str) -> None:
    """The account no longer has this content, or Twilio does not take it any more."""
    await scope.conn.execute(
        "DELETE FROM contents WHERE owner_id = %s AND account_id = %s AND content_sid = %s",
        [scope.owner_id, account_id, content_sid],
    )
