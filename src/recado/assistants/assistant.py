"""Assistants: the settings that answer for a number. Every owner has a default one, made on first need."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from recado.db.pool import Row
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id
from recado.text import is_blank

DEFAULT_NAME = "default"
#: The form of a model's name; whether there is such a one only a worker can tell, with the provider's package and key.
MODEL = re.compile(r"[a-z0-9][a-z0-9_-]*:[^\s\x00-\x1f\x7f]{1,180}")
LANGUAGES = ("pt", "es", "en")
#: The longest name; the API's forms say the same.
NAME_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """What one assistant was told.

    `model` is None where RECADO_MODEL counts; `apology` holds the owner's words for when nothing else is known; `sees`
    says whether the model is given pictures, None leaves it to what is known of the model; `templates`, whether it may
    send the owner's approved templates.
    """

    id: UUID
    name: str
    instructions: str
    model: str | None
    language: str
    apology: str | None
    sees: bool | None = None
    templates: bool = False


async def ensure_default(scope: Scope) -> Assistant:
    """The owner's default assistant, made if there is none; however many ask at once, there is one."""
    await scope.conn.execute(
        """
        INSERT INTO assistants (owner_id, id, name, is_default)
        SELECT %(owner)s, %(id)s, %(name)s, true
        WHERE NOT EXISTS (SELECT FROM assistants WHERE owner_id = %(owner)s AND is_default)
        ON CONFLICT (owner_id, name) DO UPDATE SET is_default = true
        """,
        {"owner": scope.owner_id, "id": new_id(), "name": DEFAULT_NAME},
    )
    return await get(scope, None)


async def for_number(scope: Scope, number_id: UUID) -> Assistant:
    """The assistant of a number, the owner's default one where the number names none; made if there is none.

    Raises NotFound when the owner has no such number.
    """
    cursor = await scope.conn.execute(
        """
        SELECT assistant.id, assistant.name, assistant.instructions, assistant.model, assistant.language,
               assistant.apology, assistant.sees, assistant.templates
        FROM numbers number LEFT JOIN LATERAL assistant_of(number.owner_id, number.id) assistant ON true
        WHERE number.owner_id = %s AND number.id = %s
        """,
        [scope.owner_id, number_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no number {number_id}")
    return _assistant(row) if row["id"] is not None else await ensure_default(scope)


async def find(scope: Scope, name: str | None) -> Assistant | None:
    """The assistant of this name, or the default one for None; None if there is none."""
    cursor = await scope.conn.execute(
        """
        SELECT id, name, instructions, model, language, apology, sees, templates
        FROM assistants
        WHERE owner_id = %(owner)s AND (name = %(name)s OR (%(name)s::text IS NULL AND is_default))
        """,
        {"owner": scope.owner_id, "name": name},
    )
    row = await cursor.fetchone()
    return _assistant(row) if row is not None else None


async def get(scope: Scope, name: str | None) -> Assistant:
    """The assistant of this name, or the default one for None. Raises NotFound."""
    found = await find(scope, name)
    if found is None:
        raise NotFound(f"no assistant {name!r}" if name is not None else "no default assistant")
    return found


async def set(  # noqa: A001 - reads as `assistant.set(scope, ...)`, the command's own word
    scope: Scope,
    name: str | None,
    *,
    instructions: str | None = None,
    model: str | None = None,
    language: str | None = None,
    apology: str | None = None,
    sees: bool | Literal["auto"] | None = None,
    templates: bool | None = None,
) -> Assistant:
    """Change what is given of the named assistant (the default one for None), made if there is none; leave the rest.

    An empty `model` goes back to RECADO_MODEL, an empty `apology` to recado's own words, `sees="auto"` to what is known
    of the model. What stays as it was gets no new version. Raises UsageError for a language that is not one of
    `LANGUAGES`, for a model that is not PROVIDER:MODEL, and for what can't be a name.
    """
    if model and not MODEL.fullmatch(model):
        raise UsageError("a model is PROVIDER:MODEL, for instance openai:gpt-5-mini")
    if language is not None and language not in LANGUAGES:
        raise UsageError(f"language must be one of {', '.join(LANGUAGES)}")
    asked = (await ensure_default(scope)).name if name is None else _name(name)
    cursor = await scope.conn.execute(
        """
        INSERT INTO assistants AS a (owner_id, id, name, instructions, model, language, apology, sees,
                                     templates)
        VALUES (%(owner)s, %(id)s, %(name)s, coalesce(%(instructions)s, ''), nullif(%(model)s, ''),
                coalesce(%(language)s, 'pt'), nullif(%(apology)s, ''), %(sees)s::boolean,
                coalesce(%(templates)s, false))
        ON CONFLICT (owner_id, name) DO UPDATE SET
            instructions = coalesce(%(instructions)s, a.instructions),
            model = nullif(coalesce(%(model)s, a.model), ''),
            language = coalesce(%(language)s, a.language),
            apology = nullif(coalesce(%(apology)s, a.apology), ''),
            sees = CASE WHEN %(keeps_sees)s THEN a.sees ELSE excluded.sees END,
            templates = coalesce(%(templates)s, a.templates),
            version = a.version + 1,
            updated_at = now()
        WHERE (a.instructions, a.model, a.language, a.apology, a.sees, a.templates) IS DISTINCT FROM
              (coalesce(%(instructions)s, a.instructions), nullif(coalesce(%(model)s, a.model), ''),
               coalesce(%(language)s, a.language), nullif(coalesce(%(apology)s, a.apology), ''),
               CASE WHEN %(keeps_sees)s THEN a.sees ELSE excluded.sees END, coalesce(%(templates)s, a.templates))
        RETURNING id, name, instructions, model, language, apology, sees, templates
        """,
        {
            "owner": scope.owner_id,
            "id": new_id(),
            "name": asked,
            "instructions": instructions,
            "model": model,
            "language": language,
            "apology": apology,
            "sees": None if sees == "auto" else sees,
            "keeps_sees": sees is None,
            "templates": templates,
        },
    )
    row = await cursor.fetchone()
    return _assistant(row) if row is not None else await get(scope, asked)


def _name(given: str) -> str:
    """An assistant's name as it is kept. Raises UsageError for what can't be one."""
    name = " ".join(given.split())
    if is_blank(name) or len(name) > NAME_CHARS:
        raise UsageError(f"an assistant's name has 1 to {NAME_CHARS} characters")
    return name


async def make(scope: Scope, name: str) -> Assistant:
    """A new assistant of that name, nothing set. Raises Conflict when there is one, UsageError for no name."""
    name = _name(name)
    made = await scope.conn.execute(
        "INSERT INTO assistants (owner_id, id, name) VALUES (%s, %s, %s) ON CONFLICT (owner_id, name) DO NOTHING",
        [scope.owner_id, new_id(), name],
    )
    if not made.rowcount:
        raise Conflict("there is an assistant of this name")
    return await get(scope, name)


async def hold_default(scope: Scope) -> None:
    """Nobody else changes which assistant is the default one before the commit. Call it before locking any of them."""
    await scope.conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"default assistant of {scope.owner_id}"]
    )


async def make_default(scope: Scope, assistant_id: UUID) -> None:
    """Let this assistant of the owner answer where none is named, instead of the one that did; after `hold_default`."""
    await scope.conn.execute(
        """
        UPDATE assistants SET is_default = false, version = version + 1, updated_at = now()
        WHERE owner_id = %s AND is_default AND id <> %s
        """,
        [scope.owner_id, assistant_id],
    )
    await scope.conn.execute(
        """
        UPDATE assistants SET is_default = true, version = version + 1, updated_at = now()
        WHERE owner_id = %s AND id = %s AND NOT is_default
        """,
        [scope.owner_id, assistant_id],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An assistant as it is shown; `version` grows with every change."""

    id: UUID
    name: str
    is_default: bool
    instructions: str
    model: str | None
    language: str
    apology: str | None
    sees: bool | None
    templates: bool
    version: int
    created_at: datetime
    updated_at: datetime


_LISTED = (
    "id, name, is_default, instructions, model, language, apology, sees, templates, version, created_at, updated_at"
)


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Listed]:
    """The owner's assistants after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM assistants WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s",  # noqa: S608 - constant
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Listed(**row) for row in await cursor.fetchall()]


async def listed(scope: Scope, assistant_id: UUID, *, lock: bool = False) -> Listed:
    """The assistant as it is shown; with `lock`, nobody else changes it before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM assistants WHERE owner_id = %s AND id = %s"  # noqa: S608 - the columns are a constant
        + (" FOR UPDATE" if lock else ""),
        [scope.owner_id, assistant_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no assistant {assistant_id}")
    return Listed(**row)


def _assistant(row: Row) -> Assistant:
    return Assistant(
        id=row["id"],
        name=row["name"],
        instructions=row["instructions"],
        model=row["model"],
        language=row["language"],
        apology=row["apology"],
        sees=row["sees"],
        templates=row["templates"],
    )
