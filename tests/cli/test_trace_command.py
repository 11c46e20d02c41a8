from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

import pytest

from recado import tracing
from recado.ops.trace import STEPS
from tests.cli.conftest import Terminal
from tests.cli.rows import Rows, new_sid
from tests.collector import CollectorServer


@pytest.fixture
def answered(rows: Rows) -> tuple[UUID, UUID, str]:
    """A message, its reply in two parts, and the MessageSid of the reply's second part."""
    sid = new_sid()
    message = rows.inbound()
    rows.turn(message)
    rows.conn.execute("UPDATE messages SET turn_id = id")
    reply = rows.outbound(
        status="delivered", parts=[("delivered", new_sid()), ("delivered", sid)], answers=message, turn=message
    )
    rows.event(message, "accept", "received", 12, message)
    rows.event(message, "answer", "keyless", 1300, message, messages=1, rounds=1)
    rows.attempt(reply, 1, "refused", 1400)
    rows.event(reply, "deliver", "retry", 1420, message, part=1, code=20429, then="retry")
    rows.attempt(reply, 1, "taken", 2500)
    rows.attempt(reply, 2, "taken", 2600)
    rows.event(reply, "confirm", "sent", 2700, message, part=1)
    rows.event(reply, "confirm", "delivered", 2800, message, part=2)
    return message, reply, sid


def test_a_trace_tells_all_six_steps_in_order_with_times(recado: Terminal, answered: tuple[UUID, UUID, str]) -> None:
    message, reply, _ = answered
    told = recado("trace", message, "--json").json
    assert list(told) == ["message", "status", "correlation_id", "timeline", "replies"]
    assert (told["status"], told["correlation_id"]) == ("answered", str(message))
    assert all(list(moment) == ["at", "step", "what"] for moment in told["timeline"])
    times = [datetime.fromisoformat(moment["at"]) for moment in told["timeline"]]
    assert times == sorted(times)
    assert all("." in moment["at"] for moment in told["timeline"])
    assert list(dict.fromkeys(moment["step"] for moment in told["timeline"])) == list(STEPS)
    what = [moment["what"] for moment in told["timeline"]]
    assert "part 1 of 2 posted to Twilio, try 2" in what
    assert any("20429" in text and text.endswith("then retry") for text in what)
    assert [item["id"] for item in told["replies"]] == [str(reply)]
    assert [part["status"] for part in told["replies"][0]["parts"]] == ["delivered", "delivered"]


@pytest.mark.parametrize("outcome", ["answered", "keyless", "apology", "silent", "budget", "unheard"])
def test_whatever_came_of_a_turn_is_told_once(recado: Terminal, rows: Rows, outcome: str) -> None:
    message = rows.inbound()
    rows.turn(message, outcome=outcome)
    rows.conn.execute("UPDATE messages SET turn_id = id")
    rows.event(message, "answer", outcome, 1300, message, messages=1, rounds=1)
    steps = [moment["step"] for moment in recado("trace", message, "--json").json["timeline"]]
    assert steps.count("answer") == 1


def test_a_trace_of_a_reply_found_by_a_parts_message_sid_names_the_message_it_answers(
    recado: Terminal, answered: tuple[UUID, UUID, str]
) -> None:
    message, reply, sid = answered
    told = recado("trace", sid, "--json").json
    assert told["message"]["id"] == str(reply)
    assert told["message"]["answers"]["id"] == str(message)
    assert {moment["step"] for moment in told["timeline"]} == {"answer", "deliver", "confirm"}
    assert told["replies"] == []


def test_a_trace_shows_content_and_people_only_when_asked_to(
    recado: Terminal, rows: Rows, answered: tuple[UUID, UUID, str]
) -> None:
    rows.conn.execute("UPDATE messages SET body = E'Que horas abre?\\x1b[2J' WHERE direction = 'inbound'")
    sid = str(rows.value("SELECT provider_sid FROM messages WHERE direction = 'inbound'"))
    shown = recado("trace", sid).out + recado("trace", sid, "--json").out
    for private in ("Que horas", "Abrimos", "987654321", "Ana"):
        assert private not in shown
    told = recado("trace", sid, "--content").out
    for wanted in ("Que horas", "Abrimos", "987654321", "Ana", "+1,300 ms  answer"):
        assert wanted in told
    assert "\x1b" not in told


def test_a_trace_of_what_is_no_message_says_so(recado: Terminal) -> None:
    ran = recado("trace", uuid4())
    assert ran.code == 1
    assert "no message" in ran.complaint
    ran = recado("trace", "hello")
    assert ran.code == 2
    assert "MessageSid" in ran.complaint


def test_a_trace_is_sent_to_a_collector_from_its_rows_and_holds_nothing_that_people_wrote(
    recado: Terminal, answered: tuple[UUID, UUID, str]
) -> None:
    message, reply, sid = answered
    with CollectorServer() as collector:
        there = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        told = recado("trace", sid, "--otlp", "--json", **there).json
        assert told["trace_id"] == message.hex
        spans = collector.spans()
        assert told["spans"] == len(spans)
        assert {one.trace for one in spans} == {message.hex}
        assert {"receive", "accept", "answer", "deliver", "POST Messages", "confirm"} == {one.name for one in spans}
        assert [one.name for one in spans if not one.parent] == ["receive"]
        assert {one.parent for one in spans if one.parent} <= {one.id for one in spans}
        tries = [one for one in spans if one.name == "POST Messages" and one.attributes["recado.part"] == 1]
        assert [one.failed for one in tries] == [True, False]
        live = tracing.span_id(message, "confirm", reply, 2, "delivered")
        assert f"{live:016x}" in {one.id for one in spans}, "the same as the processes send"
        raw = b"".join(collector.raw)
    for private in (b"Que horas", b"Abrimos", b"987654321", b"Ana"):
        assert private not in raw


def test_sending_a_trace_says_what_is_missing_or_went_wrong(recado: Terminal, answered: tuple[UUID, UUID, str]) -> None:
    ran = recado("trace", answered[0], "--otlp")
    assert ran.code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ran.complaint
    with CollectorServer(status=400) as collector:
        there = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        ran = recado("trace", answered[0], "--otlp", **there)
        assert (ran.code, "did not take" in ran.complaint) == (1, True)
        assert recado("trace", answered[0], "--otlp", "--content", **there).code == 2
    assert collector.requests == 1
