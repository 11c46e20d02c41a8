"""Commands for what answers: `knowledge` and `assistants`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import (
    Desk,
    Json,
    OnlyOwner,
    OwnerId,
    answer,
    at_desk,
    bytes_of,
    check_owner,
    progress,
    table,
    text_of,
)
from recado.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recado.assistants.assistant import Assistant
    from recado.assistants.knowledge import Entry

knowledge_commands = group("knowledge", "What the owner's company knows: the keyless assistant answers from it.")
assistants_commands = group("assistants", "Instructions and model of the assistants that answer.")
app.add_typer(knowledge_commands)
app.add_typer(assistants_commands)

KNOWLEDGE_BYTES = 16 * 1024 * 1024
#: So many entries take more than a moment to index.
MANY = 300
_SEES: dict[str, bool | Literal["auto"]] = {"yes": True, "no": False, "auto": "auto"}
_YES_NO = {"yes": True, "no": False}


@knowledge_commands.command("add")
def add_knowledge(
    owner: OwnerId,
    file: Annotated[Path, typer.Option(help="Markdown with headings, or CSV question,answer; UTF-8.")],
    language: Annotated[
        str | None, typer.Option(help="pt, es or en; if not given, told from the text.", metavar="LANGUAGE")
    ] = None,
    json: Json = False,
) -> None:
    """Read a file of knowledge; entries of an earlier file of the same name are replaced."""
    from recado.assistants import knowledge

    entries = knowledge.read(file.name, bytes_of(file, at_most=KNOWLEDGE_BYTES))

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.assistants import assistant as assistants
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            default = await assistants.ensure_default(scope)
        spoken = _language(language, entries) or default.language
        with progress(f"indexing {len(entries)} entries", None) if len(entries) > MANY else nullcontext():
            analysed = await knowledge.analyse(entries, spoken)
        async with scoped(desk.wiring.pool, owner) as scope:
            known = await knowledge.replace(
                scope, source=file.name, entries=entries, language=spoken, analysed=analysed
            )
            if known.changed:
                data = {"entries": known.entries, "language": spoken}
                await audit.record(scope, desk.caller, "add", "knowledge", file.name, data)
        return {"id": file.name, "owner_id": owner, "source": file.name, "entries": known.entries, "language": spoken}

    made = at_desk(main)
    text = f"{made['entries']} entries of {made['source']} are known, in {made['language']}"
    answer(made, as_json=json, text=text)


def _language(asked: str | None, entries: Sequence[Entry]) -> str | None:
    from recado.assistants import knowledge
    from recado.assistants.assistant import LANGUAGES

    if asked is None:
        return knowledge.language_of(entries)
    if asked not in LANGUAGES:
        raise UsageError(f"--language must be one of {', '.join(LANGUAGES)}")
    return asked


@knowledge_commands.command("list")
def list_knowledge(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the files that were read, with how many entries are known from each."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        await check_owner(desk, owner)
        cursor = await desk.platform.execute(
            """
            SELECT k.source AS id, k.owner_id, o.name AS owner, k.source, count(*) AS entries,
                   min(k.language) AS language, max(k.created_at) AS newest_at
            FROM knowledge k JOIN owners o ON o.id = k.owner_id
            WHERE %(owner)s::uuid IS NULL OR k.owner_id = %(owner)s
            GROUP BY k.owner_id, o.name, k.source ORDER BY o.name, k.source
            """,
            {"owner": owner},
        )
        return await cursor.fetchall()

    found = at_desk(main)
    rows = [(row["source"], row["entries"], row["language"], row["newest_at"], row["owner"]) for row in found]
    text = table(
        ("SOURCE", "ENTRIES", "LANGUAGE", "NEWEST (UTC)", "OWNER"),
        rows,
        empty="nothing is known yet: `recado knowledge add`",
    )
    answer(found, as_json=json, text=text)


@assistants_commands.command("set")
def set_assistant(
    owner: OwnerId,
    instructions_file: Annotated[
        Path | None, typer.Option("--instructions-file", metavar="FILE", help="What the assistant is told; UTF-8.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PROVIDER:MODEL", help="Its model; '' goes back to RECADO_MODEL.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Which assistant; if not given, the default one.")] = None,
    language: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="pt, es or en: what it speaks when in doubt.")
    ] = None,
    apology_file: Annotated[
        Path | None,
        typer.Option("--apology-file", metavar="FILE", help="What contacts get when nothing is known; UTF-8."),
    ] = None,
    sees: Annotated[
        str | None,
        typer.Option(metavar="yes|no|auto", help="Whether its model is given pictures; auto: by what is known of it."),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(metavar="yes|no", help="Whether it may send the owner's approved templates; no if never set."),
    ] = None,
    json: Json = False,
) -> None:
    """Make an assistant or change what is given of it; the rest stays."""
    if {instructions_file, model, language, apology_file, sees, templates, name} == {None}:
        options = "--instructions-file, --model, --language, --apology-file, --sees, --templates or --name"
        raise UsageError(f"nothing to set: give {options}")
    if sees not in (None, *_SEES):
        raise UsageError(f"--sees must be one of {', '.join(_SEES)}")
    if templates not in (None, *_YES_NO):
        raise UsageError(f"--templates must be one of {', '.join(_YES_NO)}")
    given = {
        "instructions": text_of(instructions_file) if instructions_file is not None else None,
        "model": model,
        "language": language,
        "apology": text_of(apology_file, at_most=16 * 1024) if apology_file is not None else None,
        "sees": _SEES[sees] if sees is not None else None,
        "templates": _YES_NO[templates] if templates is not None else None,
    }
    if model:
        _check_model(model)
    made = at_desk(lambda desk: _set(desk, owner, name, given))
    which = "default assistant" if made["is_default"] else "assistant"
    answer(made, as_json=json, text=f"{which} {made['id']}  {made['name']}  model {made['model'] or 'RECADO_MODEL'}")


async def _set(desk: Desk, owner: UUID, name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Make or change it; the audit says what was set, not what it says: instructions are the owner's text."""
    from recado.assistants import assistant as assistants
    from recado.db.scope import scoped
    from recado.identity import audit

    await check_owner(desk, owner)
    async with scoped(desk.wiring.pool, owner) as scope:
        default = await assistants.ensure_default(scope)
        before = await assistants.find(scope, name)
        made = await assistants.set(scope, name, **given)
        if made != before:
            changed = [field for field, value in given.items() if value is not None]
            action, data = "add" if before is None else "change", {"changed": changed, "model": made.model}
            await audit.record(scope, desk.caller, action, "assistant", str(made.id), data)
    return _assistant(made, owner, is_default=made.id == default.id)


def _check_model(model: str) -> None:
    from recado.assistants.run import check_model

    try:
        check_model(model)
    except SettingsError as error:
        raise UsageError(str(error).replace("RECADO_MODEL", "--model", 1)) from None


@assistants_commands.command("list")
def list_assistants(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the assistants with their models and how many numbers each answers."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        await check_owner(desk, owner)
        cursor = await desk.platform.execute(
            """
            SELECT s.id, s.owner_id, o.name AS owner, s.name, s.is_default, s.model, s.language,
                   length(s.instructions) AS instructions_chars, s.apology IS NOT NULL AS has_apology,
                   (SELECT count(*) FROM numbers n WHERE n.owner_id = s.owner_id AND n.assistant_id = s.id) AS numbers,
                   s.updated_at
            FROM assistants s JOIN owners o ON o.id = s.owner_id
            WHERE %(owner)s::uuid IS NULL OR s.owner_id = %(owner)s
            ORDER BY o.name, s.is_default DESC, s.name
            """,
            {"owner": owner},
        )
        return await cursor.fetchall()

    found = at_desk(main)
    rows = [
        (
            row["id"],
            row["name"] + (" (default)" if row["is_default"] else ""),
            row["model"] or "RECADO_MODEL",
            row["language"],
            row["instructions_chars"],
            row["numbers"],
            row["owner"],
        )
        for row in found
    ]
    heads = ("ID", "NAME", "MODEL", "LANGUAGE", "CHARACTERS", "NUMBERS", "OWNER")
    answer(found, as_json=json, text=table(heads, rows, empty="no assistant yet: `recado assistants set`"))


def _assistant(made: Assistant, owner: UUID, *, is_default: bool) -> dict[str, Any]:
    return {
        "id": made.id,
        "owner_id": owner,
        "name": made.name,
        "is_default": is_default,
        "model": made.model,
        "language": made.language,
        "instructions_chars": len(made.instructions),
        "has_apology": made.apology is not None,
        "sees": made.sees,
        "templates": made.templates,
    }
