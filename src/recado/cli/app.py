"""The command `recado` itself, to which each module of commands adds its own; `recado.cli.commands` gathers them."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from recado import __version__


def group(name: str, help: str, *, of: type[TyperGroup] = TyperGroup) -> typer.Typer:  # noqa: A002 - typer's word
    """A Typer whose help is plain text: rich would double the time of `recado --help`."""
    return typer.Typer(
        name=name,
        cls=of,
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
