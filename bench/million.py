"""The same after a million messages in a hundred thousand conversations."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench import ack, pairs, stack, turns
from bench.turns import postmaster

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


def measure(*, count: int = 2000, turn_count: int = 100, messages: int = 1_000_000, times: int = 3) -> dict[str, Any]:
    """Turns and accept with none of it and with all of it, in turn, on two databases."""
    numbers = iter(range(20_000_000, 90_000_000, 100_000))
    with stack.home() as empty, stack.home() as full:
        for home in (empty, full):
            stack.run(stack.set_up(home))
        figures: dict[str, Any] = {
            "load_seconds": round(load_messages(full, messages=messages, conversations=messages // 10), 1)
        }
        for home in (empty, full):
            stack.settle(home)
        with ExitStack() as running:
            both = [turns.start(running, home, delay_s=0.0) for home in (empty, full)]
            for started in both:
                stack.run(turns.introduce(started))

            def answered(started: dict[str, Any], some: int = turn_count) -> dict[str, float]:
                found: dict[str, float] = stack.run(turns.turns(started, count=some, first_contact=next(numbers)))
                return found

            for started in both:
                answered(started, 20)
            figures["turns"] = pairs.in_turn(partial(answered, both[0]), partial(answered, both[1]), times=times)
        for home in (empty, full):
            stack.settle(home)
        with ExitStack() as running:
            apis = [(*ack.api(running, home, first_contact=60_000), postmaster(home)) for home in (empty, full)]
            for connections in (16, 64):
                posts = [
                    partial(ack.posts, *one, count=count, connections=connections, first_contact=60_000) for one in apis
                ]
                figures[f"accept_{connections}"] = pairs.in_turn(*posts, times=times)
    return figures
