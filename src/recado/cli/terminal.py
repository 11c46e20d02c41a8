"""What commands share: the open database, input that may be wrong, and output for people or programs.

Standard output carries the result only; log lines, prompts and progress go to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, overload
from uuid import UUID

import typer

from recado.channels.twilio.sids import canonical_sid
from recado.errors import UsageError

if TYPE_CHECKING:
    from recado.db.pool import Connection
    from recado.identity.callers import Caller
    from recado.settings import Settings
    from recado.wiring import Wiring

T = TypeVar("T")
Result = Mapping[str, Any] | Sequence[Any]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OwnerId = Annotated[UUID, typer.Option("--owner", metavar="ID", help="The owner's id, of `recado owners list`.")]
OnlyOwner = Annotated[UUID | None, typer.Option("--owner", metavar="ID", help="Only this owner's.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, newest first.")]


def _address(given: str) -> str:
    # An empty one, for instance of a variable that is not set, would be every address of the machine.
    if not given.strip() or not given.isascii():
        raise typer.BadParameter("must be an address of this machine, for instance 127.0.0.1")
    return given


Host = Annotated[str, typer.Option(help="Address to listen on.", callback=_address)]

SECRET_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a command works with: the wiring, whose pool sees one owner's rows, and a connection that sees all."""

    wiring: Wiring
    platform: Connection

    @property
    def caller(self) -> Caller:
        """Who is at the command line, for the audit: the operating system's name for them."""
        from recado.identity.callers import at_command_line

        return at_command_line(account_name())


def account_name() -> str:
    """The operating system's name for who is at the command line."""
    # Not getpass.getuser(): that believes the environment.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user has no name
        return f"uid {os.getuid()}"


def settings_for_command() -> Settings:
    """The settings; a command logs warnings only, as lines for people, unless the settings say otherwise."""
    from recado import secretfiles, telemetry
    from recado.settings import load

    secretfiles.put_in()
    settings = load()
    told = settings.model_fields_set
    telemetry.configure(
        format=settings.log_format if "log_format" in told else "console",
        level=settings.log_level if "log_level" in told else "WARNING",
    )
    telemetry.catch_all()
    return settings


def at_desk(main: Callable[[Desk], Awaitable[T]]) -> T:
    """Open the database for as long as `main` takes, and give what it gives."""

    async def run() -> T:
        from recado.wiring import wire

        async with wire(settings, connections=2) as wiring, await wiring.connect("recado_platform") as platform:
            return await main(Desk(wiring=wiring, platform=platform))

    settings = settings_for_command()
    return asyncio.run(run())


async def check_owner(desk: Desk, owner: UUID | None) -> None:
    """Raise NotFound when an owner is named that does not exist: an empty list would hide a wrong id."""
    if owner is not None:
        from recado.identity import owners

        await owners.get(desk.platform, owner)


def answer(result: Result, *, as_json: bool, text: str) -> None:
    """Print the result: as JSON for programs, or `text` for people; neither holds what a terminal would obey."""
    if as_json:
        print(as_printed(json.dumps(result, ensure_ascii=False, indent=2, default=_plain)))
    elif text:
        print("\n".join(shown(line) for line in text.split("\n")))


def as_printed(text: str) -> str:
    """JSON that a terminal only shows: C1 controls, half surrogates, what turns directions or is invisible, escaped.

    It stays the same JSON; letters of all scripts stay as they are.
    """
    if text.isascii():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> str:
    """Columns under their heads, aligned, or `empty` when there are no rows."""
    if not rows:
        return empty
    lines = [list(heads), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return shown(str(value))


def shown(text: str) -> str:
    """Text of other people on one line, without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def ago(seconds: float) -> str:
    """A duration in its two largest units."""
    left = max(0, round(seconds))
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def secret_from_stdin(what: str) -> str:
    """One line of standard input; at a terminal it is asked for and not shown.

    Raises UsageError when there is none, or it can't be such a secret.
    """
    if sys.stdin is None:
        raise UsageError(f"{what} is read from standard input, which is closed")
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"{what}: ").strip()
    data = sys.stdin.buffer.read(SECRET_CHARS + 1)
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\0"
    if len(data) > SECRET_CHARS or not text.isprintable():
        raise UsageError(f"standard input does not hold {what}: one line of printable ASCII")
    if not text:
        raise UsageError(f"standard input is empty: {what} was expected there")
    return text


def password_from_stdin() -> str:
    """One line of standard input, as it is but for the line's end; at a terminal it is asked for twice, hidden.

    Raises UsageError when there is none.
    """
    if sys.stdin is None:
        raise UsageError("the password is read from standard input, which is closed")
    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass("the password: ")
        if getpass.getpass("once more: ") != password:
            raise UsageError("the two passwords differ")
        return password
    data = sys.stdin.buffer.read(SECRET_CHARS + 1)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(data) > SECRET_CHARS or len(lines) != 1 or not lines[0]:
        raise UsageError("standard input does not hold a password: one line of UTF-8")
    return lines[0]


def bytes_of(path: Path, *, at_most: int) -> bytes:
    """A file's bytes. Raises UsageError when it can't be read or is larger than `at_most`."""
    try:
        with path.open("rb") as file:
            data = file.read(at_most + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise UsageError("a file's name can't hold a NUL") from None
    if len(data) > at_most:
        raise UsageError(f"{path}: larger than {at_most // 1024:,} KiB")
    return data


def text_of(path: Path, *, at_most: int = 256 * 1024) -> str:
    """A file's text, trimmed. Raises UsageError when it is not UTF-8 text."""
    try:
        text = bytes_of(path, at_most=at_most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text") from None
    if "\0" in text:
        raise UsageError(f"{path}: not a text file")
    return text.strip()


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on standard error that the given function advances by one; nothing where nobody watches.

    Without `total` it only shows that something goes on.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@overload
def sid(given: str) -> str: ...
@overload
def sid(given: None) -> None: ...
def sid(given: str | None) -> str | None:
    """A SID that was given, in Twilio's own form: what is pasted has blanks, and some tools write capitals."""
    return None if given is None else canonical_sid(given)
