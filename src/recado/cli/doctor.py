"""`recado doctor`: what stands in the way of a deployment, and why a webhook's signature does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, answer, at_desk, bytes_of, settings_for_command, shown, sid
from recado.errors import NotFound, RecadoError, SettingsError, UsageError

if TYPE_CHECKING:
    from recado.channels.twilio.diagnosis import Diagnosis, Token
    from recado.db.pool import Connection, Role
    from recado.ops.finding import Finding
    from recado.settings import Settings

BODY_LIMIT = 256 * 1024
FORM = "application/x-www-form-urlencoded"


doctor_commands = group(
    "doctor",
    "Check all that a deployment needs, and say what to do about what is missing. Exit code 1 if a check fails.",
)
app.add_typer(doctor_commands)


@doctor_commands.callback(invoke_without_command=True, no_args_is_help=False)
def doctor(context: typer.Context, json: Json = False) -> None:
    """Check all that a deployment needs, and say what to do about what is missing. Exit code 1 if a check fails."""
    if context.invoked_subcommand is not None:
        return
    findings = asyncio.run(_examined())
    bad = any(finding.state == "fail" for finding in findings)
    result = {"ok": not bad, "checks": [asdict(finding) for finding in findings]}
    answer(result, as_json=json, text=_report(findings))
    if bad:
        raise typer.Exit(1)


def _report(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:4}  {finding.name:13}  {shown(finding.text)}")
        if finding.fix is not None:
            lines.append(f"{'':21}-> {shown(finding.fix)}")
    return "\n".join(lines)


async def _examined() -> list[Finding]:
    from recado.ops.doctor import examine_settings
    from recado.ops.finding import fail, ok

    try:
        settings = settings_for_command()
    except SettingsError as error:
        return [fail("settings", str(error), "see docs/reference/settings.md")]
    return [ok("settings", "every value is allowed"), *examine_settings(settings), *await _database(settings)]


async def _database(settings: Settings) -> list[Finding]:
    """What only the database can tell; the embedded one is started for as long as that takes."""
    from recado.db.secrets import load_keyring
    from recado.ops import doctor as checks
    from recado.ops.finding import fail
    from recado.wiring import database

    findings: list[Finding] = []
    models = [settings.model] if settings.model else []
    keyring = None
    try:
        keyring = load_keyring(settings)
    except SettingsError as error:
        findings.append(fail("keys", str(error), "set RECADO_SECRET_KEYS as every other process has it"))
    async with AsyncExitStack() as stack:
        opening = database(settings)
        try:
            there = await asyncio.to_thread(opening.__enter__)
        except RecadoError as error:
            return [*findings, fail("database", str(error), "start it, or set RECADO_DATABASE_URL")]
        stack.push_async_callback(asyncio.to_thread, opening.__exit__, None, None, None)
        conn = await _connected(there.platform_url, "recado_platform")
        app = await _connected(there.url, "recado_app")
        for opened in (conn, app):
            if not isinstance(opened, str):
                await stack.enter_async_context(opened)
        if isinstance(conn, str) or isinstance(app, str):
            fix = "start it, correct RECADO_DATABASE_URL and RECADO_PLATFORM_URL, or run `recado migrate` if it is new"
            findings.append(fail("database", conn if isinstance(conn, str) else str(app), fix))
        else:
            findings += await checks.examine(conn, app, keyring)
            if all(finding.state != "fail" for finding in findings if finding.name in ("database", "schema")):
                models = await checks.models_in_use(conn, settings.model)
    return findings + await asyncio.to_thread(_models, models)


def _models(models: Sequence[str]) -> list[Finding]:
    from recado.ops.doctor import examine_models

    def check(model: str) -> None:
        from recado.assistants.run import check_model

        check_model(model)

    return examine_models(models, check)


async def _connected(url: str, role: Role) -> Connection | str:
    """A connection under that role, or why there is none."""
    from recado.db.pool import PASSING, connect

    try:
        return await connect(url, role)
    except PASSING as error:
        # libpq's text names hosts and users; its last part says what is wrong.
        return str(error).strip().splitlines()[-1].rsplit("FATAL:", 1)[-1].strip()[:200]


@doctor_commands.command("signature")
def signature(
    url: Annotated[str, typer.Option(help="The URL that recado checks against: public URL, path and query.")],
    body_file: Annotated[Path, typer.Option(metavar="FILE", help="The request's body as it arrived, byte for byte.")],
    signature: Annotated[str, typer.Option(help="The header X-Twilio-Signature.")],
    account: Annotated[
        str | None,
        typer.Option(metavar="AC...", help="The account; if not given, the AccountSid in the body.", callback=sid),
    ] = None,
    content_type: Annotated[str, typer.Option(help="The header Content-Type.")] = FORM,
    json: Json = False,
) -> None:
    """Say why a webhook's signature does not hold: which known cause explains it. Exit code 1 unless it holds."""
    if not url.startswith(("http://", "https://")):
        raise UsageError("--url: must be an http:// or https:// address")
    body = bytes_of(body_file, at_most=BODY_LIMIT)

    async def main(desk: Desk) -> Diagnosis:
        from recado.channels.twilio.diagnosis import diagnose

        account_sid = account or sid(_account_in(body, content_type))
        tokens, public_urls = await _tokens(desk, account_sid)
        if desk.wiring.settings.public_url is not None:
            public_urls.append(desk.wiring.settings.public_url)
        return diagnose(url, body, signature, tokens, content_type=content_type, public_urls=public_urls)

    found = at_desk(main)
    holds = found.explained and not found.causes
    result = {"holds": holds, "explained": found.explained, "token": found.token}
    answer({**result, "causes": [asdict(cause) for cause in found.causes]}, as_json=json, text=_explained(found))
    if not holds:
        raise typer.Exit(1)


def _explained(found: Diagnosis) -> str:
    if found.explained and not found.causes:
        return f"the signature holds: {found.token}"
    lines = [f"the signature would hold ({found.token}), but:"] if found.explained else ["nothing known explains it"]
    for cause in found.causes:
        lines += [f"  {cause.name:10}  {shown(cause.text)}", f"{'':14}-> {cause.fix}"]
    if not found.explained:
        fix = (
            "the auth token of the account may be another one: `recado accounts add` replaces it; else compare the URL"
        )
        lines.append(f"{'':14}-> {fix} with the one in Twilio's console, letter by letter")
    return "\n".join(lines)


def _account_in(body: bytes, content_type: str) -> str:
    from recado.channels.twilio.signature import is_form, parse_form, parse_json

    try:
        fields = parse_form(body) if is_form(content_type) else parse_json(body)
    except ValueError as error:
        raise UsageError(f"the body can't be read: {error}") from None
    found = dict(fields).get("AccountSid")
    if found is None:
        raise UsageError("the body names no AccountSid: give --account")
    return found


async def _tokens(desk: Desk, account_sid: str) -> tuple[list[Token], list[str]]:
    """The tokens to try, the account's own first, and where the account's webhooks are called."""
    from recado.channels.twilio.accounts import tokens_in
    from recado.channels.twilio.diagnosis import Token
    from recado.errors import SecretError
    from recado.references import References

    rows = await (
        await desk.platform.execute(
            "SELECT * FROM twilio_accounts WHERE removed_at IS NULL ORDER BY account_sid <> %s, id LIMIT 1000",
            [account_sid],
        )
    ).fetchall()
    if not rows or rows[0]["account_sid"] != account_sid:
        raise NotFound(f"no Twilio account {shown(account_sid)}: see `recado accounts list`")
    known, tokens = References(), []
    for row in rows:
        own = row is rows[0]
        try:
            texts = await tokens_in(row, desk.wiring.keyring, known)
        except SecretError:
            if own:
                raise
            continue
        for kind, text in zip(("primary token", "secondary token"), texts, strict=False):
            tokens.append(Token(name=f"{kind} of {row['account_sid']}", text=text, own=own))
    return tokens, [rows[0]["public_url"]] if rows[0]["public_url"] else []
