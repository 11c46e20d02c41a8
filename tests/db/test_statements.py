"""Every statement of the source is one that PostgreSQL can make a plan of, as the role that executes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

import psycopg
import pytest
from psycopg import errors

from recado.db.pool import Role, conninfo
from recado.journey.accept import accept
from recado.journey.confirm import confirm
from recado.ops import failed
from tests.db.statements import Statement, statements
from tests.lending import Databases

#: Statements that are put together when they are executed, and the reason: module and function.
NOT_FOUND = {
    ("recado.channels.twilio.accounts", "_set_secret"): "the column is one of three, by its argument",
    ("recado.cli.demo.play", "_observe"): "`_observe` has a function of its own to ask with",
    ("recado.cli.identity", "_owner_of"): "the table is an argument of its callers",
    ("recado.db.basebackup", "_give_passwords"): "login and password stand in it",
    ("recado.ops.backup.keys", "needed"): "made for each column that has secrets",
    ("recado.ops.backup.take", "_counts"): "made for each table that is counted",
    ("recado.ops.backup.take", "_row"): "what its callers give it is found there",
    ("recado.db.group_commit", "_attempt"): "settings: numbers stand in them",
    ("recado.db.scope", "scoped"): "the owner's id stands in it",
    ("recado.identity.plans", "meter_turn"): "as many calls of functions as there is to count",
    ("recado.identity.authority", "withdraw"): "table and columns are arguments of its callers",
    ("recado.ops.finding", "answered"): "what its callers give it is found there",
    ("recado.ops.engine.claims", "_claim"): "one of the two in _FIND and _TAKE, which are found",
    ("recado.ops.engine.process", "give_back_unstarted"): "made by SQLAlchemy of the engine's own tables",
    ("recado.ops.privacy.erase", "_delete"): "made for each table of the map of personal data",
    ("recado.ops.privacy.erase", "_erase_messages"): "one of four, which are found",
    ("recado.ops.privacy.export", "_rows"): "made for each table of the map of personal data",
    ("recado.ops.privacy.periods", "_messages"): "one of five, which are found",
    ("recado.ops.privacy.periods", "count"): "one of those in _COUNTS, which are found",
    ("recado.ops.rekey", "usage"): "made for each table that has secrets",
    ("recado.ops.rekey", "rekey"): "made for each table that has secrets",
    ("recado.ops.rekey", "_seal_again"): "made for each table that has secrets",
    ("recado.wiring", "_prepare_embedded"): "makes database and logins, before there is a schema",
}
#: Constants that are parts of statements, which are found: module and name.
PARTS = {
    ("recado.identity.authority", "_KEYS_OF"): "begins what `withdraw` puts together",
}
#: Types that psycopg tells PostgreSQL with the values, where the text alone would mean others.
TYPED = {
    ("recado.identity.plans", "usage"): {"period": "date", "stock": "date"},
    ("recado.channels.twilio.numbers", "to_ask_for"): {
        "now": "timestamptz",
        "asked_every": "interval",
        "proven_for": "interval",
    },
}
#: What makes no plan: transactions, settings, functions of a session.
_NO_PLAN = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SET|LISTEN|UNLISTEN|CREATE|DISCARD)\b")
#: Variables of those functions, by whose statements they are named; and what type they are.
_VARIABLE = re.compile(r"\b(?:owned|callback)\.(\w+)")
_TYPES = {"owner_id": "uuid", "message_id": "uuid", "rows": "json", "part": "smallint", "error_code": "int"}
_ROLES: dict[Role, str] = {
    "recado_app": r"scope|pool|borrowed",
    "recado_platform": r"platform",
    "recado_engine": r"engine",
}


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.one() as url:
        yield url


@pytest.fixture(scope="module")
def connections(url: str) -> Iterator[dict[Role, psycopg.Connection]]:
    made = {role: psycopg.connect(conninfo(url, role), autocommit=True) for role in _ROLES}
    for function in (accept._FUNCTION, confirm._FUNCTION):
        made["recado_app"].execute(function)
    yield made
    for connection in made.values():
        connection.close()


def roles(one: Statement) -> list[Role]:
    """Who executes it: the role of its connection, or where that is an argument one of those that it is given."""
    for role in ("recado_platform", "recado_engine", "recado_app"):
        if re.search(_ROLES[role], one.by):  # type: ignore[index]
            return [role]  # type: ignore[list-item]
    return ["recado_app", "recado_platform", "recado_engine"]


def numbered(sql: str, types: Mapping[str, str]) -> str:
    """The statement with its parameters as PostgreSQL has them: psycopg binds each name once, and each `%s` apart."""
    sql = re.sub(
        r"\APERFORM",
        "SELECT",
        _VARIABLE.sub(lambda found: f"%({found[1]})s::{_TYPES.get(found[1], 'text')}", sql.strip()),
    )
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1] or f"{len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}" + (f"::{types[name]}" if name in types else "")

    return re.sub(r"%%|%(?:\((\w+)\))?[sbt]", number, sql)


def plan(conn: psycopg.Connection, sql: str) -> None:
    """Have PostgreSQL check the statement: its names, its types, and that this role may do it.

    psycopg says the types of what it sends, which stand nowhere in the text: what can't be told without is tried.
    """
    for given in ("text", "date", "timestamptz", "uuid", "bigint"):
        typed = sql
        with suppress(errors.UndefinedFunction):
            while True:
                try:
                    with conn.transaction():
                        conn.execute("EXPLAIN (GENERIC_PLAN) " + typed)  # type: ignore[call-overload]
                except errors.IndeterminateDatatype as error:
                    untyped = re.search(r"\$\d+", str(error))
                    assert untyped is not None
                    typed = re.sub(rf"\{untyped[0]}(?!\d|::)", f"{untyped[0]}::{given}", typed)
                else:
                    return
        if typed == sql:
            break
    with conn.transaction():
        conn.execute("EXPLAIN (GENERIC_PLAN) " + typed)  # type: ignore[call-overload]


def test_every_statement_of_the_source_can_be_planned_as_the_role_that_executes_it(
    connections: dict[Role, psycopg.Connection],
) -> None:
    wrong, planned = [], 0
    for one in statements():
        if one.sql is None or _NO_PLAN.match(one.sql):
            continue
        if (one.module, one.where) in PARTS or one.by.startswith("psycopg.connect"):
            continue
        refused = []
        for role in roles(one):
            try:
                plan(connections[role], numbered(one.sql, TYPED.get((one.module, one.where), {})))
            except psycopg.Error as error:
                refused.append(f"{role}: {str(error).splitlines()[0]}")
            else:
                planned += 1
                break
        else:
            wrong.append(f"{one.module} {one.where} ({one.by}): {refused}")
    assert wrong == []
    assert planned > 300


def test_what_can_not_be_found_in_the_source_is_known_and_why() -> None:
    assert {(one.module, one.where) for one in statements() if one.sql is None} == set(NOT_FOUND)
    assert set(PARTS) <= {(one.module, one.where) for one in statements()}


def test_what_may_be_cured_is_found_by_an_index_whatever_words_there_are(
    connections: dict[Role, psycopg.Connection],
) -> None:
    conn = connections["recado_platform"]
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL enable_seqscan = off")
        query = f"EXPLAIN SELECT owner_id, message_id FROM media WHERE reason IN ({failed._CURABLE})"
        plan_of = "".join(line for (line,) in conn.execute(query))  # type: ignore[call-overload]
    assert "media_reason" in plan_of
