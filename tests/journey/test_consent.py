"""consent: who opted out gets nothing from the moment their message is accepted, whatever else is going on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.channels.port import ErrorClass, Receipt, Sender, SendError, Sent
from recado.conversations import consent_words, messages, suppressions
from recado.db.scope import scoped
from recado.errors import Conflict
from recado.journey.answer.turn import process_ai_response
from recado.journey.receive.limits import COURTESY
from recado.journey.understand.opt_outs import CONFIRMED, confirm_opt_outs
from recado.ops import failed
from tests.journey.front import Front, message_sid, open_front
from tests.journey.ledger import Ledger
from tests.journey.post_office import PostOffice, post_office
from tests.journey.test_answer import Mind, desk_of, replies, run, say
from tests.journey.test_deliver import LONG
from tests.journey.test_limits import text as posted
from tests.product import Product, establish

OUT, IN = CONFIRMED["opted_out"], CONFIRMED["opted_in"]


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


def suppressed(front: Front) -> list[str]:
    return [row["reason"] for row in front.rows("SELECT reason FROM suppressions")]


def changes(front: Front) -> list[str]:
    found = front.rows("SELECT what FROM events WHERE what IN ('opted_out', 'opted_in') ORDER BY id")
    return [row["what"] for row in found]


def statuses(front: Front) -> list[str]:
    return [row["status"] for row in front.stored() if row["direction"] == "inbound"]


async def turn(front: Front, mind: Mind) -> None:
    """The turn of the newest message."""
    newest = [row for row in front.stored() if row["direction"] == "inbound"][-1]
    desk, now = desk_of(front, mind), front.wiring.clock.now()
    await process_ai_response(desk, front.owner_id, newest["conversation_id"], newest["id"], arrived_at=now)


@pytest.mark.parametrize(("said", "reasons"), [("Sair!", ["word"]), ("PARAR", ["word"]), ("parar de fumar", [])])
async def test_it_is_heeded_with_the_message_before_any_worker(front: Front, said: str, reasons: list[str]) -> None:
    await say(front, said)
    assert suppressed(front) == reasons
    assert changes(front) == ["opted_out"] * len(reasons)


@pytest.mark.parametrize(
    "state", ["UPDATE conversations SET status = 'handoff'", "UPDATE owners SET status = 'suspended'"]
)
async def test_it_is_heeded_whoever_has_the_conversation_and_suspended_or_not(front: Front, state: str) -> None:
    await say(front, "Oi")
    run(front, state)
    await say(front, "SAIR")
    assert suppressed(front) == ["word"]
    await turn(front, Mind())
    assert replies(front) == ([OUT["pt"]] if "handoff" in state else []), "a suspended owner sends nothing"


async def test_over_the_limit_it_is_heeded_without_a_confirmation(front_url: str, tmp_path: Path) -> None:
    async with open_front(front_url, tmp_path, limits="contact=1/day") as front:
        for body in ("Oi", "STOP", "Oi", "Oi"):
            assert (await front.post(posted(Body=body))).status_code == 200
        assert statuses(front) == ["received", "held", "held", "held"]
        assert suppressed(front) == ["word"]
        assert [reply for reply in replies(front) if reply != COURTESY["pt"]] == []


async def decide(front: Front, what: str) -> None:
    """People of the owner suppress the contact, or allow them again."""
    (contact,) = front.rows("SELECT id FROM contacts WHERE owner_id = %s", front.owner_id)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await (suppressions.suppress if what == "suppress" else suppressions.allow)(scope, contact["id"])


async def test_the_contacts_own_word_takes_the_place_of_what_people_decided_and_can_not_be_taken_back(
    front: Front,
) -> None:
    await say(front, "Oi")
    await turn(front, Mind())
    await decide(front, "suppress")
    await say(front, "SAIR")
    with pytest.raises(Conflict, match="opted out"):
        await decide(front, "allow")
    assert (suppressed(front), changes(front)) == (["word"], ["opted_out"])
    await turn(front, Mind())
    assert replies(front)[1:] == [OUT["pt"]], "they are told once, as anyone is"


async def test_what_people_decide_afterwards_changes_nothing_of_the_contacts_own_word(front: Front) -> None:
    await say(front, "SAIR")
    kept = front.rows("SELECT * FROM suppressions")
    await decide(front, "suppress")
    assert front.rows("SELECT * FROM suppressions") == kept


async def test_what_people_decided_is_theirs_to_take_back_and_the_contacts_opt_in_undoes_it_too(front: Front) -> None:
    await say(front, "Oi")
    for undo in ("allow", "word"):
        await decide(front, "suppress")
        await (decide(front, "allow") if undo == "allow" else say(front, "VOLTAR"))
        assert suppressed(front) == []


async def test_no_courtesy_goes_to_a_contact_who_opted_out(front_url: str, tmp_path: Path) -> None:
    async with open_front(front_url, tmp_path, limits="contact=2/day") as front:
        for body in ("SAIR", "Oi", "Oi", "Oi"):
            assert (await front.post(posted(Body=body))).status_code == 200
        assert replies(front) == []


async def test_at_a_number_that_nobody_added_it_is_heeded_too(front: Front) -> None:
    await front.post(posted(To="whatsapp:+14155559999", Body="BAJA"))
    assert statuses(front) == ["unrouted"]
    assert suppressed(front) == ["word"]


async def test_a_repeated_webhook_opts_nobody_out_again(front: Front) -> None:
    sid = message_sid()
    await front.accept(await front.arrival("STOP", MessageSid=sid))
    await front.accept(await front.arrival("START"))
    await front.accept(await front.arrival("STOP", MessageSid=sid))
    assert suppressed(front) == []
    assert changes(front) == ["opted_out", "opted_in"]


async def test_within_one_batch_the_last_word_counts(front: Front) -> None:
    await front.accept(await front.arrival("STOP"), await front.arrival("START"))
    assert suppressed(front) == []
    await front.accept(await front.arrival("START"), await front.arrival("STOP"))
    assert suppressed(front) == ["word"]
    assert changes(front) == ["opted_out", "opted_in", "opted_out"]


async def test_it_is_confirmed_once_and_the_assistant_is_not_asked(front: Front) -> None:
    mind = Mind()
    await say(front, "SAIR")
    await turn(front, mind)
    await turn(front, mind)
    for body in ("Sair", "Oi?", "Qual o horário?"):
        await say(front, body)
        await turn(front, mind)
    assert replies(front) == [OUT["pt"]]
    assert statuses(front) == ["answered", "held", "held", "held"]
    assert mind.shown == []
    assert {row["outcome"] for row in front.rows("SELECT outcome FROM turns")} == {"silent"}
    assert len(front.rows("SELECT FROM events WHERE what = 'consent_confirmed'")) == 1


async def test_two_executors_confirm_it_once(front: Front) -> None:
    for word in ("SAIR", "VOLTAR"):
        await say(front, word)
        await asyncio.gather(*(turn(front, Mind()) for _ in range(4)))
    assert replies(front) == [OUT["pt"], IN["pt"]]


async def test_what_no_longer_holds_is_not_confirmed(front: Front) -> None:
    conversation_id = await say(front, "SAIR")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        heard = await messages.pending(scope, conversation_id)
    await say(front, "VOLTAR")
    wiring = front.wiring
    assert await confirm_opt_outs(wiring.pool, wiring.clock, front.owner_id, conversation_id, heard) == []
    assert replies(front) == []
    await turn(front, Mind())
    assert replies(front) == [IN["pt"]]


@pytest.mark.parametrize(
    ("before", "word", "language"),
    [
        ("Oi", "SAIR", "pt"),
        ("Oi", "baja", "es"),
        ("What are your opening hours?", "STOP", "en"),
        ("Oi", "STOP", "pt"),
        ("Hola, ¿cuánto cuesta el pan?", "SAIR", "es"),
    ],
)
async def test_the_confirmation_speaks_the_contacts_language(
    front: Front, before: str, word: str, language: str
) -> None:
    await say(front, before)
    await turn(front, Mind())
    await say(front, word)
    await turn(front, Mind())
    assert replies(front)[1:] == [OUT[language]]  # type: ignore[index]


async def test_only_an_opt_in_word_of_the_contacts_opens_it_again_and_is_confirmed(front: Front) -> None:
    mind = Mind()
    for body in ("SAIR", "quero voltar", "Voltar!", "Oi"):
        await say(front, body)
        await turn(front, mind)
    assert replies(front) == [OUT["pt"], IN["pt"], "Olá!"]
    assert mind.shown == [["Oi"]]
    assert suppressed(front) == []


async def test_an_opt_in_word_of_somebody_who_never_opted_out_is_a_message_like_any_other(front: Front) -> None:
    mind = Mind()
    await say(front, "Voltar")
    await turn(front, mind)
    assert mind.shown == [["Voltar"]]
    assert changes(front) == []


async def test_of_a_burst_only_the_word_is_taken_out(front: Front) -> None:
    mind = Mind()
    for body in ("Qual o horário?", "SAIR"):
        await say(front, body)
    await turn(front, mind)
    assert (replies(front), statuses(front)) == ([OUT["pt"]], ["held", "answered"])
    for body in ("VOLTAR", "E aos domingos?"):
        await say(front, body)
    await turn(front, mind)
    assert replies(front) == [OUT["pt"], IN["pt"], "Olá!"]
    assert mind.shown == [["E aos domingos?"]]


async def test_an_opt_out_while_the_assistant_thinks_leaves_its_reply_unsaid(front: Front) -> None:
    mind = Mind(meanwhile=lambda: say_once(front))
    await say(front, "Qual o horário?")
    await turn(front, mind)
    assert (replies(front), statuses(front)) == ([], ["held", "received"])
    await turn(front, mind)
    assert replies(front) == [OUT["pt"]]
    assert len(mind.shown) == 1


async def say_once(front: Front) -> None:
    if len(front.stored()) == 1:
        await say(front, "SAIR")


async def test_what_the_owners_side_writes_opts_nobody_out(front: Front) -> None:
    conversation_id = await say(front, "Oi")
    for author in ("operator", "api", "assistant"):
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            await messages.enqueue_outbound(
                scope,
                conversation_id=conversation_id,
                author=author,
                body="cancelar",
                correlation_id=UUID(int=1),
                now=front.wiring.clock.now(),
            )
    await turn(front, Mind())
    assert suppressed(front) == []


async def test_an_owners_own_word_counts_for_that_owner_alone(front: Front) -> None:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await consent_words.add_word(scope, "Chega de mensagens!", "stop", language="pt")
        await consent_words.add_word(scope, "tô de volta", "start")
    await say(front, "chega, de MENSAGENS")
    assert suppressed(front) == ["word"]
    await say(front, "To de volta")
    assert suppressed(front) == []
    other, number = "AC" + "f" * 32, "whatsapp:+14155550000"
    await establish(front.wiring, other, "token", number)
    await front.accept(await front.arrival("Chega de mensagens", account_sid=other, to=number))
    assert suppressed(front) == []


@pytest.mark.parametrize(("heard", "reasons"), [("Parar.", ["word"]), ("pode parar de chover", [])])
async def test_a_voice_note_that_says_nothing_but_the_word_opts_out(
    front: Front, heard: str, reasons: list[str]
) -> None:
    await front.accept(await front.arrival("", MessageType="audio"))
    run(front, f"UPDATE messages SET transcript = '{heard}'")
    await turn(front, Mind())
    assert suppressed(front) == reasons
    assert (OUT["pt"] in replies(front)) == bool(reasons)


async def test_a_voice_note_never_opts_in(front: Front) -> None:
    await say(front, "SAIR")
    await front.accept(await front.arrival("", MessageType="audio"))
    run(front, "UPDATE messages SET transcript = 'Voltar' WHERE kind = 'audio'")
    await turn(front, Mind())
    assert suppressed(front) == ["word"]


async def test_the_caption_of_a_picture_counts(front: Front) -> None:
    url = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM0/Media/ME0"
    picture = {"MessageType": "image", "NumMedia": "1", "MediaUrl0": url, "MediaContentType0": "image/jpeg"}
    await front.post(posted(Body="sair", **picture))
    assert suppressed(front) == ["word"]


def button(title: str, payload: str | None) -> dict[str, str | None]:
    return {"MessageType": "button", "Body": title, "ButtonText": title, "ButtonPayload": payload}


def item(title: str, list_id: str | None) -> dict[str, str | None]:
    return {"MessageType": "interactive", "Body": title, "ListTitle": title, "ListId": list_id}


@pytest.mark.parametrize("tap", [button, item])
@pytest.mark.parametrize(
    ("title", "means"),
    [
        ("Cancelar", "cancel_order_42"),
        ("Cancel", "42"),
        ("Cancelar", "🛑"),
        ("Sair", "x" * 100),
        ("Cancelar pedido", "cancel"),
        ("Sair", "start"),
    ],
)
async def test_the_owners_own_button_or_list_item_is_a_message_like_any_other(
    front: Front, tap: Any, title: str, means: str
) -> None:
    mind = Mind()
    await front.post(posted(**tap(title, means)))
    await turn(front, mind)
    assert (suppressed(front), replies(front), len(mind.shown)) == ([], ["Olá!"], 1)


@pytest.mark.parametrize("tap", [button, item])
@pytest.mark.parametrize("means", ["Parar", "STOP", "chega", None])
async def test_a_tap_that_means_the_word_or_nothing_else_counts_as_the_word(
    front: Front, tap: Any, means: str | None
) -> None:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await consent_words.add_word(scope, "Chega", "stop")
    await front.post(posted(**tap("Parar", means)))
    assert suppressed(front) == ["word"]


async def test_an_owners_own_word_counts_on_a_button_whose_payload_is_its_text(front: Front) -> None:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await consent_words.add_word(scope, "Chega de ofertas", "stop")
    await front.post(posted(**button("Chega de ofertas", "chega_de_ofertas_7")))
    assert suppressed(front) == []
    await front.post(posted(**button("Chega de ofertas", "Chega de ofertas")))
    assert suppressed(front) == ["word"]


@pytest.mark.parametrize("tap", [button, item])
async def test_a_tap_opts_in_by_the_same_rule(front: Front, tap: Any) -> None:
    await front.post(posted(Body="SAIR"))
    await front.post(posted(**tap("Voltar", "back_to_menu")))
    assert suppressed(front) == ["word"]
    await front.post(posted(**tap("Voltar", "START")))
    assert suppressed(front) == []


async def test_the_name_of_a_file_does_not_count(front: Front) -> None:
    url = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM0/Media/ME0"
    file = {"MessageType": "document", "NumMedia": "1", "MediaUrl0": url, "MediaContentType0": "application/pdf"}
    await front.post(posted(Body="cancelar", **file))
    assert suppressed(front) == []


async def test_held_messages_say_why_and_are_not_answered_after_all(front: Front) -> None:
    for body in ("SAIR", "Oi"):
        await say(front, body)
        await turn(front, Mind())
    async with front.wiring.platform_pool() as platform, platform.connection() as conn:
        (shown,) = await failed.failures(conn)
        assert (shown.held_for, shown.text) == ("opted_out", "The contact wants no messages: nothing is sent to them.")
        with pytest.raises(failed.Conflict, match="wants no messages"):
            await failed.retry(conn, shown.id)


def confirm(post: PostOffice) -> UUID:
    """What a turn does with the contact's word; answers the confirmation's id."""
    wiring, product = post.product.wiring, post.product
    assert wiring is not None

    async def hear() -> None:
        async with scoped(wiring.pool, post.company.owner_id) as scope:
            heard = await messages.pending(scope, post.conversation_id)
        await confirm_opt_outs(wiring.pool, wiring.clock, post.company.owner_id, post.conversation_id, heard)

    product.call(hear)
    confirmation: UUID = [row for row in post.contact.messages() if row["author"] == "system"][-1]["id"]
    return confirmation


def test_exactly_the_confirmation_goes_out_to_a_contact_who_opted_out(post: PostOffice) -> None:
    before = post.write("isto já estava na fila")
    post.contact.says("SAIR")
    confirmation = confirm(post)
    after = post.write("isto foi escrito depois")
    post.deliver(before, confirmation, after)
    assert post.bodies() == [OUT["pt"]]
    for refused in (before, after):
        assert (post.message(refused)["status"], post.message(refused)["error_code"]) == ("failed", 21610)
        assert [event["what"] for event in post.events(refused)] == ["opted_out"]


def test_an_earlier_confirmation_does_not_open_a_later_opt_out(post: PostOffice) -> None:
    post.contact.says("SAIR")
    first = confirm(post)
    post.contact.says("VOLTAR")
    post.contact.says("SAIR")
    second = confirm(post)
    post.deliver(first, second)
    assert post.bodies() == [OUT["pt"]]
    assert post.message(first)["status"] == "failed"


@dataclass(slots=True)
class Interrupted:
    """A sender during whose first message the contact opts out; with `lost`, nobody sees what Twilio answered."""

    real: Sender
    post: PostOffice
    lost: bool = False
    sent: int = 0

    async def send(self, **message: Any) -> Sent:
        self.sent += 1
        taken = await self.real.send(**message)
        if self.sent == 1:
            await asyncio.to_thread(self.opt_out)
        if self.lost:
            raise SendError(ErrorClass.UNKNOWN, "nobody saw it")
        return taken

    def opt_out(self) -> None:
        company, wiring = self.post.company, self.post.product.wiring
        assert wiring is not None
        self.post.product.execute(
            "SELECT heed(v.owner_id, m.id, v.id, c.identity_key, 'stop') FROM messages m "
            "JOIN conversations v ON v.id = m.conversation_id JOIN contacts c ON c.id = v.contact_id "
            "WHERE v.owner_id = %s AND m.direction = 'inbound'",
            company.owner_id,
        )

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        return await self.real.find(to=to, from_=from_, since=since)

    async def fetch(self, sid: str) -> Receipt:
        return await self.real.fetch(sid)

    async def typing(self, message_sid: str) -> None:
        await self.real.typing(message_sid)

    async def aclose(self) -> None: ...


def test_an_opt_out_between_two_parts_keeps_the_second_from_being_sent(post: PostOffice) -> None:
    message = post.write(LONG)
    post.deliver(message, sender=Interrupted(post.real_sender(), post))
    assert len(post.bodies()) == 1
    assert {part["status"] for part in post.parts(message)[1:]} == {"failed", "canceled"}
    assert len(post.parts(message)) >= 3


def test_what_twilio_took_before_the_opt_out_is_not_called_failed(post: PostOffice) -> None:
    post.contact.fault("lost-callbacks")
    message = post.write("Olá")
    post.deliver(message, sender=Interrupted(post.real_sender(), post, lost=True))
    assert post.bodies() == ["Olá"]
    assert post.message(message)["status"] != "failed"
    assert post.operations() == ["create", "list"]


@pytest.mark.parametrize(("asked", "reasons"), [("start", []), ("stop", ["word"])])
def test_a_refusal_of_what_was_being_posted_while_the_contact_opted_in_opts_nobody_out(
    post: PostOffice, asked: str, reasons: list[str]
) -> None:
    message = post.write("Olá")

    def meanwhile(_: dict[str, Any]) -> None:
        post.product.execute(
            "SELECT heed(v.owner_id, m.id, v.id, c.identity_key, %s) FROM messages m "
            "JOIN conversations v ON v.id = m.conversation_id JOIN contacts c ON c.id = v.contact_id "
            "WHERE v.owner_id = %s AND m.direction = 'inbound'",
            asked,
            post.company.owner_id,
        )
        raise SendError(ErrorClass.RECIPIENT, "refused", 21610)

    post.deliver(message, sender=Ledger(before=meanwhile))
    found = post.product.rows("SELECT reason FROM suppressions WHERE owner_id = %s", post.company.owner_id)
    assert [row["reason"] for row in found] == reasons
    assert post.message(message)["status"] == "failed"


def test_a_delivery_waits_for_an_opt_out_that_is_being_committed(post: PostOffice) -> None:
    message = post.write("Olá")
    with psycopg.connect(post.product.database_url, options="-c search_path=recado") as conn:
        conn.execute(
            "SELECT heed(v.owner_id, m.id, v.id, c.identity_key, 'stop') FROM messages m "
            "JOIN conversations v ON v.id = m.conversation_id JOIN contacts c ON c.id = v.contact_id "
            "WHERE v.owner_id = %s AND m.direction = 'inbound'",
            [post.company.owner_id],
        )
        with_delivery = asyncio.run(both(post, message, conn))
    assert with_delivery == []
    assert post.message(message)["error_code"] == 21610


async def both(post: PostOffice, message: UUID, conn: psycopg.Connection[Any]) -> list[str]:
    """Deliver while the opt-out is open, commit it after a moment, and answer what the contact got."""
    delivery = asyncio.create_task(asyncio.to_thread(post.deliver, message))
    await asyncio.sleep(0.4)
    assert not delivery.done()
    conn.commit()
    await delivery
    return await asyncio.to_thread(post.bodies)


def test_a_contact_opts_out_and_in_again(product: Product) -> None:
    contact = product.company().contact()
    contact.says("Qual o horário de funcionamento?")
    contact.replies(1)
    contact.says("Sair.")
    assert contact.replies(2)[-1].body == OUT["pt"]
    contact.says("Vocês fazem entrega?")
    deadline = time.monotonic() + 40
    while contact.messages()[-1]["status"] != "held":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    contact.says("voltar")
    assert contact.replies(3)[-1].body == IN["pt"]
    contact.says("Vocês fazem entrega?")
    assert "R$ 8,00" in contact.replies(4)[-1].body
