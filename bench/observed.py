"""What it costs to be seen: processes that show metrics, and send a hundredth of the traces, beside such that don't."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any

import uvloop

from bench import ack, pairs, stack, turns
from tests.collector import CollectorServer

#: Fifteen times as often as Prometheus asks.
EVERY_S = 1.0


@contextmanager
def _scraped(url: str) -> Iterator[list[float]]:
    """Ask for the page again and again while this is open; answers how long each took, in ms."""
    took: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(EVERY_S):
            began = time.perf_counter()
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()
            took.append((time.perf_counter() - began) * 1000)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        ended.set()
        asking.join()


def _page_ms(url: str) -> float:
    """The least of many: what the page itself takes, without what the machine does beside it."""
    took = []
    for _ in range(30):
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()
        took.append((time.perf_counter() - began) * 1000)
    return round(median(took), 2)


@contextmanager
def _traced(url: str) -> Iterator[None]:
    """What is started meanwhile sends one trace in a hundred."""
    more = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }
    os.environ |= more
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]


def measure(*, count: int = 3000, turns_count: int = 150, times: int = 5) -> dict[str, Any]:
    """Webhooks at 16 connections and turns with an instant model: seen, beside not."""
    with CollectorServer() as collector:
        return {**_webhooks(count, times, collector.url), "turns": _turns(turns_count, times, collector.url)}


def _webhooks(count: int, times: int, collector: str) -> dict[str, Any]:
    from recado.settings import Settings
    from recado.wiring import database

    port = stack.free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with stack.home() as home, ExitStack() as running:
        running.enter_context(database(Settings(home=home, _env_file=None)))
        stack.run(stack.set_up(home))
        off = ack.api(running, home)
        on = ack.api(running, home, first_contact=1000, metrics_port=port)
        with _traced(collector):
            both = ack.api(running, home, first_contact=2000, metrics_port=0)
        stack.settle(home)
        idle_ms = _page_ms(url)
        with _scraped(url) as took:
            found = pairs.in_turn(
                partial(ack.posts, *off, None, count=count, connections=16),
                partial(ack.posts, *on, None, count=count, connections=16, first_contact=1000),
                times=times,
            )
        traced = pairs.in_turn(
            partial(ack.posts, *off, None, count=count, connections=16),
            partial(ack.posts, *both, None, count=count, connections=16, first_contact=2000),
            times=times,
        )
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = [line for line in answer.read().splitlines() if not line.startswith(b"#")]
    page = {"page_ms": idle_ms, "page_under_load_ms": round(median(took), 2), "series": len(lines)}
    return {"webhooks": found, "traced": traced, "page": page}


def _turns(count: int, times: int, collector: str) -> dict[str, Any]:
    """Two whole products, one of which is seen; each answers as many, in turn."""
    with ExitStack() as running:
        sides = []
        for seen in (False, True):
            home = running.enter_context(stack.home())
            stack.run(stack.set_up(home))
            if seen:
                with _traced(collector):
                    started = turns.start(running, home, delay_s=0.0, metrics_port=0)
            else:
                started = turns.start(running, home, delay_s=0.0)
            uvloop.run(turns.introduce(started))
            uvloop.run(turns.turns(started, count=count // 3, first_contact=0))
            sides.append(started)
        contacts = iter(range(1000, 10**7, 1000))

        def one(started: dict[str, Any]) -> pairs.Measured:
            return uvloop.run(turns.turns(started, count=count, first_contact=next(contacts)))

        return pairs.in_turn(partial(one, sides[0]), partial(one, sides[1]), times=times)
