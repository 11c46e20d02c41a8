"""`recado simulator`: run a local Twilio, and cause faults or write as a contact in one that runs."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from recado.channels.twilio.addresses import PERSON, canonical_address
from recado.cli.app import app, group
from recado.cli.terminal import Host, Json, answer, secret_from_stdin, sid, table
from recado.errors import RecadoError, SettingsError, UsageError

if TYPE_CHECKING:
    from recado.simulator.app import SimulatorSettings
    from recado.simulator.client import SimulatorClient
    from recado.simulator.views import Sent

T = TypeVar("T")

TOKEN_VARIABLE = "RECADO_SIMULATOR_TOKEN"  # noqa: S105 - its name
PORT = 8900
ACCOUNT_SID = "AC" + "5" * 32
NUMBER = "whatsapp:+14155238886"
WEBHOOK_URL = "http://127.0.0.1:8000/channels/twilio/v1/webhooks/inbound"

simulator_commands = group(
    "simulator", "A local Twilio: without a command it runs, with one it controls a running one."
)

Url = Annotated[str, typer.Option("--url", help="Where the simulator runs.")]
URL = f"http://127.0.0.1:{PORT}"


@simulator_commands.callback(invoke_without_command=True, no_args_is_help=False)
def simulator(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = PORT,
    account_sid: Annotated[str, typer.Option(metavar="AC...", help="AccountSid of its one account.")] = ACCOUNT_SID,
    number: Annotated[str, typer.Option(metavar="whatsapp:+E164", help="The account's number.")] = NUMBER,
    webhook_url: Annotated[str, typer.Option(help="Where it posts what contacts write.")] = WEBHOOK_URL,
    files_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the second host, which serves files; 0 takes a free one.")
    ] = 0,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Whether the 24-hour window is kept, as WhatsApp does.")
    ] = True,
    auth_token_stdin: Annotated[
        bool,
        typer.Option(
            "--auth-token-stdin",
            help=f"Read the account's auth token from standard input. Else {TOKEN_VARIABLE} counts, else one is made.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Run a local Twilio: REST API, signed webhooks, faults, and a phone in the browser."""
    if context.invoked_subcommand is not None:
        return
    account_sid = sid(account_sid)
    if not re.fullmatch(r"AC[0-9a-f]{32}", account_sid):
        raise UsageError("--account-sid: an AccountSid is AC and 32 hexadecimal digits")
    number = canonical_address(number)
    if not re.fullmatch(r"whatsapp:\+[1-9]\d{6,14}", number):
        raise UsageError("--number: a number is whatsapp: and E.164, for instance whatsapp:+14155238886")
    if not webhook_url.startswith(("http://", "https://")):
        raise UsageError("--webhook-url: must be an http:// or https:// address")
    given = secret_from_stdin("the auth token") if auth_token_stdin else _token_of_the_environment()
    token = given or secrets.token_hex(16)

    from recado.simulator.app import AccountSettings, SimulatorSettings
    from recado.simulator.state import Number

    settings = SimulatorSettings(
        host=host,
        port=port,
        files_port=files_port,
        keeps_window=window,
        accounts=(
            AccountSettings(
                account_sid=account_sid,
                auth_tokens=(token,),
                numbers=(Number(address=number, webhook_url=webhook_url),),
            ),
        ),
    )
    asyncio.run(_run(settings, made=not given, as_json=json))


def _token_of_the_environment() -> str:
    from recado import secretfiles

    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not given.startswith(secretfiles.SCHEME):
        return given
    try:
        token = secretfiles.read(given.removeprefix(secretfiles.SCHEME))
    except ValueError as error:
        raise SettingsError(f"{TOKEN_VARIABLE}: {error}") from None
    if not token:
        raise SettingsError(f"{TOKEN_VARIABLE}: the file is empty")
    return token


async def _run(settings: SimulatorSettings, *, made: bool, as_json: bool) -> None:
    from recado import telemetry
    from recado.cli.run import stop_signals
    from recado.simulator.app import running

    telemetry.configure(format="console", level="WARNING")
    (account,) = settings.accounts
    (number,) = account.numbers
    try:
        async with stop_signals() as stop, running(settings) as url:
            token = account.auth_tokens[0] if made else None
            _announce(url, account.account_sid, number.address, number.webhook_url or "", token, as_json=as_json)
            await stop.wait()
    except OSError as error:
        ports = f"port {settings.port}" + (f" or {settings.files_port}" if settings.files_port else "")
        raise RecadoError(f"can't listen on {settings.host} {ports}: {error.strerror or error}") from None


def _announce(
    url: str, account_sid: str, number: str, webhook_url: str, made_token: str | None, *, as_json: bool
) -> None:
    """Say where it is and what recado needs; a token that was made here is shown, one that was given is not."""
    result: dict[str, Any] = {"url": url, "account_sid": account_sid, "number": number, "webhook_url": webhook_url}
    if made_token is not None:
        result["auth_token"] = made_token
    lines = [
        f"phone        {url}/",
        f"account      {account_sid}",
        f"number       {number}",
        f"webhook      {webhook_url}",
        f"for recado   RECADO_TWILIO_API_URL={url}",
    ]
    if made_token is not None:
        lines.append(f"auth token   {made_token} (made now; {TOKEN_VARIABLE} keeps one)")
    answer(result, as_json=as_json, text="\n".join(lines))
    sys.stdout.flush()


@simulator_commands.command("fault")
def add_fault(
    name: Annotated[str, typer.Argument(help="Which one: `recado simulator faults` lists them.")],
    count: Annotated[int | None, typer.Option(min=1, help="How often it strikes; if not given, until removed.")] = None,
    probability: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="The chance to strike.")] = None,
    to: Annotated[str | None, typer.Option(metavar="REGEX", help="Only where To matches.")] = None,
    body: Annotated[str | None, typer.Option(metavar="REGEX", help="Only where Body matches.")] = None,
    url: Url = URL,
    json: Json = False,
) -> None:
    """Put a fault in force; its id removes it again."""
    given = {"count": count, "probability": probability, "to": to, "body": body}
    fields = {field: value for field, value in given.items() if value is not None}

    async def main(client: SimulatorClient) -> str:
        known = {preset["name"] for preset in (await client.call("GET", "/faults"))["presets"]}
        if name not in known:
            raise UsageError(f"no fault {name}; there are {', '.join(sorted(known))}")
        return await client.add_fault(name, **fields)

    fault_id = _control(url, main)
    answer({"id": fault_id, "name": name, **fields}, as_json=json, text=f"fault {fault_id}  {name}")


@simulator_commands.command("faults")
def list_faults(
    remove: Annotated[str | None, typer.Option(metavar="ID", help="End this one first.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="End all of them first.")] = False,
    url: Url = URL,
    json: Json = False,
) -> None:
    """List the faults in force and those there are; with --remove or --clear, end some first."""

    async def main(client: SimulatorClient) -> dict[str, Any]:
        if clear:
            await client.clear_faults()
        elif remove is not None:
            await client.remove_fault(remove)
        return dict(await client.call("GET", "/faults"))

    found = _control(url, main)
    rows = [
        (fault["id"], fault.get("name"), fault["hits"], fault.get("count", "no limit")) for fault in found["faults"]
    ]
    known = [(preset["name"], preset["says"]) for preset in found["presets"]]
    text = "\n\n".join(
        (
            table(("ID", "NAME", "STRUCK", "OF"), rows, empty="no fault is in force"),
            table(("THERE ARE", "WHAT HAPPENS"), known, empty=""),
        )
    )
    answer(found, as_json=json, text=text)


@simulator_commands.command("send")
def send(
    from_: Annotated[str, typer.Option("--from", metavar="whatsapp:+E164", help="The contact.")],
    body: Annotated[str, typer.Argument(help="What the contact writes; under a picture, its caption.")] = "",
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A file to send; several make an album."),
    ] = None,
    voice: Annotated[bool, typer.Option("--voice", help="The file is a voice note.")] = False,
    place: Annotated[str | None, typer.Option(metavar="LAT,LON", help="A place to send.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="whatsapp:+E164", help="The number; if not given, the only one.")
    ] = None,
    profile_name: Annotated[str | None, typer.Option(help="The contact's name.")] = None,
    url: Url = URL,
    json: Json = False,
) -> None:
    """Write as a contact, and say what the webhook answered. Exit code 1 unless it was accepted."""
    files, pin, contact = file or [], _place(place), _contact(from_, "--from")
    if not body and not files and pin is None:
        raise UsageError("nothing to send: give words, --file or --place")
    if voice and len(files) != 1:
        raise UsageError("--voice: goes with one --file")

    async def main(client: SimulatorClient) -> Sent:
        from recado.simulator.handset import Phone

        account_sid, number = await _sender(client, to)
        phone = Phone(client=client, account_sid=account_sid, number=number, address=contact, name=profile_name)
        if voice:
            return await phone.voice(files[0])
        if files:
            return await phone.album(files, body)
        return await (phone.says(body) if pin is None else phone.place(*pin))

    sent = _control(url, main)
    result = {"id": sent.sid, "statuses": sent.statuses}
    told = ", ".join("no answer" if status is None else str(status) for status in sent.statuses) or "nothing"
    answer(result, as_json=json, text=f"{sent.sid}  the webhook answered {told}")
    if 200 not in sent.statuses:
        raise typer.Exit(1)


@simulator_commands.command("window")
def window(
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="The contact: whatsapp:+E164.")],
    left_s: Annotated[float, typer.Option(min=0, help="Seconds until it closes; 0 closes it now.")] = 0,
    to: Annotated[
        str | None, typer.Option(metavar="whatsapp:+E164", help="The number; if not given, the only one.")
    ] = None,
    url: Url = URL,
    json: Json = False,
) -> None:
    """Let a contact's 24-hour window end: from then on only an approved template reaches them."""
    contact = _contact(contact, "CONTACT")

    async def main(client: SimulatorClient) -> None:
        account_sid, number = await _sender(client, to)
        await client.window(contact, left_s, account_sid=account_sid, number=number)

    _control(url, main)
    told = f"the window of {contact} " + (f"closes in {left_s:g} s" if left_s else "is closed")
    answer({"contact": contact, "left_s": left_s}, as_json=json, text=told)


def _contact(given: str, option: str) -> str:
    """A contact's address as WhatsApp has it, in whatever form it was given."""
    address = canonical_address(given)
    if not re.fullmatch(PERSON, address):
        raise UsageError(f"{option}: a contact is whatsapp: and E.164, for instance whatsapp:+5511987654321")
    return address


def _place(text: str | None) -> tuple[float, float] | None:
    """Latitude and longitude as they were given."""
    if text is None:
        return None
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError("--place: two numbers with a comma, for instance -23.5614,-46.6559") from None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # so that what is no number is not within
        raise UsageError("--place: latitude is within 90 degrees, longitude within 180")
    return latitude, longitude


async def _sender(client: SimulatorClient, to: str | None) -> tuple[str, str]:
    """Account and number that a contact writes to."""
    accounts = (await client.call("GET", "/accounts"))["accounts"]
    known = [(account["account_sid"], number["address"]) for account in accounts for number in account["numbers"]]
    fitting = [pair for pair in known if to is None or canonical_address(to) == pair[1]]
    if len(fitting) != 1:
        there = ", ".join(address for _, address in known) or "none"
        raise UsageError(f"--to: name one of the simulator's numbers: {there}")
    return fitting[0]


def _control(url: str, work: Callable[[SimulatorClient], Awaitable[T]]) -> T:
    async def main() -> T:
        import aiohttp

        from recado.simulator.client import SimulatorClient

        async with SimulatorClient(url) as client:
            try:
                return await work(client)
            except (aiohttp.ClientError, TimeoutError, ValueError):
                raise RecadoError(f"no simulator answers at {url}: start it with `recado simulator`") from None

    return asyncio.run(main())


app.add_typer(simulator_commands)
