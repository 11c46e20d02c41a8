"""Checks of what owners have: accounts and numbers, conversations and messages, webhooks, erasures."""

from __future__ import annotations

import shlex
from typing import Any

from recado.db.pool import Connection
from recado.db.secrets import Keyring
from recado.errors import SecretError
from recado.ops import failed
from recado.ops.finding import Finding, answered, counted, fail, lasting, ok, warn
from recado.references import References
from recado.webhooks.endpoints import WHYS


async def secrets(conn: Connection, keyring: Keyring | None) -> list[Finding]:
    rows = await answered(conn, "SELECT * FROM twilio_accounts WHERE removed_at IS NULL ORDER BY id")
    if not rows:
        return [warn("accounts", "there is no Twilio account", "`recado owners add`, then `recado accounts add`")]
    if keyring is None:
        return []
    closed = [row["account_sid"] for row in rows if not _opens(keyring, row)]
    if closed:
        text = f"a secret of {', '.join(closed[:5])} can't be decrypted ({len(closed)} of {len(rows)} accounts)"
        fix = "put the key it was stored with back into RECADO_SECRET_KEYS, or give the token again: accounts add"
        return [fail("accounts", text, fix)]
    findings = [ok("accounts", f"{counted(len(rows), 'Twilio account')}, every stored secret can be decrypted")]
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


async def _unproven(conn: Connection) -> list[Finding]:
    """What another owner gets who proves that it is theirs, numbers included: those stop being answered then."""
    rows = await answered(
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


async def numbers(conn: Connection) -> list[Finding]:
    rows = await answered(
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
                f"{row['address']} is unrouted; waiting for it: {counted(row['waiting'], 'message')}",
                f"recado numbers add --account {row['account_sid']} --address {shlex.quote(row['address'])}",
            )
            for row in rows
        ]
    [row] = await answered(conn, "SELECT count(*) AS n FROM numbers")
    if not row["n"]:
        return [warn("numbers", "there is no number", "recado numbers add --account AC... --address whatsapp:+...")]
    return await _not_listed(conn) or [ok("numbers", f"{counted(row['n'], 'number')}, none unrouted")]


async def _not_listed(conn: Connection) -> list[Finding]:
    """Numbers of which Twilio was asked, and did not say that they are their account's."""
    rows = await answered(
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


async def channels(conn: Connection) -> list[Finding]:
    rows = await answered(
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
            f"{row['address']} of {row['account_sid']} got {counted(row['kept'], 'message')} by another channel than "
            f"WhatsApp, the latest on {row['latest']}: kept, nobody is answered there",
            "give that number another webhook at Twilio, or none; `recado failed list` shows them",
        )
        for row in rows
    ] or [ok("channels", "all messages of the last 7 days came by WhatsApp")]


async def attention(conn: Connection) -> list[Finding]:
    [row] = await answered(
        conn,
        """
        SELECT count(*) AS n, min(id::text) AS first,
               coalesce(extract(epoch FROM now() - min(coalesce(last_inbound_at, opened_at))), 0)::int AS age_s
        FROM conversations WHERE status <> 'closed' AND (attention IS NOT NULL OR status = 'handoff')
        """,
    )
    if not row["n"]:
        return [ok("conversations", "none waits for people")]
    text = f"waiting for people: {row['n']}, the oldest for {lasting(row['age_s'])} (conversation {row['first']})"
    return [warn("conversations", text, "answer them, or add what was asked with `recado knowledge add`")]


async def unanswered(conn: Connection) -> list[Finding]:
    """What `recado failed list` lists: what is older, answered, closed or overtaken waits for nobody."""
    rows = await failed.waiting(conn)
    of = {status: [row for row in rows if row["status"] == status] for status in ("failed", "held", "answered")}
    count = {status: sum(row["n"] for row in found) for status, found in of.items()}
    if not rows:
        return [ok("failed", "no message that failed or is held waits for anybody")]
    text = f"failed: {counted(count['failed'], 'message')}, held: {count['held']}"
    if of["held"]:
        text += f" ({', '.join('{held_for} {n}'.format_map(row) for row in of['held'])})"
    if count["answered"]:
        text += f", answered without what came with it: {count['answered']}"
    return [warn("failed", text, "`recado failed list` says why, `recado failed retry` tries again")]


async def broken(conn: Connection) -> list[Finding]:
    """Turns of the last day that broke or went in circles; of messages, whose index tells them without reading all."""
    [row] = await answered(
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
        text = f"turns broke in the last 24 hours: {counted(row['broken'], 'message')}, the first {row['first']}"
        findings.append(warn("turns", text, "`recado trace` says why, the log where; then `recado failed retry`"))
    if row["loops"]:
        text = f"held as a machine's in the last 24 hours: {counted(row['loops'], 'message')}"
        findings.append(warn("turns", text, "look at those conversations; RECADO_TURNS_PER_HOUR is the bound"))
    return findings or [ok("turns", "none broke in the last 24 hours")]


async def webhooks(conn: Connection) -> list[Finding]:
    """Owners' endpoints that get nothing though nobody wanted that; their addresses are the owners' own business."""
    rows = await answered(
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
            else f"{row['id']} has taken nothing for {lasting(row['failing_s'])}; it is disabled after five days",
            fix,
        )
        for row in rows
    ] or [ok("webhooks", "every endpoint that is enabled takes what it is posted")]


async def erasures(conn: Connection) -> list[Finding]:
    """Erasures that left something at Twilio, and those that nobody goes on with."""
    rows = await answered(
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
        else warn("erasures", f"{row['id']} is due since {lasting(row['late_s'])}", "start a worker: it goes on")
        for row in rows
    ] or [ok("erasures", "none is late, none has left anything")]
