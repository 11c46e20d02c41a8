"""The command line. Exit codes: 0 done, 1 it failed, 2 wrong use; every error is one line that says what to do."""

from __future__ import annotations

import sys

from recado import telemetry
from recado.cli.app import app
from recado.errors import NotFound, RecadoError, SettingsError, UsageError

__all__ = ["main"]


def main() -> None:
    """Run one command and exit."""
    import click
    import typer

    telemetry.configure(format="console", level="WARNING")
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False, prog_name="recado")
    except (UsageError, SettingsError) as error:
        _fail(str(error), 2)
    except NotFound as error:
        _fail(str(error), 1)
    except RecadoError as error:
        _fail(str(error), 1)
    except click.exceptions.Abort:
        _fail("stopped", 1)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, code: int) -> None:
    print(f"recado: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201 - the one line
    sys.exit(code)
