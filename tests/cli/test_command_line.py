from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer

from recado import __version__
from recado.cli.commands import app
from tests.cli.conftest import Terminal

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
OWNER = str(uuid4())


def commands(group: Any, path: str = "recado") -> Iterator[tuple[str, Any]]:
    """Every command with its path; a group that does something by itself too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{path} {name}", command
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands(typer.main.get_command(app)))


def documented() -> dict[str, str]:
    """The reference's sections by the command that heads them, without its arguments."""
    text = REFERENCE.read_text()
    parts = re.split(r"^### `(recado[^`]*)`\n", text, flags=re.MULTILINE)
    heads = [re.sub(r"( \[?<?[A-Z_]+>?\]?)+$", "", head) for head in parts[1::2]]
    return dict(zip(heads, parts[2::2], strict=True))


def test_the_reference_has_every_command_and_no_other() -> None:
    assert set(documented()) == set(ALL)


@pytest.mark.parametrize("path", sorted(ALL))
def test_the_reference_has_every_option_of_a_command_and_no_other(path: str) -> None:
    section = documented()[path].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `(--[a-z-]+)", section, flags=re.MULTILINE))
    options = {name for parameter in ALL[path].params for name in parameter.opts if name.startswith("--")}
    assert listed == options - {"--help"}


@pytest.mark.parametrize("path", sorted(ALL))
def test_the_reference_says_which_options_are_required_and_what_the_others_default_to(path: str) -> None:
    section = documented()[path].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(--[a-z-]+)[^`]*` \| (.+) \|$", section, flags=re.MULTILINE))
    for option in (parameter for parameter in ALL[path].params if parameter.param_type_name == "option"):
        told = next((said[name] for name in option.opts if name in said), "")
        assert told.startswith("Required. ") == option.required, option.name
        default = re.match(r"Default `(.*?)`\. ", told)
        # `--name` flags and what has no value to show stand without one.
        assert default is None or default[1] == str(option.default), option.name
        if not (option.required or option.is_flag or option.default in (None, [], ())):
            assert default is not None, option.name


def test_the_version_is_said(recado: Terminal) -> None:
    said = recado("--version")
    assert (said.code, said.out.strip()) == (0, f"recado {__version__}")


def test_no_command_takes_a_secret_as_an_argument() -> None:
    for path, command in ALL.items():
        for parameter in command.params:
            # A reference says where a secret is kept; it is none.
            named = [name for name in parameter.opts if not name.endswith("-ref")]
            if any(word in name for name in named for word in ("token", "secret", "password")):
                assert parameter.is_flag or parameter.bare_type() == "int", path  # a number is no secret


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "No such command"),
        (("owners", "add"), "argument 'name'"),
        (("owners", "list", "--nonsense"), "No such option"),
        (("knowledge", "list", "--owner", "no-id"), "--owner"),
        (("serve", "--port", "http"), "--port"),
        (("accounts", "add", "--owner", OWNER, "--account-sid", "AC1"), "--auth-token-stdin"),
        (("accounts", "add", "--owner", OWNER, "--account-sid", "AC1", "--auth-token-stdin"), "empty"),
        (("accounts", "rotate", "--account", "AC1"), "--finish"),
        (("assistants", "set", "--owner", OWNER), "nothing to set"),
        (("accounts", "set", "--account", "AC1"), "nothing to set"),
        (("assistants", "set", "--owner", OWNER, "--instructions-file", "gone.txt"), "gone.txt"),
        (("failed", "retry", "--all", OWNER), "--all"),
        (("simulator", "--account-sid", "AC1"), "AccountSid"),
        (("serve", "--host", ""), "--host"),
        (("api", "--host", " "), "--host"),
        (("simulator", "--host", ""), "--host"),
        (("simulator", "send", "--from", "whatsapp:+5511987654321", "--place", "nan,nan"), "within 90"),
        (("audit", "list", "--limit", "9" * 30), "--limit"),
        (("failed", "list", "--limit", "9" * 30), "--limit"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(bare: Terminal, arguments: tuple[str, ...], says: str) -> None:
    ran = bare.apart(*arguments) if arguments == ("nonsense",) else bare(*arguments)
    assert ran.code == 2
    assert says in ran.complaint


def test_a_secret_that_is_binary_or_has_two_lines_or_no_end_is_refused(bare: Terminal) -> None:
    command = ("accounts", "add", "--owner", OWNER, "--account-sid", "AC1", "--auth-token-stdin")
    for stdin in (b"\xff\xfe", b"one\ntwo", b"x" * 5000):
        assert bare(*command, stdin=stdin).code == 2
    closed = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *bare.command(*command)],
        cwd=bare.folder,
        env=bare.environment,
        capture_output=True,
        check=False,
    )
    assert closed.returncode == 2
    assert b"Traceback" not in closed.stderr


def test_a_failure_is_one_line_and_exit_code_1(bare: Terminal) -> None:
    ran = bare.apart("owners", "list")
    assert ran.code == 1
    assert "database" in ran.complaint
    assert "127.0.0.1" not in ran.err


def test_a_reader_that_stops_early_is_no_failure(bare: Terminal) -> None:
    process = subprocess.Popen(
        bare.command("--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=bare.folder, env=bare.environment
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=30) in (0, 1)


def test_help_loads_neither_database_nor_server_nor_models(bare: Terminal) -> None:
    heavy = ("psycopg", "sqlalchemy", "dbos", "fastapi", "uvicorn", "aiohttp", "twilio", "pydantic_ai", "cryptography")
    script = (
        f"import sys; from recado.cli.commands import app; print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=bare.environment
    )
    assert ran.stdout == "[]\n"
