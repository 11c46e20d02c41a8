"""Commands for looking at what happens, and putting it right: `trace`, `failed`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import (
    Desk,
    Json,
    Limit,
    OnlyOwner,
    ago,
    answer,
    at_desk,
    check_owner,
    progress,
    shown,
    table,
)
from recado.errors import Conflict, RecadoError, SettingsError, UsageError

if TYPE_CHECKING:
    from recado.ops.failed import Failure
    from recado.ops.trace import Trace

failed_commands = group("failed", "Messages that failed or are held.")


@app.command("trace")
def trace_message(
    reference: Annotated[str, typer.Argument(metavar="MESSAGE_OR_SID", help="A message's id or its MessageSid.")],
    content: Annotated[bool, typer.Option("--content", help="Show what people wrote, and their addresses.")] = False,
    otlp: Annotated[
        bool, typer.Option("--otlp", help="Send it to the collector of OTEL_EXPORTER_OTLP_ENDPOINT instead, as spans.")
    ] = False,
    json: Json = False,
) -> None:
    """Tell one message's whole life, with times."""
    if otlp:
        _send(reference, content=content, as_json=json)
        return

    async def main(desk: Desk) -> Trace:
        from recado.ops.trace import trace

        return await trace(desk.platform, reference, content=content)

    found = at_desk(main)
    result = {
        "message": found.message,
        "status": found.message["status"],
        "correlation_id": found.message["correlation_id"],
        "timeline": [asdict(moment) for moment in found.timeline],
        "replies": found.replies,
    }
    answer(result, as_json=json, text=_told(found))


def _send(reference: str, *, content: bool, as_json: bool) -> None:
    """Have a collector get the message's spans, made from its rows. What people wrote is in none of them."""
    from recado import tracing

    if content:
        raise UsageError("--otlp sends nothing that people wrote: leave --content out")
    if not tracing.asked():
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT: set it to the collector's address, as http://127.0.0.1:4318")
    tracing.check()

    async def main(desk: Desk) -> list[tracing.Span]:
        from recado.ops.spans import of_message

        return await of_message(desk.platform, reference)

    spans = at_desk(main)
    from recado.tracing.export import send

    if not send(spans, "trace"):
        raise RecadoError("the collector did not take the spans")
    result = {"trace_id": spans[0].trace.hex, "spans": len(spans)}
    answer(result, as_json=as_json, text=f"sent {len(spans)} spans as trace {spans[0].trace.hex}")


def _told(found: Trace) -> str:
    message = found.message
    start = message["received_at"]
    lines = [
        f"{message['direction']} {message['kind']} of {message['length']} characters, {message['status']}"
        + _error(message),
        f"message      {message['id']}  {message['provider_sid'] or ''}".rstrip(),
        f"correlation  {message['correlation_id']}",
        f"owner        {shown(message['owner'])}, number {shown(message['number'])}",
        f"{'arrived' if message['direction'] == 'inbound' else 'made':12} {start:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC",
    ]
    if message.get("answers"):
        lines.append(f"answers      {message['answers']['id']}  {message['answers']['provider_sid'] or ''}".rstrip())
    if "body" in message:
        name = f" {shown(message['profile_name'])}" if message["profile_name"] else ""
        lines += [f"contact      {shown(message['contact'])}{name}", f"text         {shown(message['body'])}"]
    lines += [*_parts(message), ""]
    for moment in found.timeline:
        after_ms = round((moment.at - start).total_seconds() * 1000)
        lines.append(f"{after_ms:>+10,} ms  {moment.step:10}  {shown(moment.what)}")
    for number, reply in enumerate(found.replies, start=1):
        lines += ["", f"reply {number}: {reply['id']} by {reply['author']}, {reply['length']} characters, "]
        lines[-1] += f"{reply['status']}{_error(reply)}"
        lines += _parts(reply)
        if "body" in reply:
            lines.append(f"  text    {shown(reply['body'])}")
    return "\n".join(lines)


def _parts(message: dict[str, Any]) -> list[str]:
    return [
        f"  part {part['part']}  {part['status']:11}  {part['provider_sid'] or '-'}"
        for part in message.get("parts", [])
    ]


def _error(message: dict[str, Any]) -> str:
    if message["error_code"] is None:
        return ""
    return f" (Twilio {message['error_code']}: {message['error_text'] or 'see its error dictionary'})"


@failed_commands.command("list")
def list_failed(
    owner: OnlyOwner = None,
    limit: Limit = 200,
    json: Json = False,
) -> None:
    """List the messages that failed or are held, and why."""

    async def main(desk: Desk) -> list[Failure]:
        from recado.ops.failed import failures

        await check_owner(desk, owner)
        return await failures(desk.platform, owner_id=owner, limit=limit)

    found = at_desk(main)
    rows = [
        (item.id, item.direction, item.status, item.held_for, item.error_code, ago(item.age_s), item.owner, item.text)
        for item in found
    ]
    text = table(
        ("MESSAGE", "DIRECTION", "STATUS", "HELD FOR", "CODE", "AGE", "OWNER", "WHY"),
        rows,
        empty="no message failed or is held",
    )
    answer([asdict(item) for item in found], as_json=json, text=text)


@failed_commands.command("retry")
def retry_failed(
    message: Annotated[UUID | None, typer.Argument(metavar="MESSAGE", help="The message's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed or are held.")] = False,
    owner: OnlyOwner = None,
    json: Json = False,
) -> None:
    """Try a message again, or all of them. What Twilio took and did not fail is never sent again."""
    if (message is None) != everything or (owner is not None and not everything):
        raise UsageError("name one message, or give --all (with --owner for one owner's only)")

    async def main(desk: Desk) -> list[dict[str, Any]]:
        from recado.ops.failed import failures

        if message is not None:
            return [{"id": message, "outcome": await _retry(desk, message)}]
        await check_owner(desk, owner)
        # Oldest first: the order in which they were meant to go out.
        ids = [item.id for item in reversed(await failures(desk.platform, owner_id=owner))]
        done: list[dict[str, Any]] = []
        with progress("retrying", len(ids)) as advance:
            for message_id in ids:
                try:
                    done.append({"id": message_id, "outcome": await _retry(desk, message_id)})
                except Conflict as conflict:
                    done.append({"id": message_id, "outcome": "left", "why": str(conflict)})
                advance()
        return done

    done = at_desk(main)
    rows = [(item["id"], item["outcome"], item.get("why")) for item in done]
    text = table(("MESSAGE", "OUTCOME", "WHY"), rows, empty="no message failed or is held")
    answer(done, as_json=json, text=text)


async def _retry(desk: Desk, message_id: UUID) -> str:
    from recado.identity import audit
    from recado.ops.failed import retry

    async with desk.platform.transaction():
        outcome = await retry(desk.platform, message_id)
        if outcome == "queued":
            cursor = await desk.platform.execute(
                "SELECT m.owner_id FROM owners o JOIN messages m ON m.owner_id = o.id AND m.id = %s", [message_id]
            )
            row = await cursor.fetchone()
            owner_id = row["owner_id"] if row else None
            await audit.record(desk.platform, desk.caller, "retry", "message", str(message_id), owner_id=owner_id)
    return outcome


app.add_typer(failed_commands)
