"""Migrated databases, lent to one test after the other.

Making a database costs as much as fifty small tests, so a process makes few of them and lends them out: what a test has
left in one is taken out again before the next has it, and one in which more than rows was changed is thrown away.

A new connection costs a few milliseconds, and ten more until it has read what the tables are. So this process keeps
two to each database that it lends: one that empties it, and one with which tests look at rows.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from recado.db.embedded import Lease
from tests.postgres import create_database, drop_database

Connection: TypeAlias = "psycopg.Connection[dict[str, Any]]"

#: What was deleted leaves its pages and index entries, which every later statement reads: a larger table is too worn.
WORN_BYTES = 256 * 1024


@dataclass(slots=True, kw_only=True)
class Databases:
    """The databases of this process, to lend to its tests."""

    cluster: Lease
    template: str
    _free: list[_Lent] = field(default_factory=list, repr=False)
    _new: _State | None = field(default=None, repr=False)

    @contextmanager
    def one(self) -> Iterator[str]:
        """The superuser's URL of a database as the migrations make it, of this caller's own meanwhile.

        Raises AssertionError when the roles of the product are others afterwards: all databases share them.
        """
        lent = self._free.pop() if self._free else self._make()
        try:
            yield lent.url
        finally:
            self._take_back(lent)

    def close(self) -> None:
        """Close the connections that are kept; the databases go with the cluster."""
        for lent in self._free:
            del _LENT[lent.url]
            lent.close()

    def _make(self) -> _Lent:
        lent = _Lent(url=create_database(self.cluster, self.template))
        if self._new is None:
            self._new = _State.of(lent)
        _LENT[lent.url] = lent
        return lent

    def _take_back(self, lent: _Lent) -> None:
        try:
            lent.empty()
            state = _State.of(lent)
        except psycopg.Error:
            # It takes no connections any more, is not there, or lacks a table: the next test has another.
            state = None
        if state is not None and state == self._new and state.bytes_of_largest <= WORN_BYTES:
            self._free.append(lent)
            return
        del _LENT[lent.url]
        lent.close()
        drop_database(self.cluster, lent.url)
        assert self._new is not None
        assert state is None or state.roles == self._new.roles, "a test has changed the roles of all databases"


@contextmanager
def looking(url: str) -> Iterator[Connection]:
    """A connection of the superuser's in autocommit, to look at the tables of `recado` or to change a row.

    The kept one of a database that this process lends, else one of its own. It is for statements that wait for nobody:
    other threads may use it too.
    """
    if url in _LENT:
        yield _LENT[url].looking()
    else:
        with _connect(url, _LOOKING) as conn:
            yield conn


def rows(url: str, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """What one statement answers, as the superuser sees it; an empty list when it answers no rows."""
    with looking(url) as conn:
        cursor = conn.execute(query, parameters)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description is not None else []


def empty(url: str) -> None:
    """Take every row out of a lent database and let every sequence begin anew. Whoever else is connected is cut off.

    Rows that the migrations put there stay. Far cheaper than TRUNCATE, which makes new files for every table and index.
    """
    _LENT[url].empty()


_LOOKING = "-c search_path=recado"
# Neither triggers nor foreign keys have a say: all of it goes.
_EMPTYING = "-c session_replication_role=replica"


def _connect(url: str, options: str) -> Connection:
    # Without prepared statements of its own accord: tests change tables between two equal ones.
    return psycopg.Connection.connect(
        url, autocommit=True, row_factory=dict_row, prepare_threshold=None, options=options, application_name="tests"
    )


@dataclass(slots=True, kw_only=True)
class _Lent:
    """A database, and the connections to it that are kept."""

    url: str
    #: What each of its catalogues looked like when it was last read, and how many changes there had been.
    catalogues: dict[str, str] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    _looking: Connection | None = None
    _emptying: Connection | None = None
    _empty: str = ""

    def looking(self) -> Connection:
        if self._looking is not None and not self._looking.closed and select.select([self._looking], [], [], 0)[0]:
            # Nothing was asked and something is there to be read: a test has had this one cut off.
            self._looking.close()
        if self._looking is None or self._looking.closed:
            self._looking = _connect(self.url, _LOOKING)
        return self._looking

    def emptying(self) -> Connection:
        if self._emptying is None or self._emptying.closed:
            self._emptying = _connect(self.url, _EMPTYING)
            self._empty = _one(self._emptying, _MAKE_EMPTY)["statement"]
            # Whatever ended the one before may have ended the count too.
            self.changes = {}
        return self._emptying

    def empty(self) -> None:
        """Cut off everybody else and take out the rows."""
        try:
            self._cut_off_others()
        except psycopg.OperationalError:
            # A test has cut these off too: once more with others.
            self.close()
            self._cut_off_others()
        self.emptying().execute(self._empty, prepare=True)

    def _cut_off_others(self) -> None:
        kept = [self.emptying().info.backend_pid]
        if self._looking is not None and not self._looking.closed:
            if self._looking.info.transaction_status == TransactionStatus.IDLE:
                self._looking.execute("DISCARD ALL")
                # What was changed with it is counted now, not within a second.
                self._looking.execute("SELECT pg_stat_force_next_flush()")
                kept.append(self._looking.info.backend_pid)
            else:
                self._looking.close()
        self.emptying().execute(_CUT_OFF, [kept])

    def close(self) -> None:
        for conn in (self._looking, self._emptying):
            if conn is not None:
                conn.close()


#: The databases that this process has lent or will lend again, by URL.
_LENT: dict[str, _Lent] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What has to be as in a new database, rows apart."""

    #: What the migrations wrote into tables of theirs.
    versions: str
    #: Whether the database takes connections, whose it is, its settings and those of roles in it.
    database: str
    #: The product's roles and who is a member of whom: of all databases.
    roles: str
    #: Tables, rights, triggers, functions, statistics: everything else that is a row of a catalogue.
    catalogues: dict[str, str]
    bytes_of_largest: int = field(compare=False)

    @classmethod
    def of(cls, lent: _Lent) -> _State:
        """The state of a database to which nobody else is connected."""
        conn = lent.emptying()
        found = _one(conn, _STATE, prepare=True)
        changes = found.pop("changes")
        # To read them all costs more than everything else here.
        if changed := [name for name in changes if changes[name] != lent.changes.get(name)]:
            each = [
                _CATALOGUE.format(sql.Literal(name), sql.Identifier(name), _TEMPORARY.get(name, sql.SQL("")))
                for name in changed
            ]
            read = conn.execute(sql.SQL(" UNION ALL ").join(each))
            lent.catalogues = lent.catalogues | {row["name"]: row["state"] for row in read}
            lent.changes = changes
        return cls(catalogues=lent.catalogues, **found)


def _one(conn: Connection, query: LiteralString, *, prepare: bool | None = None) -> dict[str, Any]:
    row = conn.execute(query, prepare=prepare).fetchone()
    assert row is not None
    return row


_CUT_OFF = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL (%s)
"""
#: Tables that the migrations fill: `_State.versions` is what is in them.
_KEPT: LiteralString = "('schema_version', 'schema_revision', 'dbos_migrations')"
# A statement for all tables: to plan one for each costs more than to run them.
_MAKE_EMPTY: LiteralString = f"""
WITH ours AS (
    SELECT c.oid::regclass AS name, c.relkind, s.seqstart, row_number() OVER (ORDER BY c.oid) AS number
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND c.relkind IN ('r', 'S') AND c.relname NOT IN {_KEPT}
)
SELECT 'WITH ' || string_agg(format('t%s AS (DELETE FROM %s)', number, name), ', ') FILTER (WHERE relkind = 'r')
       || ' SELECT '
       || coalesce(string_agg(format('setval(%L, %s, false)', name, seqstart), ', ') FILTER (WHERE relkind = 'S'), '')
       AS statement
FROM ours
"""
# The server counts what is written into each table, catalogues too; whoever was connected has told by their end.
_STATE: LiteralString = """
WITH
    it AS (SELECT * FROM pg_database WHERE datname = current_database()),
    role AS (SELECT * FROM pg_authid WHERE rolname IN ('recado_app', 'recado_platform', 'recado_engine'))
SELECT
    (SELECT jsonb_object_agg(relname, pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
                                      + pg_stat_get_tuples_deleted(oid))
     FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared) AS changes,
    concat_ws(' ', (SELECT string_agg(v::text, ' ') FROM recado.schema_version v),
    (SELECT string_agg(v::text, ' ') FROM recado.schema_revision v),
                   (SELECT string_agg(version::text, ' ') FROM dbos.dbos_migrations)) AS versions,
    concat_ws(' ', (SELECT concat_ws(' ', datdba, datallowconn, datconnlimit, datacl) FROM it),
                   (SELECT string_agg(concat_ws(' ', setrole, setconfig), ' ' ORDER BY setrole)
                    FROM pg_db_role_setting JOIN it ON setdatabase = it.oid)) AS database,
    concat_ws(' ', (SELECT string_agg(role::text, ' ' ORDER BY rolname) FROM role),
                   (SELECT string_agg(concat_ws(' ', roleid, member), ' ' ORDER BY roleid, member)
                    FROM pg_auth_members WHERE member IN (SELECT oid FROM role)),
                   (SELECT string_agg(concat_ws(' ', setrole, setconfig), ' ' ORDER BY setrole)
                    FROM pg_db_role_setting WHERE setdatabase = 0)) AS roles,
    (SELECT max(pg_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace <> ALL
        ('{pg_catalog, information_schema, pg_toast}'::regnamespace[])) AS bytes_of_largest
"""
# A catalogue's rows know the transaction that wrote them, and copies of a database have the same: so many rows, and the
# last transaction, counted from the first that there can be. Schemas of temporary tables stay behind and mean nothing.
_CATALOGUE = sql.SQL("""
SELECT {} AS name, concat_ws(' ', count(*), age('3'::xid) - nullif(min(age(xmin)), 2147483647)) AS state
FROM pg_catalog.{} {}
""")
_TEMPORARY = {"pg_namespace": sql.SQL("WHERE nspname !~ '^pg_(toast_)?temp_'")}
