"""The event loop waits for nobody: no call of ours blocks it while webhooks come and turns run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from blockbuster import BlockBuster, BlockBusterFunction, BlockingError
from sqlalchemy.exc import DBAPIError

from recado.db.migrate import migrate
from recado.db.secrets import load_keyring
from recado.settings import Settings
from tests.conftest import SECRET_KEYS
from tests.product import Contact, Product

#: What is slow for a callback of the loop, in seconds that its thread computed; a step of ours takes a few ms. By the
#: clock on the wall any callback is slow beside a busy neighbour: 0.1 s and more were seen.
SLOW_S = 0.05
#: The collection of garbage may fall into a callback; a step that computes too long does so for each of 36 webhooks.
ALLOWED = 4


def test_no_step_computes_for_long_while_messages_come_and_are_answered(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts = warmed_up(product)
    slow: list[tuple[float, str]] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        if (took := time.thread_time() - began) > SLOW_S:
            slow.append((took, repr(handle)))

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    talk(contacts)
    assert len(slow) <= ALLOWED, slow


def test_no_call_of_ours_blocks_however_short_it_is(product: Product) -> None:
    contacts = warmed_up(product)
    with unblockable():
        talk(contacts)
    statuses = {row["status"] for contact in contacts for row in contact.messages() if row["direction"] == "inbound"}
    assert statuses == {"answered"}


async def test_a_call_that_blocks_is_found(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(SECRET_KEYS)
    settings = Settings(secret_keys=f"file:{tmp_path / 'keys'}", _env_file=None)
    with unblockable():
        with pytest.raises(BlockingError, match="stat"):
            load_keyring(settings)
        with pytest.raises(DBAPIError, match=r"Blocking call to Connection\.wait"):
            migrate(database_url)


@contextmanager
def unblockable() -> Iterator[None]:
    """Let a call that blocks a running loop raise where the product makes it: sleeps, sockets, files, locks, queries.

    Log lines apart, which are written at once so that the last one before a crash is there.
    """
    only: dict[str, Any] = {"scanned_modules": ["recado"], "excluded_modules": ["recado.simulator"]}
    buster = BlockBuster(**only)
    buster.functions["psycopg.wait"] = BlockBusterFunction(psycopg.Connection, "wait", **only)
    buster.functions["socket.getaddrinfo"] = BlockBusterFunction(None, "socket.getaddrinfo", **only)
    for function in buster.functions.values():
        function.can_block_in("logging/__init__.py", {"emit", "handle"})
    buster.activate()
    try:
        yield
    finally:
        buster.deactivate()


def warmed_up(product: Product) -> list[Contact]:
    """Twelve people; what is imported and prepared once has been, it is no part of the promise."""
    companies = [product.company() for _ in range(3)]
    first = companies[0].contact()
    first.says("Que horas vocês abrem?")
    first.replies(1)
    return [company.contact() for company in companies for _ in range(4)]


def talk(contacts: list[Contact]) -> None:
    """Each says something three times, several at once, and is answered."""
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            list(pool.map(lambda contact: contact.says("Que horas vocês abrem?"), contacts))
    for contact in contacts:
        contact.replies(1)
