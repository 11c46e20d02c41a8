"""One trace for a message, from the webhook to the read receipt, whichever processes it went through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recado import tracing
from recado.settings import Settings
from recado.wiring import database
from tests.chaos.test_chaos import home as home
from tests.chaos.test_stop import introduce, wait_until_asked, write
from tests.collector import CollectorServer
from tests.fleet import Fleet
from tests.model_server import ModelServer, Reply

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with CollectorServer() as server:
        yield server


def test_a_message_has_one_trace_though_the_worker_that_answered_it_was_killed(
    home: Path, collector: CollectorServer
) -> None:
    let = threading.Event()
    asked = 0

    def script(_: object) -> Reply:
        nonlocal asked
        asked += 1
        if asked == 1:
            let.wait(60)
        return Reply(text="Das 7h às 20h.")

    with ModelServer(script) as model:
        settings = {
            "RECADO_MODEL": "openai:scripted",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "test",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with Fleet(home, apis=1, workers=1, settings=settings) as fleet:
            introduce(fleet)
            write(fleet, "Que horas abrem?")
            wait_until_asked(model)
            fleet.members["worker0"].kill()  # the supervisor starts another
            let.set()
            spans = collector.until(
                lambda found: any(
                    one.name == "confirm" and one.attributes.get("recado.status") == "delivered" for one in found
                ),
                timeout_s=120,
            )
            whole = {"receive", "accept", "queue turns", "answer", "model", "chat scripted", "deliver", "POST Messages"}
            spans = collector.until(lambda found: whole <= {one.name for one in found})
            assert fleet.members["worker0"].deaths >= 1
            with database(Settings(home=home, _env_file=None)) as there, psycopg.connect(there.admin_url) as conn:
                [(message, correlation)] = conn.execute(
                    "SELECT id, correlation_id FROM recado.messages WHERE direction = 'inbound'"
                ).fetchall()
    assert {one.trace for one in spans} == {message.hex}
    assert correlation == message
    assert {one.process for one in spans} == {"api", "worker"}
    by_id = {one.id: one for one in spans}
    roots = [one for one in spans if not one.parent]
    assert [one.name for one in roots] == ["receive"]
    assert {one.name for one in spans if one.parent and one.parent not in by_id} == set()
    assert by_id[f"{tracing.span_id(message, 'answer', message):016x}"].name == "answer"
    assert sum(one.name == "answer" for one in spans) == 1
    assert sum(one.name == "POST Messages" for one in spans) == 1


def test_processes_work_and_end_as_ever_while_the_collector_hangs(home: Path, collector: CollectorServer) -> None:
    collector.hangs = True
    with ModelServer(lambda _: Reply(text="Pronto.")) as model:
        settings = {
            "RECADO_MODEL": "openai:scripted",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "test",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with Fleet(home, apis=1, workers=1, settings=settings) as fleet:
            introduce(fleet)
            write(fleet, "Oi")
            wait_until_asked(model)
            for name in ("api0", "worker0"):
                fleet.retire(name)
                process = fleet.members[name].process
                assert process is not None
                assert process.wait(25) == 0, fleet.logs()
    assert collector.requests >= 1
