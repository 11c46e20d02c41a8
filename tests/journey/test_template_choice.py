"""A template that an assistant chose is stored with its reply, once, and goes out behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recado.assistants import assistant
from recado.assistants.run import Thought
from recado.assistants.tools import Offer
from recado.channels import port
from recado.channels.twilio.senders import Senders
from recado.conversations import templates
from recado.db.scope import scoped
from recado.errors import Conflict, UsageError
from tests.journey.front import Front, open_front
from tests.journey.test_answer import ProcessDied, deliveries, desk_of, replies, run, say, turn
from tests.model_server import Call, ModelServer, Reply
from tests.product import Product

SID = "HX" + "a" * 32
READY = port.Template(
    content_sid=SID,
    name="order_ready",
    language="pt_BR",
    category="UTILITY",
    status="approved",
    rejection_reason=None,
    content_type="twilio/text",
    body="Olá, {{1}}! O pedido {{2}} está pronto.",
    types={"twilio/text": {"body": "Olá, {{1}}! O pedido {{2}} está pronto."}},
)
GOOD = {"1": "Ana", "2": "A-17"}
SAYS = "Olá, Ana! O pedido A-17 está pronto."


@dataclass(slots=True)
class Chooser:
    """A model that chooses a template whenever it is offered one; `meanwhile` happens while it thinks."""

    says: str = "Já vai!"
    variables: Mapping[str, str] = field(default_factory=lambda: GOOD)
    offers: list[Offer | None] = field(default_factory=list)
    chooses: bool = True
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, _assistant: Any, *, offer: Offer | None, **_given: Any) -> Thought:
        self.offers.append(offer)
        chosen = await offer.check(offer.templates[0].content_sid, self.variables) if offer and self.chooses else None
        if self.meanwhile is not None:
            await self.meanwhile()
        return Thought(text=self.says, model="scripted", input_tokens=1, output_tokens=1, template=chosen)


async def prepare(front: Front, *found: port.Template, allowed: bool | None = True) -> None:
    (account,) = front.rows("SELECT id FROM twilio_accounts")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await templates.sync(scope, account["id"], found or [READY], now=datetime.now(UTC))
        await assistant.set(scope, None, templates=allowed)


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        await prepare(opened)
        yield opened


def outbound(front: Front) -> list[dict[str, Any]]:
    return [row for row in front.stored() if row["direction"] == "outbound"]


async def test_the_reply_comes_first_and_then_the_template_each_with_a_delivery_of_its_own(front: Front) -> None:
    await turn(front, desk_of(front, Chooser()), await say(front))
    question, answer, template = front.stored()
    assert [(row["kind"], row["body"], row["author"]) for row in (answer, template)] == [
        ("text", "Já vai!", "assistant"),
        ("template", SAYS, "assistant"),
    ]
    assert template["content"] == {"kind": "template", "content_sid": SID, "variables": GOOD}
    assert template["reply_to"] == question["id"]
    assert template["correlation_id"] == question["correlation_id"]
    assert template["turn_id"] == answer["turn_id"]
    assert deliveries(front) == [str(answer["id"]), str(template["id"])], (
        "in the order in which the lane gives them out"
    )


async def test_a_template_that_says_all_goes_alone(front: Front) -> None:
    await turn(front, desk_of(front, Chooser(says="")), await say(front))
    assert [(row["kind"], row["body"]) for row in outbound(front)] == [("template", SAYS)]
    assert len(deliveries(front)) == 1


async def test_no_assistant_is_offered_templates_until_its_owner_says_so(front_url: str, tmp_path: Path) -> None:
    chooser = Chooser()
    async with open_front(front_url, tmp_path) as front:
        await prepare(front, allowed=None)
        await turn(front, desk_of(front, chooser), await say(front))
        assert replies(front) == ["Já vai!"]
    assert chooser.offers == [None]


@pytest.mark.parametrize("status", ["pending", "paused", "rejected", "unsubmitted"])
async def test_nothing_is_offered_where_the_account_has_nothing_approved(front: Front, status: str) -> None:
    await prepare(front, replace(READY, status=status))
    chooser = Chooser()
    await turn(front, desk_of(front, chooser), await say(front))
    assert chooser.offers == [None]


async def test_templates_of_another_account_are_not_offered(front: Front) -> None:
    run(front, "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token) "
        f"SELECT id, gen_random_uuid(), 'AC{'9' * 32}', 'x' FROM owners")  # fmt: skip
    run(front, f"UPDATE templates SET account_id = (SELECT id FROM twilio_accounts WHERE account_sid = 'AC{'9' * 32}')")
    chooser = Chooser()
    await turn(front, desk_of(front, chooser), await say(front))
    assert chooser.offers == [None]


async def test_the_checks_are_those_of_the_api(front: Front) -> None:
    chooser = Chooser(chooses=False)
    await turn(front, desk_of(front, chooser), await say(front))
    (offer,) = chooser.offers
    assert offer is not None
    assert [(one.name, one.language, one.body, one.variables) for one in offer.templates] == [
        ("order_ready", "pt_BR", READY.body, ("1", "2"))
    ]
    for variables in ({"1": "Ana"}, GOOD | {"3": "x"}, GOOD | {"2": "a\nb"}):
        with pytest.raises(UsageError):
            await offer.check(SID, variables)
    await asyncio.to_thread(run, front, "UPDATE templates SET status = 'paused'")
    with pytest.raises(Conflict, match="paused"):
        await offer.check(SID, GOOD)
    await asyncio.to_thread(run, front, "DELETE FROM templates")
    with pytest.raises(UsageError, match="no such template"):
        await offer.check(SID, GOOD)


async def test_a_crash_after_the_choice_sends_the_same_one_once(front: Front) -> None:
    chooser, stored = Chooser(), dict[str, str]()

    async def dies(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        stored[name] = json.dumps(await work())
        raise ProcessDied

    async def replays(name: str, _work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(stored[name])
        return result

    conversation_id = await say(front)
    desk = desk_of(front, chooser)
    with pytest.raises(ProcessDied):
        await turn(front, replace(desk, step=dies), conversation_id)
    assert outbound(front) == []
    for _ in range(3):
        await turn(front, replace(desk, step=replays), conversation_id)
    assert [(row["kind"], row["body"]) for row in outbound(front)] == [("text", "Já vai!"), ("template", SAYS)]
    assert outbound(front)[1]["content"]["variables"] == GOOD
    assert len(chooser.offers) == 1
    assert len(deliveries(front)) == 2


async def test_a_step_of_an_older_release_has_no_choice_and_is_replayed_all_the_same(front: Front) -> None:
    async def older(_name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        return {key: value for key, value in (await work()).items() if key != "template"}

    await turn(front, replace(desk_of(front, Chooser()), step=older), await say(front))
    assert replies(front) == ["Já vai!"]


async def test_what_a_stale_draft_chose_is_dropped(front: Front) -> None:
    chooser = Chooser()

    async def speak() -> None:
        chooser.meanwhile, chooser.chooses = None, False
        await say(front, "Deixa, já busquei.")

    chooser.meanwhile = speak
    await turn(front, desk_of(front, chooser), await say(front))
    assert len(chooser.offers) == 2
    assert [(row["kind"], row["body"]) for row in outbound(front)] == [("text", "Já vai!")]


async def test_nothing_goes_to_a_conversation_given_to_people_meanwhile(front: Front) -> None:
    async def hand_over() -> None:
        await asyncio.to_thread(run, front, "UPDATE conversations SET status = 'handoff'")

    await turn(front, desk_of(front, Chooser(meanwhile=hand_over)), await say(front))
    assert outbound(front) == []
    assert deliveries(front) == []


async def test_nothing_goes_to_a_contact_who_opted_out_meanwhile(front: Front) -> None:
    async def opt_out() -> None:
        await asyncio.to_thread(
            run,
            front,
            "INSERT INTO suppressions (owner_id, identity_key, reason) "
            "SELECT owner_id, identity_key, 'word' FROM contacts",
        )

    await turn(front, desk_of(front, Chooser(meanwhile=opt_out)), await say(front))
    assert outbound(front) == []


async def test_reply_and_template_are_stored_together_or_not_at_all(database_url: str, tmp_path: Path) -> None:
    async with open_front(database_url, tmp_path) as front:
        await prepare(front)
        conversation_id = await say(front)
        run(
            front,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.kind = 'template') "
            "EXECUTE FUNCTION refuse()",
        )
        await turn(front, desk_of(front, Chooser()), conversation_id)
        question, apology = front.stored()
        assert (question["status"], question["held_for"]) == ("held", "broken")
        assert (apology["author"], apology["kind"]) == ("system", "text")
        assert deliveries(front) == [str(apology["id"])]


def test_the_phone_shows_the_answer_and_then_the_template_that_the_model_chose(
    product: Product, model_server: ModelServer
) -> None:
    company = product.company(model="openai:scripted")
    contact = company.contact()
    wiring = product.wiring
    assert wiring is not None
    (account,) = product.rows("SELECT id FROM twilio_accounts WHERE owner_id = %s", company.owner_id)

    async def allow() -> None:
        senders = Senders(wiring.pool, wiring.keyring, api_url=product.simulator_url, messaging_url=None)
        try:
            found = await (await senders.contents_of(company.owner_id, account["id"])).templates()
        finally:
            await senders.aclose()
        async with scoped(wiring.pool, company.owner_id) as scope:
            await templates.sync(scope, account["id"], found, now=datetime.now(UTC))
            await assistant.set(scope, None, templates=True)

    product.call(allow)
    arguments = {"template": "order_ready", "language": "pt_BR", "variables": {"1": "Ana"}}

    def script(request: Any) -> Reply:
        if len(request.told) == 0:
            return Reply(calls=(Call(name="send_template", arguments=arguments),))
        if len(request.told) == 1:
            return Reply(calls=(Call(name="send_template", arguments=arguments | {"variables": GOOD}),))
        return Reply(text="Boa notícia:")

    model_server.script = script
    contact.says("Meu pedido já saiu?")
    shown = contact.replies(2, status="delivered")
    assert [bubble.body for bubble in shown] == ["Boa notícia:", "Olá, Ana! Seu pedido A-17 está pronto para retirada."]
    stored = contact.settled(2)
    assert [row["kind"] for row in stored] == ["text", "template"]
    (made,) = product.rows("SELECT outcome, input_tokens FROM turns WHERE owner_id = %s", company.owner_id)
    assert made == {"outcome": "answered", "input_tokens": 33}
