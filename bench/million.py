"""The same after a million messages in a hundred thousand conversations."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from bench import ack, stack, turns

_LOAD = """
SET search_path TO recado;
SET synchronous_commit TO off;
INSERT INTO contacts (owner_id, id, identity_key, address, profile_name)
SELECT o.id, md5('c' || n)::uuid, 'old' || n, 'whatsapp:+5521' || lpad(n::text, 9, '0'), 'Contact ' || n
FROM owners o, generate_series(1, %(conversations)s) n;
INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at, status)
SELECT o.id, md5('v' || n)::uuid, b.id, md5('c' || n)::uuid, now() - interval '2 days', 'open'
FROM owners o JOIN numbers b ON b.owner_id = o.id, generate_series(1, %(conversations)s) n;
INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, provider_sid,
                      correlation_id, received_at, parameters)
SELECT o.id, (substr(uuid_floor(now() - interval '2 days' + n * interval '100 ms')::text, 1, 14)
              || '7' || substr(md5(n::text), 1, 3) || '-8' || substr(md5(n::text), 4, 3) || '-'
              || substr(md5(n::text), 7, 12))::uuid,
       md5('v' || (n %% %(conversations)s + 1))::uuid, a.id,
       CASE n %% 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, CASE n %% 2 WHEN 0 THEN 'contact' ELSE 'assistant' END,
       repeat('Olá, tudo bem? ', 4), CASE n %% 2 WHEN 0 THEN 'answered' ELSE 'delivered' END,
       'SM' || md5('m' || n), md5('r' || n)::uuid, now() - interval '2 days',
       CASE n %% 2 WHEN 0 THEN '{"NumMedia": ["0"]}'::jsonb END
FROM owners o JOIN twilio_accounts a ON a.owner_id = o.id, generate_series(1, %(messages)s) n;
INSERT INTO message_parts (owner_id, message_id, part, body, status, provider_sid, taken_at)
SELECT owner_id, id, 1, body, 'delivered', provider_sid, received_at FROM messages
WHERE direction = 'outbound' AND received_at < now() - interval '1 day';
INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
SELECT owner_id, 'accept', 'received', conversation_id, id, correlation_id FROM messages
WHERE received_at < now() - interval '1 day';
"""


# What the measurement of accept left unanswered would be answered during the next measurement of turns.
_SETTLE = """
UPDATE recado.messages SET status = 'answered' WHERE status = 'received';
DELETE FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING');
"""


def settle(home: Path) -> None:
    """Leave nothing to do, and the same state of the write-ahead log, for the next measurement."""
    from recado.settings import Settings
    from recado.wiring import database

    with (
        database(Settings(home=home, _env_file=None)) as there,
        psycopg.connect(there.admin_url, autocommit=True) as conn,
    ):
        conn.execute(_SETTLE)
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


def load_messages(home: Path, *, messages: int, conversations: int) -> float:
    """Fill the home's database; answers the seconds it took."""
    from recado.settings import Settings
    from recado.wiring import database

    began = time.monotonic()
    with database(Settings(home=home, _env_file=None)) as there, psycopg.connect(there.admin_url) as conn:
        conn.execute("SET session_replication_role TO replica")
        psycopg.ClientCursor(conn).execute(_LOAD, {"messages": messages, "conversations": conversations})
        conn.commit()
    return time.monotonic() - began


def measure(*, count: int = 4000, turn_count: int = 300, messages: int = 1_000_000) -> dict[str, Any]:
    """Accept and turns before and after, on one home, and the ratio of their costs."""
    figures: dict[str, Any] = {}
    with stack.home() as home:
        stack.run(stack.set_up(home))
        for name in ("before", "after"):
            if name == "after":
                figures["load_seconds"] = round(load_messages(home, messages=messages, conversations=messages // 10), 1)
            settle(home)
            with ExitStack() as running:
                started = turns.start(running, home, delay_s=0.0)
                first = 20_000 if name == "before" else 40_000
                stack.run(turns.turns(started, count=20, first_contact=first))
                measured = stack.run(turns.turns(started, count=turn_count, first_contact=first + 100))
            accepted = ack.accept(home, count=count, first_contact=60_000 if name == "before" else 70_000)
            figures[name] = {"accept": accepted, "turns": measured}
    before, after = figures["before"], figures["after"]
    figures["cost_ratio"] = {
        "accept_16": round(before["accept"]["16"]["rate"] / after["accept"]["16"]["rate"], 2),
        "accept_64": round(before["accept"]["64"]["rate"] / after["accept"]["64"]["rate"], 2),
        "turns": round(before["turns"]["rate"] / after["turns"]["rate"], 2),
    }
    return figures
