"""Processes of a measurement: a home of its own, an owner set up, servers started and stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import ACCOUNT_SID, NUMBER, TOKEN


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def home() -> Iterator[Path]:
    """A RECADO_HOME that is gone afterwards, its database stopped."""
    from recado.db.embedded import wait_until_stopped

    path = Path(tempfile.mkdtemp(prefix="recado-bench-"))
    try:
        yield path
    finally:
        wait_until_stopped(path)
        shutil.rmtree(path, ignore_errors=True)


def environment(home: Path, **settings: Any) -> dict[str, str]:
    """The environment of a process under this home; no setting of the caller's leaks in."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")}
    clean |= {"RECADO_HOME": str(home), "RECADO_LOG_LEVEL": "WARNING", "OPENAI_API_KEY": "bench"}
    return clean | {f"RECADO_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def process(
    *arguments: str, env: dict[str, str], up: str | None = None, wait_s: float = 0.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this interpreter, up when the address answers 200, stopped at the end."""
    running = subprocess.Popen([sys.executable, *arguments], env=env)
    try:
        time.sleep(wait_s)
        deadline = time.monotonic() + 30
        while up is not None:
            if running.poll() is not None:
                raise RuntimeError(f"{arguments} ended with {running.returncode}")
            try:
                with urllib.request.urlopen(up, timeout=1) as answer:
                    if b"no live worker" not in answer.read():  # what is asked is whether all is served
                        break
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        yield running
    finally:
        running.terminate()
        try:
            running.wait(25)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


# What a measurement left unanswered would be answered during the next one.
_SETTLE = """
UPDATE recado.messages SET status = 'answered' WHERE status = 'received';
DELETE FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING');
"""


def settle(home: Path) -> None:
    """Leave nothing to do, and the same state of the write-ahead log, for the next measurement."""
    import psycopg

    from recado.settings import Settings
    from recado.wiring import database

    with (
        database(Settings(home=home, _env_file=None)) as there,
        psycopg.connect(there.admin_url, autocommit=True) as conn,
    ):
        conn.execute(_SETTLE)
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


FAQ = "# Horário\nAbrimos de segunda a sábado, das 7h às 20h.\n\n# Entrega\nEntregamos no centro, taxa de R$ 8,00.\n"


async def set_up(home: Path) -> str:
    """An owner with an account, a number and a little knowledge; answers the owner's id."""
    from recado.assistants import assistant, knowledge
    from recado.channels.twilio import accounts
    from recado.db.scope import scoped
    from recado.identity import owners
    from recado.settings import Settings
    from recado.wiring import wire

    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        async with await wiring.connect("recado_platform") as conn:
            owner = await owners.add(conn, "Bench")
        async with scoped(wiring.pool, owner.id) as scope:
            await accounts.add_account(scope, wiring.keyring, account_sid=ACCOUNT_SID, auth_token=TOKEN)
            made = await assistant.ensure_default(scope)
            await accounts.add_number(scope, account_sid=ACCOUNT_SID, address=NUMBER, assistant_id=made.id)
            await knowledge.replace(scope, source="faq", entries=knowledge.read_markdown(FAQ), language="pt")
    return str(owner.id)


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)
