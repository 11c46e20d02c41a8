"""The event loop waits for nobody: no call of ours blocks it while webhooks come and turns run."""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.product import Product

#: Long beside what a step of ours takes (a few ms), short beside a look-up that blocks; the machine is shared.
SLOW_S = 0.15


def test_nothing_of_ours_holds_the_loop_while_messages_come_and_are_answered(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    companies = [product.company() for _ in range(3)]
    # Warmed up first: what is imported and prepared once is no part of the promise.
    first = companies[0].contact()
    first.says("Que horas vocês abrem?")
    first.replies(1)
    contacts = [company.contact() for company in companies for _ in range(4)]
    caplog.set_level(logging.WARNING, logger="asyncio")
    product.call(lambda: watch(SLOW_S))
    try:
        with ThreadPoolExecutor(6) as pool:
            for _ in range(3):
                list(pool.map(lambda contact: contact.says("Que horas vocês abrem?"), contacts))
        for contact in contacts:
            contact.replies(1, timeout_s=40)
    finally:
        product.call(lambda: watch(None))
    slow = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    # asyncio names the coroutine that ran, and where it was made; the simulator in the same loop is not the product.
    ours = [line for line in slow if re.search(r"Executing .*/recado/(?!simulator)", line)]
    assert ours == []


async def watch(slow_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = slow_s or 0.1
    loop.set_debug(slow_s is not None)
