"""Finished workflows hold what people wrote; they go after days, and nothing else goes with them."""

from __future__ import annotations

import time
from pathlib import Path

from recado.db.embedded import Lease
from recado.ops import recovery, retention
from tests.conftest import SECRET_KEYS
from tests.postgres import create_database, drop_database
from tests.product import Product

DAY_MS = 86_400_000


def test_only_workflows_that_ended_days_ago_are_deleted_and_the_messages_stay(
    cluster: Lease, template: str, tmp_path: Path
) -> None:
    url = create_database(cluster, template)
    try:
        with Product(url, tmp_path, {"secret_keys": SECRET_KEYS}) as product:
            old, young = product.company().contact(), product.company().contact()
            for contact in (old, young):
                contact.says("Que horas abrem?")
                contact.settled(1)
            wait_until_ended(product, 4)
            aged = [str(row["id"]) for row in old.messages()]
            product.execute(
                "UPDATE dbos.workflow_status SET created_at = created_at - %s WHERE workflow_uuid = ANY(%s)",
                4 * DAY_MS,
                aged,
            )
            unfinished = str(young.messages()[0]["id"])
            product.execute(
                "UPDATE dbos.workflow_status SET created_at = 0, status = 'DELAYED' WHERE workflow_uuid = %s",
                unfinished,
            )

            async def sweep() -> int:
                assert product.wiring is not None
                async with product.wiring.platform_pool() as platform:
                    return await retention.delete_finished_workflows(platform)

            assert product.call(sweep) == 2
            left = {row["workflow_uuid"] for row in product.rows("SELECT workflow_uuid FROM dbos.workflow_status")}
            assert left & set(aged) == set()
            assert unfinished in left
            assert len(old.messages()) == 2
            assert product.rows("SELECT * FROM dbos.workflow_input WHERE workflow_uuid = ANY(%s)", aged) == []
    finally:
        drop_database(cluster, url)


def test_a_workflow_that_was_claimed_but_never_started_is_given_back_and_done(
    cluster: Lease, template: str, tmp_path: Path
) -> None:
    url = create_database(cluster, template)
    try:
        with Product(url, tmp_path, {"secret_keys": SECRET_KEYS}) as product:
            contact = product.company().contact()
            contact.says("Que horas abrem?")
            contact.settled(1)
            wait_until_ended(product, 2)
            (executor,) = product.rows("SELECT id FROM executors")
            inbound = contact.messages()[0]
            # As a claim looks whose answer the database could not give any more: ours, pending, and run by nobody.
            product.execute("UPDATE messages SET status = 'received' WHERE id = %s", inbound["id"])
            product.execute(
                "UPDATE dbos.workflow_status SET status = 'PENDING', output = NULL, completed_at = NULL, "
                "executor_id = %s, started_at_epoch_ms = 1 WHERE workflow_uuid = %s",
                executor["id"],
                str(inbound["id"]),
            )

            async def give_back() -> int:
                return recovery.give_back_unstarted()

            assert product.call(give_back) == 1
            contact.replies(2)
            wait_until_ended(product, 3)
            assert product.call(give_back) == 0
    finally:
        drop_database(cluster, url)


def wait_until_ended(product: Product, count: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        (row,) = product.rows("SELECT count(*) AS n FROM dbos.workflow_status WHERE status = 'SUCCESS'")
        if row["n"] >= count:
            return
        assert time.monotonic() < deadline, row
        time.sleep(0.05)
