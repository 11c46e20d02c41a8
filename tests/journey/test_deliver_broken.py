"""deliver, of a message that ends its worker: counted at each death, held for people after two, never sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from recado.assistants.keyless import PERSON
from recado.channels.port import Sender, Sent
from recado.conversations import messages
from recado.db import pool as db
from recado.db.scope import scoped
from recado.ids import new_id
from recado.journey.answer.caution import apology_unless_silent
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from recado.journey.pause import Later
from recado.ops import failed
from recado.ops.executors import Executor
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, deliveries, desk_of, run, say, turn
from tests.journey.test_broken import CALM, attention
from tests.journey.test_deliver import ProcessDied

LONG_AGO = f"UPDATE executor_deaths SET at = {CALM}"


@pytest.fixture
async def front(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    monkeypatch.setattr("recado.ops.executors.AFTER_RESTART_S", 0.0)
    async with open_front(database_url, tmp_path) as opened:
        yield opened


@dataclass(slots=True)
class Twilio:
    """What Twilio has taken; with `dies` the process ends once it has."""

    front: Front
    dies: bool = False
    taken: list[Sent] = field(default_factory=list)

    async def send(self, *, to: str, from_: str | None = None, body: str, **_: Any) -> Sent:
        now = self.front.wiring.clock.now()
        sid = f"SM{new_id().hex}"
        self.taken.append(Sent(sid=sid, status="queued", date_created=now, body=body, to=to, from_=from_))
        if self.dies:
            raise ProcessDied
        return self.taken[-1]

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        return self.taken

    def desk(self) -> DeliverDesk:
        async def sender_of(_owner_id: UUID, _account_id: UUID) -> Sender:
            return self  # type: ignore[return-value] # it neither fetches nor types

        async def none(*_: object) -> Any:
            raise AssertionError("not asked for")

        return DeliverDesk(
            pool=self.front.wiring.pool,
            clock=self.front.wiring.clock,
            split_chars=1500,
            public_url=None,
            sender_of=sender_of,
            contents_of=none,
            media_link=lambda *_: "",
            crash_settle_s=0.0,
            predecessor_s=0.0,
            apology=apology_unless_silent,
        )


async def die(front: Front, *, recovers: int = 1) -> None:
    """A worker dies that has all of the deliveries in hand; whoever recovers them dies too, but the last."""
    dead = f"worker-{new_id()}"
    run(
        front,
        f"INSERT INTO executors (id, lock_key, kind, host, pid, queues) "
        f"VALUES ('{dead}', {new_id().int % 2**62}, 'worker', 'here', 1, '{{deliveries}}'); "
        f"UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = '{dead}' WHERE queue_name = 'deliveries'",
    )

    async def give_up(_: str) -> int:
        raise ProcessDied

    async def give_back(executor_id: str) -> int:
        run(front, f"UPDATE dbos.workflow_status SET status = 'ENQUEUED' WHERE executor_id = '{executor_id}'")
        return 1

    living = Executor(lambda: db.connect(front.database_url, "recado_platform"), "worker", ["deliveries"])
    await living.register()
    for _ in range(recovers - 1):
        with pytest.raises(ProcessDied):
            await living.recover_dead(give_up)
    assert await living.recover_dead(give_back) == 1
    await living.leave(idle=True)


async def answered(front: Front, words: str = "Olá!") -> UUID:
    """A contact has been answered so, and nothing is delivered yet."""
    await turn(front, desk_of(front, Mind(words)), await say(front))
    (answer,) = (row for row in front.stored() if row["body"] == words)
    message_id: UUID = answer["id"]
    return message_id


def one(front: Front, message_id: UUID) -> dict[str, Any]:
    (row,) = front.rows("SELECT * FROM messages WHERE id = %s", message_id)
    return row


async def test_a_delivery_is_counted_once_for_each_death_that_it_was_in_hand_at(front: Front) -> None:
    message_id = await answered(front)
    await die(front, recovers=3)
    assert one(front, message_id)["starts"] == 1, "not once for each who recovers it"
    assert len(front.rows("SELECT FROM executor_deaths")) == 1
    await die(front)
    assert (one(front, message_id)["starts"], len(front.rows("SELECT FROM executor_deaths"))) == (2, 2)
    (question,) = (row for row in front.stored() if row["direction"] == "inbound")
    assert question["starts"] == 0, "a turn is counted when it begins"


async def test_what_was_in_hand_at_one_death_is_sent_and_counted_anew(front: Front) -> None:
    twilio, message_id = Twilio(front), await answered(front)
    await die(front)
    await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    assert [sent.body for sent in twilio.taken] == ["Olá!"]
    assert (one(front, message_id)["starts"], one(front, message_id)["begun_at"]) == (0, None)


async def test_a_delivery_whose_worker_died_twice_is_held_people_are_asked_and_nothing_looks_at_its_words(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    twilio, message_id = Twilio(front), await answered(front, "veneno")
    await die(front)
    await die(front)

    def dies(*_: object) -> list[str]:
        raise ProcessDied

    monkeypatch.setattr("recado.journey.deliver.dispatch.split", dies)
    with pytest.raises(Later):
        await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    assert one(front, message_id)["status"] == "queued", "nothing is blamed while workers go on dying"
    run(front, LONG_AGO)
    await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    held = one(front, message_id)
    assert (held["status"], held["held_for"], held["starts"], twilio.taken) == ("held", "broken", 0, [])
    assert attention(front) == "broken"
    assert front.rows("SELECT what, data FROM events WHERE step = 'deliver'") == [
        {"what": "broken", "data": {"why": "died"}}
    ]
    monkeypatch.undo()
    apology = [row for row in front.stored() if row["direction"] == "outbound"][-1]
    assert (apology["body"], apology["reply_to"]) == (PERSON["pt"], held["reply_to"])
    assert len(deliveries(front)) == 2
    await send_whatsapp_message(twilio.desk(), front.owner_id, apology["id"])
    assert [sent.body for sent in twilio.taken] == [PERSON["pt"]], "the rest of the conversation goes on"
    async with await front.wiring.connect("recado_platform") as conn:
        assert await failed.retry(conn, message_id) == "queued"
    await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    assert [sent.body for sent in twilio.taken][1:] == ["veneno"]


async def test_a_message_that_twilio_took_at_the_first_death_is_not_sent_again_though_people_retry_it(
    front: Front,
) -> None:
    twilio, message_id = Twilio(front, dies=True), await answered(front)
    with pytest.raises(ProcessDied):
        await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    await die(front)
    await die(front)
    run(front, LONG_AGO)
    twilio.dies = False
    await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    assert one(front, message_id)["held_for"] == "broken"
    async with await front.wiring.connect("recado_platform") as conn:
        await failed.retry(conn, message_id)
    await send_whatsapp_message(twilio.desk(), front.owner_id, message_id)
    assert [sent.body for sent in twilio.taken] == ["Olá!"]
    (part,) = front.rows("SELECT status, provider_sid FROM message_parts WHERE message_id = %s", message_id)
    assert part == {"status": "queued", "provider_sid": twilio.taken[0].sid}


async def test_what_people_wrote_is_held_without_an_apology(front: Front) -> None:
    conversation_id = await say(front)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        message_id = await messages.enqueue_outbound(
            scope,
            conversation_id=conversation_id,
            author="api",
            body="Seu pedido saiu.",
            correlation_id=new_id(),
            now=front.wiring.clock.now(),
        )
    await die(front)
    await die(front)
    run(front, LONG_AGO)
    await send_whatsapp_message(Twilio(front).desk(), front.owner_id, message_id)
    assert one(front, message_id)["held_for"] == "broken"
    assert [row["body"] for row in front.stored() if row["direction"] == "outbound"] == ["Seu pedido saiu."]
