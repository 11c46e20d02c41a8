"""What stands in the way of the product's promises, and what to do about each.

Every check is a function that gives lines; none changes anything, and one that breaks does not stop the others.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from recado.channels.twilio.signature import canonical_url
from recado.db.pool import Connection
from recado.db.schema import HEAD, standing
from recado.db.secrets import Keyring
from recado.errors import SecretError, SettingsError
from recado.ops import failed, release
from recado.ops.health import ALIVE, NO_TEMPORARY, answering, may_accept
from recado.references import References
from recado.settings import Settings
from recado.webhooks.endpoints import WHYS

State = Literal["ok", "warn", "fail"]

#: Where Twilio posts what contacts write; the fragment tells Twilio to try again (it is not part of the signature).
INBOUND_PATH = "/channels/twilio/v1/webhooks/inbound"
RETRY_FRAGMENT = "#rc=3&rp=ct,rt,5xx"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OLDEST_POSTGRESQL = 15
#: A message that has waited so long, in seconds, is late; and so long, nobody can be working.
LATE_S, STUCK_S = 60, 600
#: The workers' queues, and what stands still without a worker for one.
QUEUES = {
    "turns": "nothing is answered",
    "deliveries": "no answer is sent",
    "media": "voice notes, pictures and documents are not fetched, and what comes with them is answered late",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check: what is so, and what to do unless it is well."""

    name: str
    state: State
    text: str
    fix: str | None = None


def ok(name: str, text: str) -> Finding:
    return Finding(name=name, state="ok", text=text)


def warn(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="warn", text=text, fix=fix)


def fail(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="fail", text=text, fix=fix)


Look = Callable[[Connection], Awaitable[list[Finding]]]


async def examine(platform: Connection, app: Connection, keyring: Keyring | None) -> list[Finding]:
    """All that the database can tell, in the order in which it should be put right.

    `app` is a connection of the application's, for what its login may do; all else is asked on `platform`.
    """
    findings = await _schema(platform)
    if any(finding.state == "fail" for finding in findings):
        return findings

    async def secrets(conn: Connection) -> list[Finding]:
        return await _secrets(conn, keyring)

    async def role(_: Connection) -> list[Finding]:
        return await _role(app)

    looks: Sequence[tuple[str, Look]] = (
        ("role", role),
        ("workers", _workers),
        ("release", _release),
        ("backlog", _backlog),
        ("accounts", secrets),
        ("restore", _restored),
        ("numbers", _numbers),
        ("channels", _channels),
        ("conversations", _attention),
        ("failed", _failed),
        ("turns", _broken),
        ("webhooks", _webhooks),
        ("jobs", _jobs),
        ("erasures", _erasures),
    )
    for name, look in looks:
        try:
            findings += await look(platform)
        except Exception as error:
            findings.append(fail(name, f"could not be checked: {type(error).__name__}", "run it again; then the logs"))
    return findings


async def _rows(conn: Connection, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    # The queries are constants of this module.
    return await (await conn.execute(query, parameters)).fetchall()


async def _schema(conn: Connection) -> list[Finding]:
    [row] = await _rows(conn, "SELECT current_setting('server_version_num')::int / 10000 AS version")
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
    [dbos] = await _rows(conn, "SELECT to_regclass('dbos.workflow_status') IS NOT NULL AS there")
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


async def _role(conn: Connection) -> list[Finding]:
    if not await may_accept(conn):
        [database] = await _rows(conn, "SELECT quote_ident(current_database()) AS name")
        fix = f"GRANT TEMPORARY ON DATABASE {database['name']} TO PUBLIC"
        return [fail("role", f"{NO_TEMPORARY}: no webhook can be accepted", fix)]
    [login] = await _rows(
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
    working = await _rows(
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


async def _workers(conn: Connection) -> list[Finding]:
    [row] = await _rows(
        conn,
        f"""
        SELECT count(*) FILTER (WHERE alive) AS alive, count(*) FILTER (WHERE NOT alive) AS dead,
               coalesce(extract(epoch FROM now() - min(started_at) FILTER (WHERE alive)), 0)::int AS age_s
        FROM (SELECT e.started_at, {ALIVE} AS alive FROM executors e) known
        """,  # noqa: S608 - a constant
    )
    if not row["alive"]:
        return [fail("workers", "no worker is alive: nothing is answered", "start `recado serve` or `recado worker`")]
    findings = [ok("workers", f"{row['alive']} alive, the oldest for {_ago(row['age_s'])}")]
    found = await answering(conn)
    for queue, what in QUEUES.items():
        if not found.live[queue]:
            fix = f"start `recado worker`, or one with --queues {queue}"
            findings.append(fail("workers", f"no live worker serves the queue {queue}: {what}", fix))
    for queue in found.late:
        text = f"what is due in the queue {queue} has waited for {_ago(int(found.oldest_s[queue]))}"
        findings.append(warn("workers", text, "more workers, or a look at what the workers' logs say"))
    if row["dead"]:
        text = f"dead, their work not taken over yet: {row['dead']}"
        findings.append(warn("workers", text, "a live worker does so within seconds; look again"))
    return findings


async def _release(conn: Connection) -> list[Finding]:
    found = await release.status(conn)
    drains = [one.version for one in found.versions if one.draining and one.workers]
    findings = [fail("release", what, fix) for what, fix in found.problems]
    if drains:
        text = f"workers of version {', '.join(drains)} of the workflows drain: they take no new work"
        fix = "`recado release status` says what they have left; stop them when that is nothing"
        findings.append(warn("release", text, fix))
    return findings


async def _backlog(conn: Connection) -> list[Finding]:
    [row] = await _rows(
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
    text = f"waiting for an answer: {_count(row['pending'], 'message')}, for delivery: {row['queued']}"
    if row["age_s"] < LATE_S:
        return [ok("backlog", text)]
    text += f", the oldest for {_ago(row['age_s'])}"
    fix = "`recado trace` shows where one stands; more workers take more turns at once"
    return [(fail if row["age_s"] >= STUCK_S else warn)("backlog", text, fix)]


async def _secrets(conn: Connection, keyring: Keyring | None) -> list[Finding]:
    rows = await _rows(conn, "SELECT * FROM twilio_accounts WHERE removed_at IS NULL ORDER BY id")
    if not rows:
        return [warn("accounts", "there is no Twilio account", "`recado owners add`, then `recado accounts add`")]
    if keyring is None:
        return []
    closed = [row["account_sid"] for row in rows if not _opens(keyring, row)]
    if closed:
        text = f"a secret of {', '.join(closed[:5])} can't be decrypted ({len(closed)} of {len(rows)} accounts)"
        fix = "put the key it was stored with back into RECADO_SECRET_KEYS, or give the token again: accounts add"
        return [fail("accounts", text, fix)]
    findings = [ok("accounts", f"{_count(len(rows), 'Twilio account')}, every stored secret can be decrypted")]
    findings += await _unproven(conn)
    known = References()
    for row in rows:
        for reference in (row[f"{column}_ref"] for column in _SECRETS if row[f"{column}_ref"] is not None):
            try:
                await known.resolve(reference)
            except SecretError as error:
                text = f"a secret of {row['account_sid']} can't be read here: {error}"
                findings.append(fail("accounts", text, "put it there, where every process of recado can read it"))
    return findings


async def _restored(conn: Connection) -> list[Finding]:
    """Accounts that keep silent since the database was restored; nothing to say where it never was."""
    rows = await _rows(
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
    text = f"restored to {rows[0]['moment']:%Y-%m-%dT%H:%M:%SZ}: nothing is sent for {_count(len(rows), 'account')}"
    if failed_for:
        sid, why = next(iter(failed_for.items()))
        text += f"; {sid}: {why}"
    return [fail("restore", text, "`recado restore status`, then `recado restore release`")]


async def _unproven(conn: Connection) -> list[Finding]:
    """What another owner gets who proves that it is theirs, numbers included: those stop being answered then."""
    rows = await _rows(
        conn,
        """
        SELECT a.owner_id, a.account_sid, a.auth_token_ref,
               (SELECT string_agg(n.address, ', ' ORDER BY n.id) FROM numbers n
                WHERE n.owner_id = a.owner_id AND n.account_id = a.id AND n.status = 'active') AS numbers
        FROM twilio_accounts a WHERE a.removed_at IS NULL AND a.proven_at IS NULL ORDER BY a.id
        """,
    )
    found = []
    for row in rows:
        text = f"{row['account_sid']} is unproven: Twilio could not be asked, and who proves that it is theirs gets it"
        if row["numbers"]:
            text += f"; {row['numbers']} would not be answered any more"
        how = "--auth-token-stdin" if row["auth_token_ref"] is None else f"--auth-token-ref {row['auth_token_ref']}"
        add = f"recado accounts add --owner {row['owner_id']} --account-sid {row['account_sid']} {how}"
        found.append(warn("accounts", text, f"give the same token again where Twilio can be reached: {add}"))
    return found


_SECRETS = ("auth_token", "secondary_token", "api_key_secret")


def _opens(keyring: Keyring, row: dict[str, Any]) -> bool:
    try:
        for column in _SECRETS:
            if row[column] is not None:
                keyring.open(row[column], owner_id=row["owner_id"], row=f"twilio_accounts/{row['id']}/{column}")
    except SecretError:
        return False
    return True


async def _numbers(conn: Connection) -> list[Finding]:
    rows = await _rows(
        conn,
        """
        SELECT a.account_sid, n.address,
               (SELECT count(*) FROM conversations v
                JOIN messages m ON m.owner_id = v.owner_id AND m.conversation_id = v.id AND m.status = 'unrouted'
                                AND m.id > uuid_floor(now() - interval '24 hours')
                WHERE v.owner_id = n.owner_id AND v.number_id = n.id) AS waiting
        FROM numbers n JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
        WHERE n.status = 'unrouted' AND starts_with(n.address, 'whatsapp:') AND a.removed_at IS NULL ORDER BY n.id
        """,
    )
    if rows:
        return [
            warn(
                "numbers",
                f"{row['address']} is unrouted; waiting for it: {_count(row['waiting'], 'message')}",
                f"recado numbers add --account {row['account_sid']} --address {shlex.quote(row['address'])}",
            )
            for row in rows
        ]
    [row] = await _rows(conn, "SELECT count(*) AS n FROM numbers")
    if not row["n"]:
        return [warn("numbers", "there is no number", "recado numbers add --account AC... --address whatsapp:+...")]
    return await _not_listed(conn) or [ok("numbers", f"{_count(row['n'], 'number')}, none unrouted")]


async def _not_listed(conn: Connection) -> list[Finding]:
    """Numbers of which Twilio was asked, and did not say that they are their account's."""
    rows = await _rows(
        conn,
        """
        SELECT a.account_sid, n.address
        FROM numbers n JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
        WHERE n.status = 'active' AND starts_with(n.address, 'whatsapp:') AND n.asked_at IS NOT NULL
          AND n.proven_at IS NULL AND a.proven_at IS NOT NULL AND a.removed_at IS NULL ORDER BY n.id
        """,
    )
    return [
        warn(
            "numbers",
            f"{row['address']} is unproven: Twilio does not list it among the online senders of {row['account_sid']}",
            "look at the account's WhatsApp senders at Twilio; recado asks again every 15 minutes",
        )
        for row in rows
    ]


async def _channels(conn: Connection) -> list[Finding]:
    rows = await _rows(
        conn,
        """
        SELECT a.account_sid, n.address, count(*) AS kept, max(m.received_at)::date AS latest
        FROM numbers n
        JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
        JOIN conversations v ON v.owner_id = n.owner_id AND v.number_id = n.id
        JOIN messages m ON m.owner_id = v.owner_id AND m.conversation_id = v.id AND m.direction = 'inbound'
        WHERE NOT starts_with(n.address, 'whatsapp:') AND m.status = 'held'
          AND m.id > uuid_floor(now() - interval '7 days') GROUP BY 1, 2, n.id ORDER BY n.id
        """,
    )
    return [
        warn(
            "channels",
            f"{row['address']} of {row['account_sid']} got {_count(row['kept'], 'message')} by another channel than "
            f"WhatsApp, the latest on {row['latest']}: kept, nobody is answered there",
            "give that number another webhook at Twilio, or none; `recado failed list` shows them",
        )
        for row in rows
    ] or [ok("channels", "all messages of the last 7 days came by WhatsApp")]


async def _attention(conn: Connection) -> list[Finding]:
    [row] = await _rows(
        conn,
        """
        SELECT count(*) AS n, min(id::text) AS first,
               coalesce(extract(epoch FROM now() - min(coalesce(last_inbound_at, opened_at))), 0)::int AS age_s
        FROM conversations WHERE status <> 'closed' AND (attention IS NOT NULL OR status = 'handoff')
        """,
    )
    if not row["n"]:
        return [ok("conversations", "none waits for people")]
    text = f"waiting for people: {row['n']}, the oldest for {_ago(row['age_s'])} (conversation {row['first']})"
    return [warn("conversations", text, "answer them, or add what was asked with `recado knowledge add`")]


async def _failed(conn: Connection) -> list[Finding]:
    """What `recado failed list` lists: what is older, answered, closed or overtaken waits for nobody."""
    rows = await failed.waiting(conn)
    of = {status: [row for row in rows if row["status"] == status] for status in ("failed", "held", "answered")}
    count = {status: sum(row["n"] for row in found) for status, found in of.items()}
    if not rows:
        return [ok("failed", "no message that failed or is held waits for anybody")]
    text = f"failed: {_count(count['failed'], 'message')}, held: {count['held']}"
    if of["held"]:
        text += f" ({', '.join('{held_for} {n}'.format_map(row) for row in of['held'])})"
    if count["answered"]:
        text += f", answered without what came with it: {count['answered']}"
    return [warn("failed", text, "`recado failed list` says why, `recado failed retry` tries again")]


async def _broken(conn: Connection) -> list[Finding]:
    """Turns of the last day that broke or went in circles; of messages, whose index tells them without reading all."""
    [row] = await _rows(
        conn,
        """
        SELECT count(*) FILTER (WHERE held_for = 'broken') AS broken,
               count(*) FILTER (WHERE held_for = 'loop') AS loops,
               min(id::text) FILTER (WHERE held_for = 'broken') AS first
        FROM messages
        WHERE status = 'held' AND held_for IN ('broken', 'loop') AND id > uuid_floor(now() - interval '24 hours')
        """,
    )
    findings = []
    if row["broken"]:
        text = f"turns broke in the last 24 hours: {_count(row['broken'], 'message')}, the first {row['first']}"
        findings.append(warn("turns", text, "`recado trace` says why, the log where; then `recado failed retry`"))
    if row["loops"]:
        text = f"held as a machine's in the last 24 hours: {_count(row['loops'], 'message')}"
        findings.append(warn("turns", text, "look at those conversations; RECADO_TURNS_PER_HOUR is the bound"))
    return findings or [ok("turns", "none broke in the last 24 hours")]


async def _webhooks(conn: Connection) -> list[Finding]:
    """Owners' endpoints that get nothing though nobody wanted that; their addresses are the owners' own business."""
    rows = await _rows(
        conn,
        """
        SELECT w.id, w.disabled_why, coalesce(extract(epoch FROM now() - w.failing_since), 0)::int AS failing_s
        FROM webhooks w JOIN owners o ON o.id = w.owner_id AND o.status = 'active'
        WHERE w.disabled_why IN ('gone', 'failing')
           OR w.status = 'enabled' AND w.failing_since < now() - interval '10 minutes'
        ORDER BY w.id
        """,
    )
    fix = "`recado webhooks attempts ID` says why, `recado webhooks test ID` tries, `recado webhooks enable ID` goes on"
    return [
        warn(
            "webhooks",
            f"{row['id']} is disabled: {WHYS[row['disabled_why']]}"
            if row["disabled_why"]
            else f"{row['id']} has taken nothing for {_ago(row['failing_s'])}; it is disabled after five days",
            fix,
        )
        for row in rows
    ] or [ok("webhooks", "every endpoint that is enabled takes what it is posted")]


async def _erasures(conn: Connection) -> list[Finding]:
    """Erasures that left something at Twilio, and those that nobody goes on with."""
    rows = await _rows(
        conn,
        """
        SELECT e.id, e.owner_id, e.status, extract(epoch FROM now() - e.look_again_at)::int AS late_s,
               (SELECT count(*) FROM erasure_items i
                WHERE i.owner_id = e.owner_id AND i.erasure_id = e.id AND i.status = 'left') AS kept
        FROM erasures e
        WHERE e.status = 'incomplete'
           OR e.status IN ('stopping', 'erasing', 'twilio') AND e.look_again_at < now() - interval '10 minutes'
        ORDER BY e.id
        """,
    )
    again = "`recado contacts erasures --owner {owner_id}` says why; `recado contacts erase` of the contact tries again"
    return [
        warn("erasures", f"{row['id']}: Twilio did not let go {row['kept']}", again.format_map(row))
        if row["status"] == "incomplete"
        else warn("erasures", f"{row['id']} is due since {_ago(row['late_s'])}", "start a worker: it goes on with it")
        for row in rows
    ] or [ok("erasures", "none is late, none has left anything")]


async def _jobs(conn: Connection) -> list[Finding]:
    """Jobs whose last run failed, that were due long ago, or that run for longer than they may."""
    rows = await _rows(
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
            text = f"{row['name']} failed, {_count(row['failures'], 'time')} in a row: {row['error']}"
            found.append(warn("jobs", text, f"the workers' log says why; `recado jobs run {row['name']}` tries again"))
        elif not row["running"]:
            text = f"{row['name']} is due since {_ago(row['late_s'])}"
            found.append(warn("jobs", text, "start `recado serve` or `recado worker`: they run jobs"))
    return found or [ok("jobs", "none has failed, none is late")]


def examine_settings(settings: Settings) -> list[Finding]:
    """What the settings alone can tell: the public URL, and the address to give Twilio."""
    if settings.public_url is None:
        fix = "set RECADO_PUBLIC_URL to the https:// address that Twilio calls"
        if settings.trusted_proxies:
            text = "RECADO_PUBLIC_URL is not set: signatures hold by the proxies' headers, but no status comes back"
            return [warn("public url", text, fix)]
        text = "RECADO_PUBLIC_URL is not set: only calls by plain http that no proxy changed hold, no status comes back"
        return [fail("public url", text, fix)]
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    if "_" in host:
        text = f"{host} has an underscore: Twilio refuses such a host in status callbacks"
        return [fail("public url", text, "use a host name without underscore")]
    # As the webhooks' door writes it before it checks the signature over it.
    checked = canonical_url({"raw_path": INBOUND_PATH.encode()}, public_url=settings.public_url)
    paste = f"{checked}{RETRY_FRAGMENT}"
    webhook = ok("webhook", f"Twilio's webhook for incoming messages (POST): {paste}")
    if parts.scheme != "https" and host not in LOOPBACK:
        text = f"{settings.public_url} is not https: messages travel in clear"
        return [warn("public url", text, "put it behind TLS and set RECADO_PUBLIC_URL to https://..."), webhook]
    if host in LOOPBACK and settings.twilio_api_url is None:
        text = f"{settings.public_url} is this machine only: Twilio can't call it"
        return [warn("public url", text, "set RECADO_PUBLIC_URL to the address that Twilio calls"), webhook]
    return [ok("public url", settings.public_url), webhook]


def examine_models(models: Sequence[str], check: Callable[[str], None]) -> list[Finding]:
    """Whether each model can be made here; without any the keyless assistant answers."""
    if not models:
        return [ok("model", "none is set: the keyless assistant answers from the knowledge")]
    findings = []
    for model in models:
        try:
            check(model)
            findings.append(ok("model", f"{model} can be used here"))
        except SettingsError as error:
            findings.append(fail("model", str(error), "set it, or take another model: the keyless assistant answers"))
    return findings


async def models_in_use(platform: Connection, default: str | None) -> list[str]:
    """The models that assistants name, after the one of RECADO_MODEL."""
    rows = await _rows(platform, "SELECT DISTINCT model FROM assistants WHERE model IS NOT NULL ORDER BY model")
    return list(dict.fromkeys([*([default] if default else []), *(row["model"] for row in rows)]))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ago(seconds: int) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"
