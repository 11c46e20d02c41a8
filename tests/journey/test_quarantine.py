"""After a restore a worker answers and sends nothing for a Twilio account until it is released; webhooks are taken."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from recado.conversations import messages
from recado.db.scope import scoped
from tests.conftest import SECRET_KEYS
from tests.nursery import Nursery
from tests.product import WAIT_S, Contact, Product


@pytest.fixture
def reception(database_url: str, tmp_path: Path) -> Iterator[Product]:
    with Product(database_url, tmp_path, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running


@contextmanager
def worker(product: Product, home: Path) -> Iterator[None]:
    """A worker in a process of its own: this one may have the engine running for other tests."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
        "RECADO_DATABASE_URL": product.database_url,
        "RECADO_SECRET_KEYS": SECRET_KEYS,
        "RECADO_HOME": str(home),
        "RECADO_PUBLIC_URL": product.base_url,
        "RECADO_TWILIO_API_URL": product.simulator_url,
        "RECADO_QUIET_WINDOW_MS": "150",
    }
    nursery = Nursery()
    try:
        started = nursery.start(["worker"], env=env, log=home / "worker.log")
        try:
            yield
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)
    finally:
        nursery.close()


def silence(product: Product, account_sid: str) -> None:
    product.execute(
        "INSERT INTO quarantine (owner_id, account_id, restored_at, since) "
        "SELECT owner_id, id, now(), now() FROM twilio_accounts WHERE account_sid = %s",
        account_sid,
    )


def put_back(product: Product, name: str) -> int:
    """How many of these workflows a worker had and gave back, to be looked at later."""
    return len(
        product.rows(
            "SELECT workflow_uuid FROM dbos.workflow_status "
            "WHERE name = %s AND status = 'ENQUEUED' AND delay_until_epoch_ms > 0",
            name,
        )
    )


def queue(product: Product, owner_id: UUID, contact: Contact, body: str) -> None:
    [row] = contact.messages()
    wiring = product.wiring
    assert wiring is not None

    async def enqueue() -> None:
        async with scoped(wiring.pool, owner_id) as scope:
            await messages.enqueue_outbound(
                scope,
                conversation_id=row["conversation_id"],
                author="operator",
                body=body,
                correlation_id=row["id"],
                now=wiring.clock.now(),
            )

    product.call(enqueue)


def test_nothing_is_answered_or_sent_for_a_silent_account_until_it_is_released_and_others_go_on(
    reception: Product, tmp_path: Path
) -> None:
    quiet, other = reception.company(), reception.company()
    contact, another, theirs = quiet.contact(), quiet.contact(), other.contact()
    assert contact.says("Que horas abre?").statuses == [200]
    another.says("oi")
    queue(reception, quiet.owner_id, another, "Um recado da loja.")
    silence(reception, quiet.account_sid)
    with worker(reception, tmp_path):
        assert theirs.says("Que horas abre?").statuses == [200]
        assert theirs.replies()
        assert contact.says("Alô?").statuses == [200], "what is written meanwhile is taken"
        deadline = time.monotonic() + WAIT_S
        while put_back(reception, "process_ai_response") < 2 or put_back(reception, "send_whatsapp_message") < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert contact.seen() == another.seen() == []
        reception.execute("UPDATE quarantine SET released_at = now(), released_by = 'unasked'")
        assert another.replies(2)[0].body == "Um recado da loja."
        assert contact.replies()
