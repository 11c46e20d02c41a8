"""The journey beside another owner's trouble: what waits or hangs of one is nobody else's delay."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from recado.conversations import messages
from recado.db.scope import scoped
from recado.ids import new_id
from tests.conftest import SECRET_KEYS
from tests.journey.conftest import MODEL
from tests.journey.test_notes_beside import picture
from tests.journey.test_voice import sends
from tests.lending import Databases
from tests.model_server import ModelServer, Reply, Request
from tests.product import Company, Contact, Product

#: So few, that a dozen conversations are more than a worker has in work at once.
AT_ONCE, TROUBLED = 4, 12
#: As many contacts as keep the worker busy for half a minute.
FLOOD = 60


@pytest.fixture(scope="module")
def small(
    databases: Databases, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A product with one worker of few slots, a process of its own: another may be in this one."""
    home = tmp_path_factory.mktemp("small")
    with databases.one() as url, Product(url, home, {"secret_keys": SECRET_KEYS, "limits": "off"}, work=False) as made:
        assert made.wiring is not None
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
            "RECADO_HOME": str(home),
            "RECADO_DATABASE_URL": url,
            "RECADO_SECRET_KEYS": SECRET_KEYS,
            "RECADO_TWILIO_API_URL": made.simulator_url,
            "RECADO_PUBLIC_URL": made.base_url,
            "RECADO_QUIET_WINDOW_MS": str(made.wiring.settings.quiet_window_ms),
            "RECADO_DELIVERIES_AT_ONCE": str(AT_ONCE),
            "RECADO_TURNS_AT_ONCE": str(AT_ONCE),
            "RECADO_MEDIA_AT_ONCE": str(AT_ONCE),
            "RECADO_TRANSCRIBER": "none",
        }
        with (home / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "recado", "worker", "--queues", "turns,deliveries,media"],
                env=env, cwd=home, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield made
        finally:
            worker.kill()
            worker.wait()


def all_say(contacts: list[Contact], body: str) -> None:
    company = contacts[0].company

    async def send(client: Any) -> None:
        sent = [
            client.send(body, account_sid=company.account_sid, from_=contact.address, to=company.number)
            for contact in contacts
        ]
        assert all(one.statuses == [200] for one in await asyncio.gather(*sent))

    contacts[0]._call(send)


def until(what: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def throttled(company: Company, retry_after_s: float) -> str:
    number = "^" + company.number.replace("+", r"\+") + "$"
    fault: str = company.contact()._call(
        lambda client: client.add_fault("too-many-requests", from_=number, retry_after_s=retry_after_s)
    )
    return fault


def waiting(company: Company) -> int:
    """Deliveries that Twilio has refused for now and that hold no slot."""
    (row,) = company.product.rows(
        "SELECT count(*) FROM dbos.workflow_status WHERE queue_name = 'deliveries' AND status = 'ENQUEUED' "
        "AND delay_until_epoch_ms IS NOT NULL AND starts_with(queue_partition_key, %s) AND recovery_attempts = 0",
        str(company.owner_id),
    )
    return int(row["count"])


def at_work(company: Company, queue: str) -> int:
    """What of the company's the worker has in work."""
    (row,) = company.product.rows(
        "SELECT count(*) FROM dbos.workflow_status WHERE queue_name = %s AND status = 'PENDING' "
        "AND starts_with(queue_partition_key, %s)",
        queue, str(company.owner_id),
    )  # fmt: skip
    return int(row["count"])


def test_deliveries_that_twilio_throttles_hold_no_slot_and_go_out_in_order_when_it_lets_them(small: Product) -> None:
    troubled, other = small.company(), small.company().contact()
    fault = throttled(troubled, retry_after_s=3600)
    contacts = [troubled.contact() for _ in range(TROUBLED)]
    all_say(contacts, "Que horas vocês abrem?")
    until(lambda: waiting(troubled) == TROUBLED)
    other.says("Que horas vocês abrem?")
    assert "7h" in other.replies(timeout_s=20)[0].body
    # Its own contacts who have nothing that waits are not kept waiting either, but for what Twilio does.
    contacts[0].says("Vocês fazem entrega?")
    until(lambda: len(contacts[0].messages()) == 4)
    contacts[0]._call(lambda client: client.remove_fault(fault))
    small.execute("UPDATE dbos.workflow_status SET delay_until_epoch_ms = 1 WHERE delay_until_epoch_ms IS NOT NULL")
    for contact in contacts[1:]:
        contact.replies()
    first, second = contacts[0].replies(2)
    assert ("7h" in first.body, "R$ 8,00" in second.body) == (True, True)


def test_more_throttled_deliveries_than_a_worker_has_slots_hold_none_and_another_owner_is_answered(
    product: Product,
) -> None:
    troubled, other = product.company(), product.company().contact()
    assert product.wiring is not None
    pool, many = product.wiring.pool, product.wiring.settings.deliveries_at_once + 12
    throttled(troubled, retry_after_s=3600)
    owner = {"owner": troubled.owner_id, "many": many}
    with psycopg.connect(product.database_url, options="-c search_path=recado") as conn:
        conn.execute(
            "INSERT INTO contacts (owner_id, id, identity_key, address) SELECT %(owner)s, "
            "md5(%(owner)s::text || n)::uuid, a, a "
            "FROM generate_series(1, %(many)s) n, format('whatsapp:+5511%%s', 970000000 + n) a",
            owner,
        )
        conn.execute(
            "INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at) "
            "SELECT c.owner_id, c.id, b.id, c.id, now() FROM contacts c JOIN numbers b USING (owner_id) "
            "WHERE c.owner_id = %(owner)s",
            owner,
        )

    async def write() -> None:
        async with scoped(pool, troubled.owner_id) as scope:
            found = await scope.conn.execute("SELECT id FROM conversations WHERE owner_id = %(owner)s", owner)
            for row in await found.fetchall():
                await messages.enqueue_outbound(
                    scope,
                    conversation_id=row["id"],
                    author="api",
                    body="Olá",
                    correlation_id=new_id(),
                    now=datetime.now(UTC),
                )

    product.call(write)
    other.says("Que horas vocês abrem?")
    assert "7h" in other.replies(timeout_s=40)[0].body
    until(lambda: waiting(troubled) == many)
    assert at_work(troubled, "deliveries") == 0
    product.execute(
        "DELETE FROM dbos.workflow_status WHERE starts_with(queue_partition_key, %s)", str(troubled.owner_id)
    )


def test_downloads_that_hang_are_in_the_way_of_their_own_owner_only(small: Product) -> None:
    troubled, other = small.company(), small.company().contact()
    number = "^" + troubled.number.replace("+", r"\+") + "$"
    contacts = [troubled.contact() for _ in range(TROUBLED)]
    contacts[0]._call(lambda client: client.add_fault(operation="file", to=number, hold_s=600))
    for contact in contacts:
        sends(contact, picture(), "image/jpeg")
    until(lambda: at_work(troubled, "media"))
    sends(other, picture(), "image/jpeg")
    other.replies(timeout_s=40)
    statuses = small.rows("SELECT DISTINCT status FROM media WHERE owner_id = %s", troubled.owner_id)
    assert statuses == [{"status": "waiting"}], "none of theirs has ended"
    assert 0 < at_work(troubled, "media") < AT_ONCE


def test_a_flood_of_one_owner_is_in_the_way_of_its_own_contacts_only(small: Product, model_server: ModelServer) -> None:
    def script(request: Request) -> Reply | str:
        return Reply(text="Calma.", delay_s=1) if "enchente" in request.last_user_text else "Já!"

    model_server.script = script
    flooded, other = small.company(model=MODEL), small.company(model=MODEL).contact()
    before = len(model_server.requests)
    all_say([flooded.contact() for _ in range(FLOOD)], "enchente")
    until(lambda: len(model_server.requests) > before)
    other.says("rápido")
    assert other.replies(timeout_s=40)[0].body == "Já!"
    assert len(model_server.requests) - before < FLOOD, "theirs were not all before it"


@pytest.mark.parametrize(
    "trouble", [Reply(text="Enfim.", delay_s=30), Reply(status=429, headers={"Retry-After": "25"})]
)
def test_a_model_that_hangs_or_refuses_is_in_the_way_of_its_own_owner_only(
    small: Product, model_server: ModelServer, trouble: Reply
) -> None:
    """A turn keeps its slot while its model's provider asks for a pause, and no owner has all the slots."""

    def script(request: Request) -> Reply | str:
        return trouble if "devagar" in request.last_user_text else "Já!"

    model_server.script = script
    slow = small.company(model=MODEL)
    other = small.company(model=MODEL).contact()
    before = len(model_server.requests)
    all_say([slow.contact() for _ in range(TROUBLED)], "devagar")
    until(lambda: len(model_server.requests) > before)
    other.says("rápido")
    assert other.replies(timeout_s=20)[0].body == "Já!"
