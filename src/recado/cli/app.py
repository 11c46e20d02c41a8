"""The commands, gathered; each group has its module."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="recado",
    help="Answers WhatsApp messages with AI over Twilio, for many companies at once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

from recado.cli import run as _run  # noqa: E402, F401 - each module adds its commands to `app`
