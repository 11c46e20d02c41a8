"""What happens is told once: a row, a log line and whoever listens, from one call, and never before it is certain."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recado import telemetry
from recado.channels.port import ErrorClass
from recado.conversations import happenings
from recado.conversations.happenings import KINDS, SUBSCRIBERS, UNDECLARED, Happening, happened
from recado.db.pool import Pool, open_pool, persistently
from recado.db.scope import scoped
from recado.ids import new_id
from tests import lending

SOURCE = Path(happenings.__file__).parents[1]
OWNER, MESSAGE, CONVERSATION = new_id(), new_id(), new_id()
IDS = {"message_id": MESSAGE, "conversation_id": CONVERSATION, "correlation_id": MESSAGE}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    with psycopg.connect(database_url) as conn:
        conn.execute("INSERT INTO recado.owners (id, name) VALUES (%s, 'Padaria')", [OWNER])
    async with open_pool(database_url, "recado_app", size=2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def configured() -> None:
    telemetry.configure(format="json", level="DEBUG")


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Our own log lines, oldest first."""
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Happening]:
    """What a subscriber hears, beside those that there are."""
    found: list[Happening] = []
    monkeypatch.setattr(happenings, "SUBSCRIBERS", (*SUBSCRIBERS, found.append))
    return found


async def test_one_call_is_a_row_a_line_and_what_subscribers_hear(
    pool: Pool, database_url: str, heard: list[Happening], caplog: pytest.LogCaptureFixture
) -> None:
    details = {"messages": 2, "rounds": 1, "error": None, "model": "m"}
    async with scoped(pool, OWNER) as scope:
        await happened(scope, "answer", "keyless", **IDS, duration_s=1.5, age_s=4.0, **details)
        assert (said(caplog), heard) == ([], []), "nothing is certain before the commit"
    [row] = lending.rows(database_url, "SELECT * FROM events")
    assert {name: row[name] for name in ("owner_id", "step", "what", *IDS)} == {
        "owner_id": OWNER,
        "step": "answer",
        "what": "keyless",
        **IDS,
    }
    assert row["data"] == {"messages": 2, "rounds": 1, "error": None}, "the rest is for lines and figures"
    [line] = said(caplog)
    assert (line["event"], line["step"], line["level"]) == ("answered", "answer", "info")
    assert (line["owner_id"], line["duration_ms"], line["model"]) == (OWNER, 1500, "m")
    [one] = heard
    assert (one.owner_id, one.step, one.what, one.duration_s, one.age_s) == (OWNER, "answer", "keyless", 1.5, 4.0)
    assert (one.message_id, one.conversation_id, one.correlation_id) == (MESSAGE, CONVERSATION, MESSAGE)


async def test_what_is_rolled_back_has_not_happened(
    pool: Pool, database_url: str, heard: list[Happening], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with scoped(pool, OWNER) as scope:
            await happened(scope, "answer", "loop", **IDS, why="turns", messages=1)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        await work()
    assert (said(caplog), heard, lending.rows(database_url, "SELECT * FROM events")) == ([], [], [])


async def test_what_an_error_broke_that_somebody_caught_has_not_happened(
    pool: Pool, database_url: str, heard: list[Happening]
) -> None:
    async with scoped(pool, OWNER) as scope:
        await happened(scope, "answer", "loop", **IDS, why="turns", messages=1)
        with pytest.raises(psycopg.Error):
            await scope.conn.execute("SELECT 1 / 0")
    assert (heard, lending.rows(database_url, "SELECT * FROM events")) == ([], [])


async def test_what_is_tried_again_has_happened_once(pool: Pool, database_url: str, heard: list[Happening]) -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        async with scoped(pool, OWNER) as scope:
            await happened(scope, "deliver", "behind", **IDS)
            if tries == 1:
                raise psycopg.OperationalError("the connection is lost")

    await persistently(work)
    assert tries == 2
    assert [told.what for told in heard] == ["behind"]
    assert len(lending.rows(database_url, "SELECT FROM events")) == 1


async def test_what_keeps_no_details_has_none_in_its_row(pool: Pool, database_url: str) -> None:
    async with scoped(pool, OWNER) as scope:
        await happened(scope, "answer", "taken", **IDS, note="not kept")
    assert [row["data"] for row in lending.rows(database_url, "SELECT data FROM events")] == [None]


async def test_what_the_sql_writes_is_not_written_twice(pool: Pool, database_url: str, heard: list[Happening]) -> None:
    async with scoped(pool, OWNER) as scope:
        await happened(scope, "confirm", "read", **IDS, part=1)
    assert lending.rows(database_url, "SELECT * FROM events") == []
    assert [told.what for told in heard] == ["read"]


async def test_a_subscriber_that_fails_takes_nothing_from_others(
    monkeypatch: pytest.MonkeyPatch, heard: list[Happening], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Happening) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(happenings, "SUBSCRIBERS", (fails, *happenings.SUBSCRIBERS))
    await happened(OWNER, "deliver", "sent", **IDS, part=1)
    assert [told.what for told in heard] == ["sent"]
    assert [line["event"] for line in said(caplog)] == ["subscriber_failed", "sent"]


async def test_a_fault_of_ours_is_a_line_with_the_place_of_the_exception(
    heard: list[Happening], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        {}["nothing"]
    except LookupError as error:
        await happened(None, "answer", "turn_failed", error=type(error).__name__)
    [line] = said(caplog)
    assert (line["event"], line["level"], line["error"]) == ("turn_failed", "error", "KeyError")
    assert line["exception"].startswith("KeyError | ")
    assert "test_happenings.py" in line["exception"]
    assert heard[0].owner_id is None


def _words(node: ast.expr) -> list[str]:
    """The words that an expression may be; none where only running it tells."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    return [*_words(node.body), *_words(node.orelse)] if isinstance(node, ast.IfExp) else []


def _told() -> Iterator[tuple[str, str, ast.expr | None]]:
    """Step and word of what the source says has happened, by itself or by a step's own `_note`, and where."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "happened":
                for step in _words(node.args[1]):
                    yield from ((step, word, node.args[0]) for word in _words(node.args[2]))
            elif node.func.id in ("_note", "_stop", "Unsendable") and path.parents[1].name == "journey":
                where = None if node.func.id == "Unsendable" else node.args[0]
                yield from ((path.parent.name, word, where) for part in node.args for word in _words(part))


def test_whatever_a_step_says_has_happened_is_declared() -> None:
    found = list(_told())
    assert len({(step, word) for step, word, _ in found}) > 40
    assert sorted({(step, word) for step, word, _ in found} - set(KINDS)) == []


def test_what_has_a_row_happens_in_a_transaction() -> None:
    outside = [
        (step, word)
        for step, word, where in _told()
        if KINDS[step, word].row == "happened" and isinstance(where, ast.expr) and ast.unparse(where) != "scope"
    ]
    assert outside == []


def test_every_class_of_error_of_twilios_is_declared() -> None:
    assert {error_class for error_class in ErrorClass if ("deliver", error_class.value) not in KINDS} == set()


_INSERTED = re.compile(
    r"INSERT INTO events \([^)]*\)\s+(?:SELECT|VALUES)[^']*'(\w+)',(.*?)(?=conversation|jsonb|twin)", re.S
)


def test_what_sql_says_has_happened_is_declared() -> None:
    found = {
        (step, word)
        for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("functions/*.sql")]
        for step, what in _INSERTED.findall(path.read_text())
        for word in re.findall(r"(?:THEN|ELSE|^)\s*'(\w+)'", what)
    }
    assert len(found) > 12
    assert {key for key in found if key not in KINDS or KINDS[key].row != "sql"} == set()


def test_the_steps_tell_what_happens_in_no_other_way() -> None:
    others = []
    for folder in ("journey", "conversations"):
        for path in sorted((SOURCE / folder).rglob("*.py")):
            text = path.read_text()
            if path.name != "happenings.py" and ("structlog" in text or "events.record(" in text):
                others.append(str(path.relative_to(SOURCE)))
    assert others == []


async def test_what_nobody_declared_is_a_row_and_a_line_all_the_same(
    pool: Pool, database_url: str, heard: list[Happening], caplog: pytest.LogCaptureFixture
) -> None:
    async with scoped(pool, OWNER) as scope:
        await happened(scope, "answer", "something_new", **IDS)
    assert [told.kind for told in heard] == [UNDECLARED]
    assert [(line["event"], line["level"]) for line in said(caplog)] == [("something_new", "warning")]
    assert [row["what"] for row in lending.rows(database_url, "SELECT what FROM events")] == ["something_new"]


def test_each_kind_says_what_it_means_in_a_sentence() -> None:
    wrong: list[Any] = [key for key, kind in KINDS.items() if not (kind.means[:1].isupper() and kind.means[-1] == ".")]
    assert wrong == []
    assert [key for key, kind in KINDS.items() if kind.keeps and kind.row == "nobody"] == []
