"""Telemetry: a log line holds what is on the list, and never what people wrote or who they are."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from recado.telemetry import FIELDS

CANARY = "5511987654321"
#: A process of its own: what a test configures would stay configured for the others.
PROLOGUE = f"""
import asyncio, logging, structlog, sys, uuid
from recado import telemetry
telemetry.configure(format="FORMAT", level="DEBUG")
log = structlog.get_logger("recado.test")
CANARY = "{CANARY}"
class Quoting(ValueError): pass
"""


def lines(script: str, format: str = "json") -> list[dict[str, Any]]:  # noqa: A002 - the setting's name
    """The log lines that the script writes; fails if the canary is in any of them."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE.replace("FORMAT", format) + script],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert CANARY not in done.stderr + done.stdout, done.stderr
    return [json.loads(line) if format == "json" else {"event": line} for line in done.stderr.splitlines()]


def test_a_field_that_is_not_on_the_list_is_dropped() -> None:
    (line,) = lines("log.info('accepted', body=CANARY, from_address=CANARY, headers={'a': CANARY}, part=1)")
    assert (line["event"], line["part"], line["level"], line["logger"]) == ("accepted", 1, "info", "recado.test")
    assert not line.keys() & {"body", "from_address", "headers"}
    assert line.keys() <= FIELDS


def test_no_field_on_the_list_is_for_content_names_addresses_or_secrets() -> None:
    words = ("body", "text", "name", "address", "phone", "to", "from", "token", "key", "secret", "url", "params")
    assert not [field for field in FIELDS for word in words if word == field or field.endswith("_" + word)]


@pytest.mark.parametrize(
    "call",
    [
        "log.exception('failed')",
        "log.error('failed', exc_info=error)",
        "log.error('failed', exc_info=True)",
        "logging.getLogger('recado.other').exception('failed')",
        "logging.getLogger('sqlalchemy.pool').error('failed', exc_info=error)",
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_an_exception_is_its_type_and_place_and_not_its_text(call: str, format: str) -> None:  # noqa: A002
    made = lines(
        "def deep():\n    try:\n        raise KeyError(CANARY)\n"
        "    except KeyError as inner:\n        raise Quoting('row contains ' + CANARY) from inner\n"
        f"try:\n    deep()\nexcept Quoting as error:\n    {call}\n",
        format,
    )
    assert "Quoting" in str(made)
    assert "deep" in str(made)


def test_a_librarys_line_carries_none_of_its_arguments() -> None:
    (line,) = lines("logging.getLogger('some.library').warning('sending to %s failed: %r', CANARY, {'b': CANARY})")
    assert line["logger"] == "some.library"
    assert line["event"].startswith("sending to")


@pytest.mark.parametrize("name", ["some.library", "dbos", "uvicorn.error", "aiohttp.client", "asyncio"])
def test_a_librarys_line_that_was_already_put_together_carries_nothing_of_what_it_quotes(name: str) -> None:
    (line,) = lines(
        f"logging.getLogger({name!r}).error(f'Error in workflow: (psycopg.errors.Check) [parameters: {{CANARY}}]')"
    )
    assert line["event"].startswith("Error in workflow")


def test_an_exception_that_nobody_caught_in_a_task_is_logged_without_its_text() -> None:
    made = lines(
        "async def main():\n"
        "    async def fails(): raise Quoting(CANARY)\n"
        "    task = asyncio.ensure_future(fails())\n"
        "    await asyncio.sleep(0.01)\n"
        "    del task\n"
        "    import gc; gc.collect()\n"
        "asyncio.run(main())\n"
    )
    assert "Quoting" in str(made)


def test_values_that_json_does_not_know_are_written_as_text() -> None:
    (line,) = lines("log.info('x', owner_id=uuid.UUID(int=7), queues=['a', uuid.UUID(int=7)], reason=ValueError())")
    assert line["owner_id"] == "00000000-0000-0000-0000-000000000007"
    assert line["queues"] == ["a", "00000000-0000-0000-0000-000000000007"]


def test_the_correlation_id_is_on_every_line_within_its_work() -> None:
    first, second, third = lines(
        "with structlog.contextvars.bound_contextvars(correlation_id='c1', contact=CANARY):\n"
        "    log.info('one')\n    logging.getLogger('some.library').warning('two')\n"
        "log.info('three')\n"
    )
    assert first["correlation_id"] == second["correlation_id"] == "c1"
    assert "correlation_id" not in third


def test_libraries_that_would_quote_requests_are_silent() -> None:
    assert lines(f"logging.getLogger('twilio.http_client').info({CANARY!r})") == []
    assert lines("logging.getLogger('uvicorn.access').info('GET /x')") == []


def test_the_least_level_counts_for_libraries_too() -> None:
    script = "telemetry.configure(format='json', level='ERROR'); logging.getLogger('dbos').warning('x'); log.info('y')"
    assert lines(script) == []
    assert logging.getLevelName("ERROR") == logging.ERROR
