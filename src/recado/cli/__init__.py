"""The command line. Exit codes: 0 done, 1 it failed, 2 wrong use; every error is one line that says what to do."""

from __future__ import annotations

import gc
import os
import sys

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run one command and exit."""
    if sys.argv[1:2] == ["health"]:  # a probe, which starts every few seconds: nothing else is loaded for it
        from recado.cli.health import run

        sys.exit(run(sys.argv[2:]))
    # What a start loads stays: looking through it for garbage with every few hundred new objects is a tenth of a start.
    gc.set_threshold(200_000, 20, 20)

    import typer

    from recado.cli.commands import app

    # A terminal that lacks a character shows its number rather than ending the command.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False, prog_name="recado")
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.TyperException as error:
        text = error.format_message()
        if text.startswith("Usage:"):
            print(text, file=sys.stderr)
            sys.exit(error.exit_code)
        _fail(f"{text.rstrip('.')}: see `{_path(error)} --help`", error.exit_code)
    except typer.Abort:
        _fail("stopped", 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not flush into the closed pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:
        _fail(*_explain(error))
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> tuple[str, int]:
    """One line and an exit code for what a command raised; a fault of ours is told by its place, not its text."""
    from recado.errors import RecadoError, SettingsError, UsageError

    if isinstance(error, UsageError | SettingsError):
        return str(error), 2
    if isinstance(error, RecadoError):
        return str(error), 1
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
    if isinstance(error, UnicodeEncodeError):
        return "an argument holds characters that are no Unicode text", 2
    if "psycopg" in sys.modules:
        from recado.db.pool import PASSING

        if isinstance(error, PASSING):
            return "the database went away or was busy: nothing more was changed, try again", 1
    return f"internal error: {type(error).__name__} at {_place(error)}", 1


def _place(error: Exception) -> str:
    place, trace = "?", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        name = code.co_filename.replace(os.sep, "/")
        if "/recado/" in name:
            place = f"recado/{name.rpartition('/recado/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _path(error: object) -> str:
    return str(getattr(getattr(error, "ctx", None), "command_path", "recado"))


def _fail(text: str, code: int) -> None:
    # It may quote an argument, a file's name or what somebody is called: nothing that a terminal obeys.
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    print(f"recado: {line}", file=sys.stderr)
    sys.exit(code)
