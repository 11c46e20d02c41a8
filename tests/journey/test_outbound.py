"""deliver, beyond text: attachments, buttons, lists and templates, each once; and what is late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from recado.channels.port import ErrorClass, SendError, Template
from recado.conversations import templates
from recado.conversations.templates import Fallback
from recado.db.scope import Scope, scoped
from recado.delivery.content import Attachment, Button, Content, Item, ListPicker, QuickReplies, TemplateUse
from recado.ops import failed, recovery
from tests.journey.ledger import Ledger, ProcessDied, dies, refuses
from tests.journey.post_office import PostOffice, post_office
from tests.product import Product

YES_NO = QuickReplies(buttons=(Button(id="yes", title="Sim"), Button(id="no", title="Não")))
CAKES = ListPicker(button="Bolos", items=(Item(id="1", title="Cenoura", description="com chocolate"),))
SID = "HX" + "5" * 32
BODY = "Olá {{1}}, sobre sua pergunta: {{2}}"


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def deliver(post: PostOffice, ledger: Ledger, message: UUID, **changes: Any) -> None:
    post.deliver(message, sender_of=ledger.of, contents_of=ledger.of, **changes)


def attachment(post: PostOffice, content_type: str = "image/jpeg", status: str = "stored") -> Attachment:
    media_id = uuid4()
    post.product.execute(
        "INSERT INTO media (owner_id, id, announced_type, content_type, status) VALUES (%s, %s, %s, %s, %s)",
        post.company.owner_id,
        media_id,
        content_type,
        content_type,
        status,
    )
    return Attachment(media_id=media_id)


def in_scope(post: PostOffice, work: Any) -> Any:
    wiring = post.product.wiring
    assert wiring is not None

    async def run() -> Any:
        async with scoped(wiring.pool, post.company.owner_id) as scope:
            return await work(scope)

    return post.product.call(run)


def account_of(post: PostOffice) -> UUID:
    (row,) = post.product.rows("SELECT id FROM twilio_accounts WHERE owner_id = %s", post.company.owner_id)
    found: UUID = row["id"]
    return found


def template(post: PostOffice, status: str = "approved", body: str = BODY, language: str = "pt_BR") -> None:
    """The account has this template."""
    one = Template(
        content_sid=SID,
        name="late",
        language=language,
        category="UTILITY",
        status=status,
        rejection_reason=None,
        content_type="twilio/text",
        body=body,
        types={"twilio/text": {"body": body}},
    )

    async def sync(scope: Scope) -> None:
        await templates.sync(scope, account_of(post), [one], now=datetime.now(UTC))

    in_scope(post, sync)


def fallback(post: PostOffice, *, status: str = "approved") -> None:
    """Late replies go in the template."""
    template(post)
    (row,) = post.product.rows("SELECT id FROM assistants WHERE owner_id = %s", post.company.owner_id)

    async def choose(scope: Scope) -> None:
        chosen = Fallback(content_sid=SID, variables={"1": "{contact_name}", "2": "{text}"})
        await templates.set_fallback(scope, row["id"], chosen)

    in_scope(post, choose)
    post.product.execute("UPDATE templates SET status = %s WHERE owner_id = %s", status, post.company.owner_id)
    post.product.execute("UPDATE contacts SET profile_name = 'Ana Maria' WHERE owner_id = %s", post.company.owner_id)


def forget_templates(post: PostOffice) -> None:
    post.product.execute("DELETE FROM templates WHERE owner_id = %s", post.company.owner_id)


def close_window(post: PostOffice) -> None:
    post.product.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '25 hours' WHERE id = %s", post.conversation_id
    )


def said(post: PostOffice, message: UUID) -> list[str]:
    return [event["what"] for event in post.events(message)]


def test_an_attachment_goes_with_its_caption_by_a_link_of_ours(post: PostOffice, ledger: Ledger) -> None:
    picture = attachment(post)
    message = post.write("Nosso cardápio", picture)
    deliver(post, ledger, message)
    [posted] = ledger.posted
    assert posted["body"] == "Nosso cardápio"
    assert posted["media_url"].startswith(f"{post.product.base_url}/media/")
    assert str(picture.media_id) in posted["media_url"]
    assert f"message={message}&part=1" in posted["status_callback"]
    assert post.message(message)["status"] == "delivered"


def test_what_takes_no_caption_goes_after_its_text(post: PostOffice, ledger: Ledger) -> None:
    deliver(post, ledger, post.write("Ouça:", attachment(post, "audio/ogg")))
    assert [(one["body"], "media_url" in one) for one in ledger.posted] == [("Ouça:", False), ("", True)]


def test_without_a_public_url_an_attachment_is_held_with_the_reason(post: PostOffice, ledger: Ledger) -> None:
    message = post.write("", attachment(post))
    deliver(post, ledger, message, public_url=None)
    assert ledger.posted == []
    assert (post.message(message)["held_for"], post.message(message)["reason"]) == ("setup", "no_public_url")
    assert said(post, message) == ["no_public_url"]


def test_an_attachment_that_is_not_there_fails_with_the_reason(post: PostOffice, ledger: Ledger) -> None:
    for content in (attachment(post, status="refused"), Attachment(media_id=uuid4())):
        message = post.write("", content)
        deliver(post, ledger, message)
        assert (post.message(message)["status"], post.message(message)["reason"]) == ("failed", "media_gone")
    assert ledger.posted == []


@pytest.mark.parametrize("content", [YES_NO, CAKES], ids=["buttons", "list"])
def test_buttons_and_lists_are_made_once_and_then_only_sent(post: PostOffice, ledger: Ledger, content: Content) -> None:
    for _ in range(2):
        message = post.write("Quer bolo?", content)
        deliver(post, ledger, message)
        assert post.message(message)["status"] == "delivered"
    assert len(ledger.made) == 1
    first, second = ledger.posted
    assert first["content_sid"] == second["content_sid"]
    deliver(post, ledger, post.write("Quer pão?", content))
    assert len(ledger.made) == 2


def test_a_long_text_goes_in_parts_and_the_buttons_with_its_end(post: PostOffice, ledger: Ledger) -> None:
    text = "Uma frase que diz alguma coisa. " * 60
    message = post.write(text, YES_NO)
    deliver(post, ledger, message)
    assert [bool(one.get("content_sid")) for one in ledger.posted] == [False, True]
    [definition] = ledger.made
    end = definition["types"]["twilio/quick-reply"]["body"]
    assert (ledger.posted[0]["body"] + end).split() == text.split()
    assert [part["status"] for part in post.parts(message)] == ["delivered", "delivered"]


def test_where_twilio_can_not_make_them_they_go_as_a_text_and_the_timeline_says_so(
    post: PostOffice, ledger: Ledger
) -> None:
    def fails() -> None:
        raise SendError(ErrorClass.CONFIGURATION, "no", 20403)

    ledger.making = fails
    message = post.write("Quer bolo?", YES_NO)
    deliver(post, ledger, message)
    assert [one["body"] for one in ledger.posted] == ["Quer bolo?\n\n1. Sim\n2. Não"]
    assert "content_sid" not in ledger.posted[0]
    assert said(post, message) == ["buttons_as_text"]
    assert post.message(message)["status"] == "delivered"


def test_a_text_made_of_a_list_that_is_too_long_is_split(post: PostOffice, ledger: Ledger) -> None:
    def fails() -> None:
        raise SendError(ErrorClass.RETRY, "no", 20429)

    ledger.making = fails
    items = tuple(Item(id=str(n), title=f"Bolo {n}", description="d" * 72) for n in range(10))
    message = post.write("Escolha. " * 100, ListPicker(button="Bolos", items=items))
    deliver(post, ledger, message)
    assert len(ledger.posted) == 2
    assert all(len(one["body"]) <= 1500 for one in ledger.posted)
    assert "10. Bolo 9: ddd" in ledger.posted[1]["body"]


def test_buttons_that_twilio_has_lost_go_as_a_text_and_are_made_anew_the_next_time(
    post: PostOffice, ledger: Ledger
) -> None:
    deliver(post, ledger, post.write("Quer bolo?", YES_NO))
    ledger.before = refuses(ErrorClass.CONTENT, 21655, only="content_sid")
    message = post.write("Quer bolo?", YES_NO)
    deliver(post, ledger, message)
    assert ledger.posted[-1]["body"] == "Quer bolo?\n\n1. Sim\n2. Não"
    assert said(post, message) == ["buttons_as_text", "content"]
    deliver(post, ledger, post.write("Quer bolo?", YES_NO))
    assert len(ledger.made) == 2
    assert ledger.posted[-1]["content_sid"] != ledger.posted[0]["content_sid"]


def contents(post: PostOffice) -> dict[str, tuple[str, Content]]:
    return {
        "media": ("Veja", attachment(post)),
        "buttons": ("Quer?", YES_NO),
        "list": ("Qual?", CAKES),
        "template": ("Olá Ana", TemplateUse(content_sid=SID, variables={"1": "Ana"})),
    }


KINDS = ["media", "buttons", "list", "template"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_between_the_post_and_its_record_sends_nothing_twice(
    post: PostOffice, ledger: Ledger, kind: str
) -> None:
    message = post.write(*contents(post)[kind])
    # Twilio may say it in words of its own.
    ledger.says, ledger.after = "what Twilio filled in", dies
    with pytest.raises(ProcessDied):
        deliver(post, ledger, message)
    ledger.after = None
    deliver(post, ledger, message)
    assert len(ledger.posted) == 1
    assert len(ledger.made) <= 1
    assert post.parts(message)[0]["provider_sid"] == ledger.listed[0].sid
    assert said(post, message) == ["reconciled_taken"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_before_the_post_loses_nothing_and_the_retry_posts_the_same(
    post: PostOffice, ledger: Ledger, kind: str
) -> None:
    body, content = contents(post)[kind]
    earlier = post.write("Antes")
    deliver(post, ledger, earlier)
    message = post.write(body, content)
    tried: list[dict[str, Any]] = []

    def die(posted: dict[str, Any]) -> None:
        tried.append(posted)
        raise ProcessDied

    ledger.before = die
    with pytest.raises(ProcessDied):
        deliver(post, ledger, message)
    ledger.before = None
    deliver(post, ledger, message)
    assert ledger.posted[1:] == tried
    assert said(post, message) == ["reconciled_not_taken"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_contact_who_opted_out_is_sent_nothing_of_any_kind(post: PostOffice, ledger: Ledger, kind: str) -> None:
    message = post.write(*contents(post)[kind])
    post.product.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason) SELECT owner_id, identity_key, 'test' "
        "FROM contacts WHERE owner_id = %s",
        post.company.owner_id,
    )
    deliver(post, ledger, message)
    assert ledger.posted == []
    assert ledger.made == []
    assert (post.message(message)["status"], post.message(message)["error_code"]) == ("failed", 21610)


def test_every_part_counts_as_one_message(post: PostOffice, ledger: Ledger) -> None:
    for body, content in contents(post).values():
        deliver(post, ledger, post.write(body, content))
    (row,) = post.product.rows(
        "SELECT amount FROM usage WHERE owner_id = %s AND metric = 'messages'", post.company.owner_id
    )
    assert row["amount"] == len(ledger.posted) == 4


def test_a_template_goes_when_the_window_is_closed_with_its_variables(post: PostOffice, ledger: Ledger) -> None:
    close_window(post)
    message = post.write("Olá Ana", TemplateUse(content_sid=SID, variables={"1": "Ana"}))
    deliver(post, ledger, message)
    [posted] = ledger.posted
    assert (posted["content_sid"], posted["content_variables"]) == (SID, {"1": "Ana"})


def test_a_late_reply_goes_in_the_template_that_the_owner_chose(post: PostOffice, ledger: Ledger) -> None:
    fallback(post)
    close_window(post)
    message = post.write("Abrimos às 7h.\nAté logo!")
    deliver(post, ledger, message)
    [posted] = ledger.posted
    assert posted["content_sid"] == SID
    assert posted["content_variables"] == {"1": "Ana Maria", "2": "Abrimos às 7h. Até logo!"}
    assert said(post, message) == ["window_template"]
    stored = post.message(message)
    assert (stored["status"], stored["body"]) == ("delivered", "Abrimos às 7h.\nAté logo!")


@pytest.mark.parametrize(("language", "called"), [("pt_BR", "cliente"), ("es", "cliente"), ("en_US", "customer")])
def test_who_has_no_name_is_called_something_in_the_language_of_the_template(
    post: PostOffice, ledger: Ledger, language: str, called: str
) -> None:
    fallback(post)
    template(post, language=language)
    post.product.execute("UPDATE contacts SET profile_name = NULL WHERE owner_id = %s", post.company.owner_id)
    close_window(post)
    deliver(post, ledger, post.write("Abrimos às 7h."))
    [posted] = ledger.posted
    assert posted["content_variables"]["1"] == called


def test_a_window_that_twilio_finds_closed_sends_the_template_too(post: PostOffice, ledger: Ledger) -> None:
    fallback(post)
    ledger.before = refuses(ErrorClass.WINDOW, 63016)
    message = post.write("Abrimos às 7h.")
    deliver(post, ledger, message)
    assert [one.get("content_sid") for one in ledger.posted] == [SID]
    assert said(post, message) == ["window_template", "window"]
    assert post.message(message)["status"] == "delivered"


def test_a_window_that_twilio_finds_closed_after_taking_it_sends_the_template_too(
    post: PostOffice, ledger: Ledger
) -> None:
    fallback(post)
    message = post.write("Abrimos às 7h.")
    post.contact.fault(operation="create", delivery_status="undelivered", error_code=63016, count=1)
    post.deliver(message)
    wait_for(post, message, "failed")
    [work] = late_work(post, message)
    assert work["queue_name"] == "deliveries"
    deliver(post, ledger, message)
    assert [one.get("content_sid") for one in ledger.posted] == [SID]
    assert post.message(message)["status"] == "delivered"


def late_work(post: PostOffice, message: UUID) -> list[dict[str, Any]]:
    return post.product.rows(
        "SELECT workflow_uuid, queue_name FROM dbos.workflow_status WHERE starts_with(workflow_uuid, %s)",
        f"{message}:window:1:",
    )


def test_without_callbacks_it_is_asked_after_and_sends_the_template_too(post: PostOffice, ledger: Ledger) -> None:
    fallback(post)
    message = post.write("Abrimos às 7h.")
    post.contact.fault(operation="create", delivery_status="undelivered", error_code=63016, count=1)
    post.deliver(message, public_url=None)
    wiring = post.product.wiring
    assert wiring is not None

    async def ask() -> None:
        async with wiring.platform_pool() as platform:
            await recovery.ask_after_silent(platform, wiring.pool, post.desk.sender_of)

    post.contact.replies(1, status="undelivered")
    silent = "UPDATE message_parts SET updated_at = updated_at - make_interval(secs => %s) WHERE message_id = %s"
    post.product.execute(silent, recovery.SILENCE_S + 1, message)
    post.product.call(ask)
    assert post.message(message)["status"] == "failed"
    assert len(late_work(post, message)) == 1
    deliver(post, ledger, message)
    assert [one.get("content_sid") for one in ledger.posted] == [SID]
    assert post.message(message)["status"] == "delivered"


@pytest.mark.parametrize("code", [63016, 21610])
def test_a_failure_that_only_twilios_list_tells_has_its_code_and_what_follows_from_it(
    post: PostOffice, ledger: Ledger, code: int
) -> None:
    def lost(_: dict[str, Any]) -> None:
        ledger.listed[0] = replace(ledger.listed[0], status="undelivered", error_code=code)
        raise SendError(ErrorClass.UNKNOWN, "nobody saw it")

    ledger.after = lost
    message = post.write("Abrimos às 7h.")
    deliver(post, ledger, message)
    assert len(ledger.posted) == 1
    stored = post.message(message)
    expected = ("held", "no_template") if code == 63016 else ("failed", None)
    assert (stored["status"], stored["reason"], stored["error_code"]) == (*expected, code)
    suppressed = post.product.rows("SELECT reason FROM suppressions WHERE owner_id = %s", post.company.owner_id)
    assert [row["reason"] for row in suppressed] == ([] if code == 63016 else ["twilio 21610"])


def test_a_window_that_is_found_closed_again_after_a_retry_is_met_as_the_first_time(
    post: PostOffice, ledger: Ledger
) -> None:
    message = post.write("Abrimos às 7h.")
    for times in (1, 2):
        post.contact.fault(operation="create", delivery_status="undelivered", error_code=63016, count=1)
        post.deliver(message)
        wait_for(post, message, "failed")
        assert len(late_work(post, message)) == times
        deliver(post, ledger, message)
        assert (post.message(message)["held_for"], post.message(message)["reason"]) == ("window", "no_template")
        retry(post, message)
    fallback(post)
    post.contact.fault(operation="create", delivery_status="undelivered", error_code=63016, count=1)
    post.deliver(message)
    wait_for(post, message, "failed")
    assert len(late_work(post, message)) == 3
    deliver(post, ledger, message)
    assert [one.get("content_sid") for one in ledger.posted] == [SID]


def wait_for(post: PostOffice, message: UUID, status: str) -> None:
    deadline = time.monotonic() + 40
    while post.message(message)["status"] != status:
        assert time.monotonic() < deadline, post.message(message)["status"]
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arrange", "body", "content", "reason"),
    [
        (close_window, "Oi", None, "no_template"),
        (lambda post: (fallback(post, status="paused"), close_window(post)), "Oi", None, "template_unusable"),
        (lambda post: (fallback(post), forget_templates(post), close_window(post)), "Oi", None, "template_unusable"),
        (lambda post: (fallback(post), close_window(post)), "Oi " * 400, None, "template_too_small"),
        (lambda post: (fallback(post), close_window(post)), "Oi " * 900, None, "template_too_small"),
        (lambda post: (fallback(post), close_window(post)), "Quer?", YES_NO, "template_too_small"),
    ],
)
def test_what_no_template_can_carry_is_held_and_shown_with_the_reason(
    post: PostOffice, ledger: Ledger, arrange: Any, body: str, content: Content | None, reason: str
) -> None:
    arrange(post)
    message = post.write(body, content)
    deliver(post, ledger, message)
    assert ledger.posted == []
    assert ledger.made == []
    stored = post.message(message)
    assert (stored["status"], stored["error_code"], stored["reason"]) == ("held", 63016, reason)
    assert [(event["what"], event["data"]) for event in post.events(message)] == [("window_closed", {"why": reason})]
    shown = shown_as_failed(post)
    assert shown[message] == failed.REASONS[reason]


def shown_as_failed(post: PostOffice) -> dict[UUID, str]:
    wiring = post.product.wiring
    assert wiring is not None

    async def look() -> list[failed.Failure]:
        async with await wiring.connect("recado_platform") as platform:
            return await failed.failures(platform, owner_id=post.company.owner_id)

    return {failure.id: failure.text for failure in post.product.call(look)}


def retry(post: PostOffice, message: UUID) -> str:
    """What `recado failed retry` does."""
    wiring = post.product.wiring
    assert wiring is not None

    async def again() -> str:
        async with await wiring.connect("recado_platform") as platform:
            return await failed.retry(platform, message)

    return post.product.call(again)


def test_what_is_held_is_not_sent_by_a_new_message_but_by_a_person(post: PostOffice, ledger: Ledger) -> None:
    close_window(post)
    message = post.write("Abrimos às 7h.")
    deliver(post, ledger, message)
    post.contact.says("Alô?")
    deliver(post, ledger, message)
    assert post.message(message)["status"] == "held"
    assert retry(post, message) == "queued"
    deliver(post, ledger, message)
    assert [one["body"] for one in ledger.posted] == ["Abrimos às 7h."]
    assert (post.message(message)["status"], post.message(message)["reason"]) == ("delivered", None)


def test_the_window_is_looked_at_before_each_part_and_the_rest_stays_held(post: PostOffice, ledger: Ledger) -> None:
    message = post.write("Bom dia a todos daqui.\n\nBoa tarde a todos daqui.\n\nBoa noite a todos daqui.")
    ledger.after = lambda _: close_window(post)
    deliver(post, ledger, message, split_chars=30)
    assert len(ledger.posted) == 1
    [taken, *rest] = post.parts(message)
    assert [part["status"] for part in rest] == ["waiting", "waiting"]

    async def confirm(scope: Scope) -> None:
        from recado.conversations import parts

        await parts.move_status(
            scope, message_id=message, part=1, sid=taken["provider_sid"], status="read", error_code=None
        )

    in_scope(post, confirm)
    assert post.message(message)["status"] == "held", "a callback about a part that went must not set the rest going"


def test_a_sync_keeps_what_twilio_has_and_leaves_out_the_buttons_that_we_made(post: PostOffice, ledger: Ledger) -> None:
    template(post, status="pending")
    template(post, status="approved", body="Oi {{nome}}")
    deliver(post, ledger, post.write("Quer?", YES_NO))
    ours = Template(
        content_sid=ledger.posted[0]["content_sid"],
        name="x",
        language="en",
        category=None,
        status="unsubmitted",
        rejection_reason=None,
        content_type="twilio/quick-reply",
        body="Quer?",
        types={},
    )

    async def sync(scope: Scope) -> Any:
        before = await templates.page(scope, after=None, limit=10)
        synced = await templates.sync(scope, account_of(post), [ours], now=datetime.now(UTC))
        return before, synced, await templates.page(scope, after=None, limit=10)

    [before], synced, after = in_scope(post, sync)
    assert (before.status, before.variables, before.body) == ("approved", ["nome"], "Oi {{nome}}")
    assert (synced.known, synced.gone, after) == (0, 1, [])


def test_two_executors_that_both_think_a_delivery_theirs_send_its_buttons_once(
    post: PostOffice, ledger: Ledger
) -> None:
    message = post.write("Quer bolo?", YES_NO)
    post.deliver(message, message, message, sender_of=ledger.of, contents_of=ledger.of)
    assert len(ledger.posted) == 1
    (row,) = post.product.rows("SELECT content_sid FROM contents WHERE owner_id = %s", post.company.owner_id)
    assert ledger.posted[0]["content_sid"] == row["content_sid"], "of those made at once all use one"


def test_what_is_being_posted_is_not_changed_by_whoever_comes_late(post: PostOffice, ledger: Ledger) -> None:
    message = post.write("Quer bolo?")
    ledger.before = dies
    with pytest.raises(ProcessDied):
        deliver(post, ledger, message)

    async def change(scope: Scope) -> None:
        from recado.conversations import parts

        await parts.become(scope, message, 1, ["outra coisa", "e mais"])

    in_scope(post, change)
    assert [part["body"] for part in post.parts(message)] == ["Quer bolo?"]
