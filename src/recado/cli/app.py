"""The commands, gathered; each group has its module. Nothing here or at a command module's top is slow to import."""

from __future__ import annotations

from typing import Annotated

import typer

from recado import __version__


def group(name: str, help: str) -> typer.Typer:  # noqa: A002 - typer's word
    """A Typer whose help is plain text: rich would double the time of `recado --help`."""
    return typer.Typer(
        name=name,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = group("recado", "Answers WhatsApp messages with AI over Twilio, for many companies at once.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recado {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take what comes before a command's name."""


from recado.cli import run as _run  # noqa: E402, F401, I001 - each module adds its commands to `app`, in this order
from recado.cli import setup as _setup  # noqa: E402, F401
from recado.cli import plans as _plans  # noqa: E402, F401
from recado.cli import assistants as _assistants  # noqa: E402, F401
from recado.cli import templates as _templates  # noqa: E402, F401
from recado.cli import identity as _identity  # noqa: E402, F401
from recado.cli import consent as _consent  # noqa: E402, F401
from recado.cli import watch as _watch  # noqa: E402, F401
from recado.cli import doctor as _doctor  # noqa: E402, F401
from recado.cli import secrets as _secrets  # noqa: E402, F401
from recado.cli import simulator as _simulator  # noqa: E402, F401
from recado.cli import demo as _demo  # noqa: E402, F401
