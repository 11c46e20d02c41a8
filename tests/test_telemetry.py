"""Telemetry: a log line holds what is on the list, and never what people wrote or who they are."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recado
from recado import telemetry
from recado.telemetry import FIELDS, redact

SOURCE = Path(recado.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
CANARY = "5511987654321"
#: Whose lines are on the list.
LIBRARIES = ("aiohttp", "dbos", "psycopg", "psycopg_pool", "sqlalchemy", "uvicorn")
#: A process of its own: what a test configures would stay configured for the others.
PROLOGUE = f"""
import asyncio, logging, structlog, sys, uuid
from recado import telemetry
telemetry.configure(format="FORMAT", level="DEBUG")
telemetry.catch_all()
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
        check=False,
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


LIBRARY = """
import logging

def known(logger, value):
    logger.error("Exception in callback %s", value)

def known_and_put_together(logger, value):
    logger.error(f"Exception in background job {value}: {value}")

def filled_in(logger, value):
    logger.error("sending to %s failed: %r", value, {"body": value})

def put_together(logger, value):
    logger.error(f"Error in workflow {value}: (psycopg.errors.Check) [parameters: {value}]")

def only_data(logger, value):
    logger.error(value)

def an_object(logger, value):
    logger.error(ValueError(value))

def a_dict(logger, value):
    logger.error({"event": value, "body": value})

def never_fits(logger, value):
    logger.error("port %d, %s", value)

class Wild:
    def __str__(self): raise ValueError("canary")
    __repr__ = __str__

def unprintable(logger, value):
    logger.error("odd %s", Wild())

def extra(logger, value):
    logger.error("noted", extra={"body": value, "reason": value}, stack_info=True)
"""


@pytest.mark.parametrize(
    ("name", "format"),
    [("some.library", "json"), ("some.library", "console"), ("dbos", "json"), ("uvicorn.error", "json")],
)
def test_of_a_librarys_line_only_words_of_the_list_are_kept(name: str, format: str, tmp_path: Path) -> None:  # noqa: A002
    library = tmp_path / "site-packages" / "library.py"
    library.parent.mkdir()
    library.write_text(LIBRARY)
    told = {
        "known": "Exception in callback",
        "known_and_put_together": "Exception in background job",
        "filled_in": "library",
        "put_together": "library",
        "only_data": "library",
        "an_object": "library",
        "a_dict": "library",
        "never_fits": "library",
        "unprintable": "library",
        "extra": "library",
    }
    made = lines(
        f"sys.path.insert(0, {str(library.parent)!r}); import library\n"
        f"for call in {list(told)!r}: getattr(library, call)(logging.getLogger({name!r}), CANARY)",
        format,
    )
    if format == "json":
        assert [line["event"] for line in made] == list(told.values())
        assert made[0]["place"] == "library.py:5 known"
        assert all((line["level"], line["logger"]) == ("error", name) for line in made)
        assert all(line.keys() <= FIELDS for line in made)
    else:
        assert len(made) == len(told)
        assert all(word in line["event"] for word, line in zip(told.values(), made, strict=True))


def test_the_words_on_the_list_are_still_what_the_libraries_say() -> None:
    """A line that was reworded would be told by its place only."""
    sources = [Path(asyncio.__file__).parent]
    sources += [Path(find_spec(name).submodule_search_locations[0]) for name in LIBRARIES]  # type: ignore[union-attr,index]
    text = "".join(path.read_text() for source in sources for path in source.rglob("*.py"))
    if "exception was never retrieved" in text:  # begins with the name of a class
        text += "Future exception was never retrieved, Task exception was never retrieved"
    assert len(telemetry._WORDS) > 20
    assert [words for words in telemetry._WORDS if words not in text] == []


def test_a_line_that_can_not_be_written_is_told_of_without_what_it_holds() -> None:
    script = "class Bad:\n    def __str__(self): raise KeyError(CANARY)\nlog.info('x', reason=Bad())"
    assert lines(script) == [{"event": "log_line_failed", "logger": "recado.test"}]


@pytest.mark.parametrize(
    ("script", "event"),
    [
        ("raise Quoting(CANARY)", "uncaught"),
        (
            "import threading\ndef run(): raise Quoting(CANARY)\nt = threading.Thread(target=run)\nt.start(); t.join()",
            "uncaught_in_thread",
        ),
        ("class Late:\n    def __del__(self): raise Quoting(CANARY)\nlate = Late()\ndel late", "unraisable"),
        ("import warnings\nwarnings.warn('serialized ' + CANARY)", "warning"),
    ],
    ids=["uncaught", "thread", "unraisable", "warning"],
)
def test_what_python_itself_would_print_is_a_line_without_its_text(script: str, event: str) -> None:
    (line,) = lines(script)
    assert line["event"] == event
    assert "Quoting" in line.get("exception", "") or line["kind"] == "UserWarning"


def test_the_workflow_engine_writes_no_lines_of_its_own_format() -> None:
    (line,) = lines(
        "from dbos._logger import init_logger, dbos_logger\ntelemetry.take_over('dbos')\ninit_logger()\n"
        "dbos_logger.error(f'Exception encountered when processing {CANARY}')"
    )
    assert line["logger"] == "dbos"


PERSONAL = {
    "whatsapp:+5511987654321": "[address]",
    "to whatsapp:US.13491208655302741918, twice": "to [address], twice",
    "+55 (11) 98765-4321 called": "[number] called",
    "number 5511987654321": "number [number]",
    "ana.souza@padaria.example": "[email]",
    "postgresql://recado:hunter2@db:5432/x": "postgresql://[credentials]db:5432/x",
    "GET https://x.example/m?sig=abc&to=1": "GET https://x.example/m[query]",
    "Authorization: Bearer abcdef123456": "[secret]",
    "password=hunter2 host=db": "[secret] host=db",
    "token: hunter2x": "[secret]",
    "key rk_0123456789abcdef": "key [secret]",
    "sk-proj-abc_123456": "[secret]",
    "6f0d3ab1c2d3e4f5a6b7c8d9e0f1a2b3": "[secret]",
    "eyJhbGciOi.eyJzdWIi.c2ln": "[secret]",
}


@pytest.mark.parametrize(("text", "left"), PERSONAL.items())
def test_numbers_addresses_and_secrets_in_a_value_are_taken_out(text: str, left: str) -> None:
    assert redact(text) == left


@given(
    st.from_regex(r"\+?[1-9][0-9]{7,14}", fullmatch=True),
    st.sampled_from(["{}", "to {}", "'{}'", "({})", "{},", "{}\n"]),
)
def test_no_international_number_stays_in_a_value(number: str, around: str) -> None:
    assert number.lstrip("+") not in redact(around.format(number))


@pytest.mark.parametrize(
    "text",
    [
        str(UUID(int=5511987654321)),
        "AC" + "0123456789abcdef" * 2,
        "SM" + "1" * 32,
        "2026-11-23T13:51:11.123456+00:00",
        "ValueError | recado/journey/answer/turn.py:213 process_ai_response | dbos/_core.py:1200 _get_wf_invoke_func",
        "host-2.example-4711-0a1b2c3d",
        "openai:gpt-5-mini",
        "/channels/twilio/v1/webhooks/inbound",
        "127.0.0.1:54321",
        "63016",
    ],
)
def test_ids_places_and_codes_stay(text: str) -> None:
    assert redact(text) == text


def test_a_value_on_the_list_that_holds_what_it_should_not_is_redacted_on_the_way_out() -> None:
    (line,) = lines(
        "log.info('x', reason='from whatsapp:+' + CANARY, queues=['+' + CANARY], count=int(CANARY), note='a\\nb')"
    )
    assert line["reason"] == "from [address]"
    assert (line["queues"], line["count"], line["note"]) == (["[number]"], "[number]", "a b")


def _log_calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                value = node.func.value
                if isinstance(value, ast.Name) and value.id == "log":
                    found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", node))
    return found


def test_every_line_of_ours_is_a_constant_word_with_fields_of_the_list() -> None:
    calls = _log_calls()
    assert len(calls) > 30
    for place, call in calls:
        assert len(call.args) == 1, place
        assert isinstance(call.args[0], ast.Constant), place
        assert re.fullmatch("[a-z_]+", str(call.args[0].value)), place
        assert {keyword.arg for keyword in call.keywords} <= FIELDS | {"exc_info"}, place


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
