"""deliver: one outbound message reaches its contact in parts, each exactly once and in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from recado.channels.port import ErrorClass, Receipt, Sender, SendError, Sent
from recado.clock import SystemClock, uptime
from recado.conversations import parts
from recado.conversations.parts import Part
from recado.db.pool import Row
from recado.db.scope import Scope, scoped
from recado.delivery.retry import RetryPolicy
from recado.journey.deliver import dispatch
from recado.journey.deliver import reconcile as reconciling
from recado.journey.deliver.deliver import send_whatsapp_message
from recado.journey.deliver.dispatch import DeliverDesk
from recado.journey.pause import Later, give_way
from tests.journey.conftest import MODEL
from tests.journey.post_office import SETTLE_S, PostOffice, post_office
from tests.model_server import ModelServer, in_turn
from tests.product import Product

LONG = "\n\n".join(
    f"{number}. " + "Pão francês, sonho e bolo de cenoura; fazemos por encomenda. " * 9 for number in range(1, 7)
)


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


class ProcessDied(BaseException):
    """The process ends here: no handler of the product may see it."""


@dataclass(frozen=True, slots=True)
class Dying:
    """A sender in a process that dies before or after Twilio took the message."""

    real: Sender
    after: bool

    async def send(self, **message: Any) -> Sent:
        if self.after:
            await self.real.send(**message)
        raise ProcessDied

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        raise AssertionError("it died before it could look")

    async def fetch(self, sid: str) -> Receipt:
        raise AssertionError("not asked for")

    async def typing(self, message_sid: str) -> None:
        raise AssertionError("not asked for")

    async def aclose(self) -> None: ...


def test_a_text_of_over_3000_characters_arrives_in_parts_that_rejoin_to_it(post: PostOffice) -> None:
    assert len(LONG) > 3000
    message = post.write(LONG)
    post.deliver(message)
    assert len(post.bodies()) >= 3
    assert all(len(body) <= 1500 for body in post.bodies())
    assert "".join(part["body"] for part in post.parts(message)) == LONG
    assert "".join(post.bodies()) == LONG


def test_a_number_with_a_messaging_service_is_sent_by_it_and_still_from_that_number(post: PostOffice) -> None:
    service = "MG" + "7" * 32
    post.product.execute(
        "UPDATE numbers SET messaging_service_sid = %s WHERE owner_id = %s", service, post.company.owner_id
    )
    post.deliver(post.write("Pronto!"))
    [call] = [call for call in post.contact.calls() if call.operation == "create"]
    assert (call.form["MessagingServiceSid"], call.form["From"]) == (service, post.company.number)
    assert post.bodies() == ["Pronto!"]


def test_what_twilio_took_is_looked_for_where_it_went_though_the_contact_has_another_address_by_then(
    post: PostOffice,
) -> None:
    post.contact.fault(operation="callback", lose=True)
    message = post.write("Pronto!")
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=True))
    post.product.execute("UPDATE contacts SET address = 'whatsapp:BR.123' WHERE owner_id = %s", post.company.owner_id)
    post.deliver(message)
    assert post.operations().count("create") == 1
    assert [event["what"] for event in post.events(message)] == ["reconciled_taken"]


@pytest.mark.parametrize("ahead", ["3 hours", "-3 hours", "3 minutes"])
def test_what_twilio_took_is_found_though_the_databases_clock_is_wrong(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    post.contact.fault(operation="callback", lose=True)
    message = post.write("Pronto!")
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=True))
    number, unit = ahead.split()
    shift = timedelta(**{unit: int(number)})
    post.product.execute(
        "UPDATE delivery_attempts SET started_at = started_at + %s WHERE message_id = %s", shift, message
    )

    async def wrong(_desk: DeliverDesk) -> datetime:
        return datetime.now(UTC) + shift

    monkeypatch.setattr(reconciling, "_database_time", wrong)
    post.deliver(message)
    assert post.operations().count("create") == 1
    assert [event["what"] for event in post.events(message)] == ["reconciled_taken"]


def test_a_part_is_posted_only_after_the_one_before_it_was_sent(post: PostOffice) -> None:
    post.contact.fault(operation="callback", delay_ms=250)
    post.deliver(post.write(LONG))
    shown = post.contact.seen()
    assert len(shown) >= 3
    for earlier, later in pairwise(shown):
        assert earlier.sent_at is not None
        assert later.created_at >= earlier.sent_at + 0.25


def test_lost_callbacks_delay_the_next_part_by_a_bounded_time(post: PostOffice) -> None:
    post.contact.fault("lost-callbacks")
    post.deliver(post.write(LONG), predecessor_s=0.4)
    shown = post.contact.seen()
    assert "".join(bubble.body for bubble in shown) == LONG
    for earlier, later in pairwise(shown):
        assert 0.35 <= later.created_at - earlier.created_at < 5


def test_the_first_part_of_a_message_waits_for_the_last_part_of_the_one_before(post: PostOffice) -> None:
    post.contact.fault(operation="callback", delay_ms=300)
    post.deliver(post.write("primeira"))
    post.deliver(post.write("segunda"))
    earlier, later = post.contact.seen()
    assert earlier.sent_at is not None
    assert (earlier.body, later.body) == ("primeira", "segunda")
    assert later.created_at >= earlier.sent_at + 0.3


def test_too_many_requests_is_tried_again_not_before_retry_after_and_without_asking(post: PostOffice) -> None:
    post.contact.fault("too-many-requests", count=1, retry_after_s=1)
    post.deliver(post.write("Olá"))
    first, second = post.contact.calls()
    assert (first.status, second.status) == (429, 201)
    assert second.at - first.at >= 1
    assert post.operations() == ["create", "create"]
    assert post.bodies() == ["Olá"]


@pytest.mark.parametrize("fault", ["error-before", "drop-before"])
def test_an_unknown_outcome_is_posted_again_once_twilios_list_has_shown_that_it_was_not_taken(
    post: PostOffice, fault: str
) -> None:
    post.contact.fault(fault, count=1)
    message = post.write("Olá")
    post.deliver(message)
    assert post.bodies() == ["Olá"]
    operations = post.operations()
    assert operations[0] == operations[-1] == "create"
    assert operations.count("create") == 2
    assert set(operations[1:-1]) == {"list"}
    first, second = post.contact.calls()
    assert second.at - first.at >= SETTLE_S, "the list may lag behind"
    assert "reconciled_not_taken" in [event["what"] for event in post.events(message)]


@pytest.mark.parametrize("fault", ["error-after", "drop-after", "timeout-after"])
def test_what_twilio_took_before_it_failed_is_found_in_its_list_and_not_posted_again(
    post: PostOffice, fault: str
) -> None:
    post.contact.fault(fault, count=1)
    message = post.write("Olá")
    # Without callbacks only the list can tell.
    post.deliver(message, public_url=None)
    assert post.bodies() == ["Olá"]
    assert post.operations() == ["create", "list"]
    (part,) = post.parts(message)
    assert part["provider_sid"] == post.contact.seen()[0].sid
    assert "reconciled_taken" in [event["what"] for event in post.events(message)]


def test_nothing_is_posted_again_while_twilios_list_can_not_be_read(post: PostOffice) -> None:
    post.contact.fault("error-after", count=1)
    post.contact.fault(operation="list", http_status=500, count=3)
    post.deliver(post.write("Olá"), public_url=None, settle_s=0.0, reconcile_poll_s=0.02)
    assert post.bodies() == ["Olá"]
    assert post.operations() == ["create", "list", "list", "list", "list"]


@dataclass(slots=True)
class Unlisted:
    """A sender whose list can't be read, as with a revoked token."""

    retry_after_s: float | None = None
    asked: int = 0

    async def find(self, **_: Any) -> list[Sent]:
        self.asked += 1
        raise SendError(ErrorClass.UNKNOWN, "no list", retry_after_s=self.retry_after_s)


@pytest.mark.parametrize(
    ("age_s", "retry_after_s", "at_least"),
    [(0, None, 0.3), (600, None, 300), (86_000, None, 900), (10, 120, 120), (10, 86_400, 900)],
)
def test_while_twilios_list_fails_it_is_asked_for_more_and_more_rarely_and_the_slot_is_given_back(
    post: PostOffice, age_s: int, retry_after_s: float | None, at_least: float
) -> None:
    message = post.write("Olá")
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=False))
    post.product.execute(
        "UPDATE delivery_attempts SET started_at = started_at - make_interval(secs => %s) WHERE message_id = %s",
        age_s, message,
    )  # fmt: skip
    twilio: Any = Unlisted(retry_after_s)
    with pytest.raises(Later) as later:
        post.deliver(message, sender=twilio, pause=partial(give_way, SystemClock(), short_s=0.1))
    assert at_least <= later.value.wait_s < at_least + 60
    assert twilio.asked == 1


@pytest.mark.parametrize("fault", ["error-before", "error-after", None])
def test_the_same_words_said_twice_are_delivered_twice_whatever_becomes_of_the_second_post(
    post: PostOffice, fault: str | None
) -> None:
    first, second = post.write("Sim."), post.write("Sim.")
    post.deliver(first)
    if fault:
        post.contact.fault(fault, count=1)
    post.deliver(second)
    assert post.bodies() == ["Sim.", "Sim."]
    sids = {post.parts(message)[0]["provider_sid"] for message in (first, second)}
    assert sids == {bubble.sid for bubble in post.contact.seen()}


def test_an_outcome_that_stays_unknown_is_not_tried_for_ever(post: PostOffice) -> None:
    post.contact.fault("error-before")
    message = post.write("Olá")
    post.deliver(
        message,
        settle_s=0.05,
        reconcile_poll_s=0.05,
        policy=RetryPolicy(base_s=0.01, reconcile_after_s=0, max_attempts=3),
    )
    assert post.operations().count("create") == 3
    assert post.message(message)["status"] == "failed"
    assert post.bodies() == []


def test_a_crash_between_the_attempts_row_and_the_post_loses_nothing(post: PostOffice) -> None:
    message = post.write("Olá")
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=False))
    assert post.bodies() == []
    post.deliver(message)
    assert post.bodies() == ["Olá"]
    assert post.operations()[0] == "list", "posted before it was asked after"
    assert post.operations().count("create") == 1


def test_a_crash_between_the_post_and_its_record_sends_nothing_twice(post: PostOffice) -> None:
    post.contact.fault("lost-callbacks")
    message = post.write("Olá")
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=True))
    assert post.parts(message)[0]["status"] == "waiting"
    post.deliver(message)
    assert post.bodies() == ["Olá"]
    assert post.operations() == ["create", "list"]


def test_a_crash_in_the_middle_of_the_parts_goes_on_with_the_part_that_is_missing(post: PostOffice) -> None:
    post.contact.fault("lost-callbacks")
    message = post.write("Bom dia a todos daqui.\n\nBoa tarde a todos daqui.\n\nBoa noite a todos daqui.")
    real, taken = post.real_sender(), 0

    class DiesAtTheSecond(Dying):
        async def send(self, **given: Any) -> Sent:
            nonlocal taken
            sent = await real.send(**given)
            taken += 1
            if taken == 2:
                raise ProcessDied
            return sent

    with pytest.raises(ProcessDied):
        post.deliver(message, sender=DiesAtTheSecond(real, after=True), split_chars=30, predecessor_s=0.1)
    assert len(post.bodies()) == 2
    post.deliver(message, split_chars=30, predecessor_s=0.1)
    assert [body.strip() for body in post.bodies()] == [
        "Bom dia a todos daqui.",
        "Boa tarde a todos daqui.",
        "Boa noite a todos daqui.",
    ]


def test_two_executors_that_both_think_a_delivery_theirs_send_it_once(post: PostOffice) -> None:
    post.contact.fault(operation="create", latency_ms=300)
    message = post.write("Olá")
    post.deliver(message, message, message)
    assert post.bodies() == ["Olá"]
    assert post.operations().count("create") == 1


def test_an_executor_that_was_stopped_before_it_sent_sends_nothing_once_it_goes_on(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = post.real_sender()

    class Stopped(Dying):
        """Two minutes long, in which another executor took the work over."""

        async def send(self, **given: Any) -> Sent:
            await send_whatsapp_message(post.desk, post.company.owner_id, message)
            monkeypatch.setattr("recado.channels.twilio.client.uptime", lambda: uptime() + 120)
            return await self.real.send(**given)

    message = post.write("Olá")
    post.deliver(message, sender=Stopped(real, after=False))
    assert post.bodies() == ["Olá"]
    assert post.message(message)["status"] in ("sent", "delivered", "read")


def test_a_delivery_that_is_run_again_after_its_end_does_nothing(post: PostOffice) -> None:
    message = post.write("Olá")
    post.deliver(message)
    post.deliver(message)
    assert post.operations() == ["create"]


def test_a_word_for_a_status_that_is_new_to_us_is_no_reason_to_post_again(post: PostOffice) -> None:
    real = post.real_sender()
    posts = 0

    class Modern(Dying):
        async def send(self, **given: Any) -> Sent:
            nonlocal posts
            posts += 1
            assert posts == 1, "posted again"
            sent = await real.send(**given)
            return Sent(
                sid=sent.sid,
                status="levitating",
                date_created=sent.date_created,
                body=sent.body,
                to=sent.to,
                from_=sent.from_,
            )

    post.contact.fault("lost-callbacks")
    post.deliver(post.write("Olá"), sender=Modern(real, after=True))
    assert post.bodies() == ["Olá"]


@pytest.mark.parametrize(("status", "code"), [(401, 20003), (400, 63007)])
def test_an_error_in_the_owners_set_up_keeps_the_message_and_says_why(post: PostOffice, status: int, code: int) -> None:
    post.contact.fault(operation="create", http_status=status, code=code)
    message = post.write("Olá")
    post.deliver(message)
    assert (post.message(message)["held_for"], post.message(message)["error_code"]) == ("setup", code)
    (event,) = post.events(message)
    assert (event["what"], event["data"]["code"]) == ("configuration", code)
    assert event["data"]["text"]
    post.deliver(message)
    assert post.operations() == ["create"], "held means that nobody tries"


def test_a_message_from_an_account_that_is_gone_is_kept(post: PostOffice) -> None:
    async def nobody(_owner: UUID, _account: UUID) -> Sender:
        raise SendError(ErrorClass.CONFIGURATION, "the Twilio account is gone")

    message = post.write("Olá")
    post.deliver(message, sender_of=nobody)
    assert post.message(message)["held_for"] == "setup"


@pytest.mark.parametrize(("code", "error_class"), [(21211, "recipient"), (63013, "content"), (63041, "template")])
def test_what_can_never_arrive_fails_at_once_with_twilios_code(post: PostOffice, code: int, error_class: str) -> None:
    post.contact.fault(operation="create", http_status=400, code=code)
    message = post.write("Olá")
    post.deliver(message)
    assert (post.message(message)["status"], post.message(message)["error_code"]) == ("failed", code)
    assert [event["what"] for event in post.events(message)] == [error_class]
    assert post.operations() == ["create"]


@pytest.mark.parametrize("code", [21610, 63033])
def test_a_contact_who_opted_out_is_sent_nothing_more(post: PostOffice, code: int) -> None:
    post.contact.fault(operation="create", http_status=400, code=code, count=1)
    first, second = post.write("Olá"), post.write("Ainda aí?")
    post.deliver(first)
    post.deliver(second)
    assert post.operations() == ["create"], "the second was posted"
    assert post.message(first)["status"] == "failed"
    assert (post.message(second)["status"], post.message(second)["error_code"]) == ("failed", 21610)
    assert [event["what"] for event in post.events(second)] == ["opted_out"]
    [told] = post.events(first, "confirm")
    assert (told["what"], told["data"]) == ("opted_out", {"error_code": code})


def test_an_opt_out_at_one_owner_is_none_at_another(post: PostOffice, reception: Product) -> None:
    post.contact.fault(operation="create", http_status=400, code=21610, count=1)
    post.deliver(post.write("Olá"))
    with post_office(reception) as other:
        reception.execute(
            "UPDATE contacts SET identity_key = (SELECT identity_key FROM contacts WHERE owner_id = %s) "
            "WHERE owner_id = %s",
            post.company.owner_id,
            other.company.owner_id,
        )
        other.deliver(other.write("Oi"))
        assert other.bodies() == ["Oi"]


def test_nothing_is_posted_once_the_contacts_last_message_is_24_hours_old(post: PostOffice) -> None:
    post.product.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '24 hours 1 minute' WHERE id = %s",
        post.conversation_id,
    )
    message = post.write("Olá")
    post.deliver(message)
    assert post.operations() == []
    assert (post.message(message)["held_for"], post.message(message)["error_code"]) == ("window", 63016)
    assert [event["what"] for event in post.events(message)] == ["window_closed"]


def test_one_minute_before_the_24_hours_are_over_the_message_still_goes(post: PostOffice) -> None:
    post.product.execute(
        "UPDATE conversations SET last_inbound_at = now() - %s WHERE id = %s",
        timedelta(hours=23, minutes=59),
        post.conversation_id,
    )
    post.deliver(post.write("Olá"))
    assert post.bodies() == ["Olá"]


def test_when_a_part_is_refused_the_rest_is_not_sent(post: PostOffice) -> None:
    message = post.write("Bom dia a todos daqui.\n\nBoa tarde a todos daqui.\n\nBoa noite a todos daqui.")
    post.contact.fault(operation="create", http_status=400, code=63013, body="Boa tarde")
    post.deliver(message, split_chars=30)
    assert [body.strip() for body in post.bodies()] == ["Bom dia a todos daqui."]
    statuses = [part["status"] for part in post.parts(message)]
    assert statuses[1:] == ["failed", "canceled"]
    assert statuses[0] in ("sent", "delivered")
    assert (post.message(message)["status"], post.message(message)["error_code"]) == ("failed", 63013)


def test_when_a_part_that_was_taken_fails_later_the_rest_is_not_sent(post: PostOffice) -> None:
    message = post.write("Bom dia a todos daqui.\n\nBoa tarde a todos daqui.\n\nBoa noite a todos daqui.")
    post.contact.fault(operation="create", delivery_status="failed", error_code=63024, body="Bom dia")
    post.deliver(message, split_chars=30)
    assert post.operations() == ["create"]
    assert (post.message(message)["status"], post.message(message)["error_code"]) == ("failed", 63024)


def test_a_part_that_fails_while_its_message_is_looked_at_stops_the_rest(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, read = post.write("Bom dia a todos daqui.\n\nBoa tarde a todos daqui."), dispatch.planned

    async def read_before_it_fails(scope: Scope, desk: DeliverDesk, row: Row) -> list[Part]:
        found = await read(scope, desk, row)
        if found[0].status != parts.WAITING:
            async with asyncio.timeout(SETTLE_S):
                while post.parts(message)[0]["status"] != "failed":
                    await asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(dispatch, "planned", read_before_it_fails)
    post.contact.fault(operation="create", delivery_status="failed", error_code=63024, body="Bom dia")
    post.deliver(message, split_chars=30)
    assert post.operations() == ["create"]
    assert post.message(message)["status"] == "failed"


def test_a_change_of_the_split_in_the_middle_of_a_message_changes_nothing_of_it(post: PostOffice) -> None:
    text = "Bom dia a todos daqui.\n\nBoa tarde a todos daqui."
    message = post.write(text)
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=Dying(post.real_sender(), after=False), split_chars=30)
    post.deliver(message, split_chars=1500)
    assert len(post.bodies()) == 2
    assert "".join(part["body"] for part in post.parts(message)) == text


def test_two_executors_that_plan_a_message_at_the_same_time_agree_on_its_parts(post: PostOffice) -> None:
    message, pool = post.write("Olá, tudo bem?"), post.desk.pool

    async def both() -> tuple[list[Part], list[Part]]:
        async def late() -> list[Part]:
            async with scoped(pool, post.company.owner_id) as scope:
                return await parts.plan(scope, message, ("Olá, tudo bem?",))

        async with scoped(pool, post.company.owner_id) as scope:
            first = await parts.plan(scope, message, ("Olá,", " tudo bem?"))
            second = asyncio.create_task(late())
            await asyncio.sleep(0.2)  # it waits for our commit by now
        return first, await second

    first, second = post.product.call(both)
    assert [part.body for part in first] == [part.body for part in second] == ["Olá,", " tudo bem?"]


def test_a_conversations_second_message_waits_while_the_first_is_being_tried_again(
    product: Product, model_server: ModelServer
) -> None:
    company = product.company(model=MODEL)
    contact = company.contact()
    model_server.script = in_turn("primeira", "segunda")
    contact.fault("too-many-requests", count=2, retry_after_s=0.4, body="primeira")
    contact.says("um")
    while not contact.calls():
        time.sleep(0.01)
    contact.says("dois")
    assert [reply.body for reply in contact.replies(2)] == ["primeira", "segunda"]
    assert [call.form["Body"] for call in contact.calls()] == ["primeira", "primeira", "primeira", "segunda"]
