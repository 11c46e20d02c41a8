"""Checks of the installation: database, roles, workers, releases, what waits, what was restored, jobs."""

from __future__ import annotations

from recado.db.pool import Connection
from recado.db.schema import HEAD, standing
from recado.ops import release
from recado.ops.finding import Finding, answered, counted, fail, lasting, ok, warn
from recado.ops.health import ALIVE, NO_TEMPORARY, answering, may_accept

OLDEST_POSTGRESQL = 15
#: A message that has waited so long, in seconds, is late; and so long, nobody can be working.
LATE_S, STUCK_S = 60, 600
#: The workers' queues, and what stands still without a worker for one.
QUEUES = {
    "turns": "nothing is answered",
    "deliveries": "no answer is sent",
    "media": "voice notes, pictures and documents are not fetched, and what comes with them is answered late",
}


async def schema(conn: Connection) -> list[Finding]:
    [row] = await answered(conn, "SELECT current_setting('server_version_num')::int / 10000 AS version")
    if row["version"] < OLDEST_POSTGRESQL:
        return [
            fail("database", f"PostgreSQL {row['version']}", f"recado needs PostgreSQL {OLDEST_POSTGRESQL} or newer")
        ]
    findings = [ok("database", f"PostgreSQL {row['version']} answers")]
    found = await standing(conn)
    if found.state == "newer":
        fix = "install the recado that migrated it, or restore the backup made before"
        return [*findings, fail("schema", f"migrated by recado {found.recado}, with which this one can't work", fix)]
    if not found.serves:
        return [*findings, fail("schema", f"the schema is {found.state}", "run `recado migrate`")]
    [dbos] = await answered(conn, "SELECT to_regclass('dbos.workflow_status') IS NOT NULL AS there")
    if not dbos["there"]:
        return [*findings, fail("schema", "the workflow engine's tables are missing", "run `recado migrate`")]
    if found.state == "ahead":
        text = f"schema {found.revision} of recado {found.recado}; this one, of {HEAD}, works with it"
        return [*findings, warn("schema", text, "finish the upgrade, or go back, when you are sure")]
    fixes = {"functions behind": "run `recado migrate`"}
    fix = "`recado migrate --functions` puts this recado's, when no newer one is in use"
    return [
        *findings,
        ok("schema", f"schema {found.revision} is the present one"),
        *(warn("schema", text, fixes.get(text.partition(":")[0], fix)) for text in found.warnings),
    ]


async def role(conn: Connection) -> list[Finding]:
    if not await may_accept(conn):
        [database] = await answered(conn, "SELECT quote_ident(current_database()) AS name")
        fix = f"GRANT TEMPORARY ON DATABASE {database['name']} TO PUBLIC"
        return [fail("role", f"{NO_TEMPORARY}: no webhook can be accepted", fix)]
    [login] = await answered(
        conn,
        """
        SELECT r.rolname AS name, r.rolsuper OR r.rolbypassrls AS privileged,
               (SELECT count(*) FROM pg_tables t
                WHERE t.schemaname IN ('recado', 'dbos') AND t.tableowner = r.rolname) AS owned,
               pg_has_role(r.oid, 'recado_platform', 'MEMBER') OR pg_has_role(r.oid, 'recado_engine', 'MEMBER')
                   AS across
        FROM pg_roles r WHERE r.rolname = session_user
        """,
    )
    working = await answered(
        conn,
        """
        SELECT r.rolname AS name FROM pg_roles r
        WHERE r.rolname IN ('recado_app', 'recado_platform', 'recado_engine')
          AND (r.rolsuper OR r.rolbypassrls
               OR EXISTS (SELECT FROM pg_tables t WHERE t.schemaname = 'recado' AND t.tableowner = r.rolname))
        """,
    )
    if working:
        return [
            fail(
                "role",
                f"{working[0]['name']} can get around row-level security",
                f"ALTER ROLE {working[0]['name']} NOSUPERUSER NOBYPASSRLS, and give its tables to another role",
            )
        ]
    if login["privileged"] or login["owned"]:
        why = "is a superuser or bypasses row-level security" if login["privileged"] else "owns the tables"
        return [
            warn(
                "role",
                f"the login of RECADO_DATABASE_URL {why}; recado works under roles that don't, but that can be undone",
                "use a login of its own, and this one in RECADO_MIGRATE_URL for `recado migrate`",
            )
        ]
    if login["across"]:
        return [
            warn(
                "role",
                "the login of RECADO_DATABASE_URL may go across owners too: one injected statement sees every row",
                "set RECADO_PLATFORM_URL to a login of its own, then run `recado migrate`",
            )
        ]
    return [ok("role", "the application's login is no superuser, owns no table and sees one owner at a time")]


async def workers(conn: Connection) -> list[Finding]:
    [row] = await answered(
        conn,
        f"""
        SELECT count(*) FILTER (WHERE alive) AS alive, count(*) FILTER (WHERE NOT alive) AS dead,
               coalesce(extract(epoch FROM now() - min(started_at) FILTER (WHERE alive)), 0)::int AS age_s
        FROM (SELECT e.started_at, {ALIVE} AS alive FROM executors e) known
        """,  # noqa: S608 - a constant
    )
    if not row["alive"]:
        return [fail("workers", "no worker is alive: nothing is answered", "start `recado serve` or `recado worker`")]
    findings = [ok("workers", f"{row['alive']} alive, the oldest for {lasting(row['age_s'])}")]
    found = await answering(conn)
    for queue, what in QUEUES.items():
        if not found.live[queue]:
            fix = f"start `recado worker`, or one with --queues {queue}"
            findings.append(fail("workers", f"no live worker serves the queue {queue}: {what}", fix))
    for queue in found.late:
        text = f"what is due in the queue {queue} has waited for {lasting(int(found.oldest_s[queue]))}"
        findings.append(warn("workers", text, "more workers, or a look at what the workers' logs say"))
    if row["dead"]:
        text = f"dead, their work not taken over yet: {row['dead']}"
        findings.append(warn("workers", text, "a live worker does so within seconds; look again"))
    return findings


async def releases(conn: Connection) -> list[Finding]:
    found = await release.status(conn)
    drains = [one.version for one in found.versions if one.draining and one.workers]
    findings = [fail("release", what, fix) for what, fix in found.problems]
    if drains:
        text = f"workers of version {', '.join(drains)} of the workflows drain: they take no new work"
        fix = "`recado release status` says what they have left; stop them when that is nothing"
        findings.append(warn("release", text, fix))
    return findings


async def backlog(conn: Connection) -> list[Finding]:
    [row] = await answered(
        conn,
        """
        SELECT count(*) FILTER (WHERE inbound) AS pending, count(*) FILTER (WHERE NOT inbound) AS queued,
               coalesce(extract(epoch FROM now() - min(received_at)), 0)::int AS age_s
        FROM (
            SELECT m.received_at, m.direction = 'inbound' AS inbound FROM messages m
            WHERE m.status = 'received' AND m.direction = 'inbound'
               OR m.status = 'queued' AND m.direction = 'outbound'
              AND (NOT EXISTS (SELECT FROM message_parts p WHERE p.owner_id = m.owner_id AND p.message_id = m.id)
                   OR EXISTS (SELECT FROM message_parts p WHERE p.owner_id = m.owner_id AND p.message_id = m.id
                              AND p.status = 'waiting'))
        ) waiting
        """,
    )
    text = f"waiting for an answer: {counted(row['pending'], 'message')}, for delivery: {row['queued']}"
    if row["age_s"] < LATE_S:
        return [ok("backlog", text)]
    text += f", the oldest for {lasting(row['age_s'])}"
    fix = "`recado trace` shows where one stands; more workers take more turns at once"
    return [(fail if row["age_s"] >= STUCK_S else warn)("backlog", text, fix)]


async def restored(conn: Connection) -> list[Finding]:
    """Accounts that keep silent since the database was restored; nothing to say where it never was."""
    rows = await answered(
        conn,
        """
        SELECT DISTINCT a.account_sid, q.error, (SELECT max(moment) FROM restores) AS moment FROM quarantine q
        JOIN twilio_accounts a ON a.owner_id = q.owner_id AND a.id = q.account_id
        WHERE q.released_at IS NULL ORDER BY a.account_sid
        """,
    )
    if not rows:
        return []
    failed_for = {row["account_sid"]: row["error"] for row in rows if row["error"]}
    text = f"restored to {rows[0]['moment']:%Y-%m-%dT%H:%M:%SZ}: nothing is sent for {counted(len(rows), 'account')}"
    if failed_for:
        sid, why = next(iter(failed_for.items()))
        text += f"; {sid}: {why}"
    return [fail("restore", text, "`recado restore status`, then `recado restore release`")]


async def jobs(conn: Connection) -> list[Finding]:
    """Jobs whose last run failed, that were due long ago, or that run for longer than they may."""
    rows = await answered(
        conn,
        """
        SELECT name, outcome, error, failures,
               extract(epoch FROM now() - next_at)::int AS late_s, holder IS NOT NULL AS running,
               coalesce(held_until < now(), false) AS too_long
        FROM jobs WHERE failures > 0 OR next_at < now() - interval '10 minutes' OR held_until < now() ORDER BY name
        """,
    )
    found = []
    for row in rows:
        if row["too_long"]:
            found.append(
                warn("jobs", f"{row['name']} runs for longer than it may", "the workers' log says what it does")
            )
        elif row["failures"]:
            text = f"{row['name']} failed, {counted(row['failures'], 'time')} in a row: {row['error']}"
            found.append(warn("jobs", text, f"the workers' log says why; `recado jobs run {row['name']}` tries again"))
        elif not row["running"]:
            text = f"{row['name']} is due since {lasting(row['late_s'])}"
            found.append(warn("jobs", text, "start `recado serve` or `recado worker`: they run jobs"))
    return found or [ok("jobs", "none has failed, none is late")]
