"""reconcile: what Twilio took is found in its list though the list gives the text back in another form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from recado.channels.port import Sent
from tests.journey.post_office import PostOffice, post_office
from tests.journey.test_deliver import Dying, ProcessDied
from tests.product import Product

TEXT = "“Olá” — disse a Zoe\u0308…  \nNão\u00a0é\u200b?\n\n• pão ‘francês’  "


@pytest.fixture
def post(reception: Product) -> Iterator[PostOffice]:
    with post_office(reception) as office:
        yield office


class Listing(Dying):
    """A process that dies after Twilio took the message; its list is what `change` makes of Twilio's."""

    def __init__(self, post: PostOffice, change: Any) -> None:
        super().__init__(post.real_sender(), after=True)
        object.__setattr__(self, "change", change)

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        listed: list[Sent] = self.change(await self.real.find(to=to, from_=from_, since=since))  # type: ignore[attr-defined]
        return listed


def dies(post: PostOffice, message: Any, sender: Dying) -> None:
    with pytest.raises(ProcessDied):
        post.deliver(message, sender=sender)


@pytest.mark.parametrize(
    "how",
    [*("lines", "blanks", "composed", "decomposed", "smart", "invisible", "cut", "trial", "redacted", "all")],
)
def test_a_text_that_was_taken_and_is_listed_otherwise_is_not_sent_again(post: PostOffice, how: str) -> None:
    post.contact.fault("error-after", count=1)
    post.contact.fault(operation="list", bodies=how)
    message = post.write(TEXT)
    post.deliver(message, public_url=None)
    assert post.operations() == ["create", "list"]
    assert post.parts(message)[0]["provider_sid"] == post.contact.seen()[0].sid


@pytest.mark.parametrize("preset", ["changed-bodies", "redacted-bodies"])
def test_two_equal_parts_in_a_row_are_one_to_one_with_what_is_listed(post: PostOffice, preset: str) -> None:
    post.contact.fault("lost-callbacks")
    post.contact.fault("error-after")
    post.contact.fault(preset)
    first, second = post.write(TEXT), post.write(TEXT)
    for message in (first, second):
        post.deliver(message, predecessor_s=0.1)
    assert post.operations().count("create") == 2
    sids = [post.parts(message)[0]["provider_sid"] for message in (first, second)]
    assert sids == [bubble.sid for bubble in post.contact.seen()]


def test_of_several_that_say_the_same_it_is_the_one_nearest_to_the_attempt(post: PostOffice) -> None:
    def with_others(listed: list[Sent]) -> list[Sent]:
        [sent] = listed
        assert sent.date_created is not None
        before = replace(sent, sid="SM" + "1" * 32, date_created=sent.date_created - timedelta(seconds=60))
        after = replace(sent, sid="SM" + "2" * 32, date_created=sent.date_created + timedelta(seconds=60))
        return [after, sent, before]

    message, sender = post.write(TEXT), Listing(post, with_others)
    post.contact.fault("lost-callbacks")
    dies(post, message, sender)
    post.deliver(message, sender=sender)
    assert post.parts(message)[0]["provider_sid"] == post.contact.seen()[0].sid


@pytest.mark.parametrize(
    "form", ["whatsapp:{}", "whatsapp: {}", "WhatsApp:+{}", "+{}", "{}", ""], ids=lambda form: form or "none"
)
def test_addresses_are_listed_in_any_form(post: PostOffice, form: str) -> None:
    def in_form(listed: list[Sent]) -> list[Sent]:
        return [
            replace(sent, to=form.format(sent.to.removeprefix("whatsapp:+")), from_=form and sent.from_)
            for sent in listed
        ]

    message, sender = post.write(TEXT), Listing(post, in_form)
    post.contact.fault("lost-callbacks")
    dies(post, message, sender)
    post.deliver(message, sender=sender)
    assert post.operations().count("create") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "Outra coisa"},
        {"to": "whatsapp:+5521900000000"},
        {"from_": "whatsapp:+14150000000"},
        {"num_media": 1},
        {"body": "", "date_created": timedelta(hours=-1)},
        {"body": "****", "date_created": timedelta(hours=1)},
    ],
    ids=str,
)
def test_what_is_somebody_elses_does_not_stand_for_ours(post: PostOffice, changes: dict[str, Any]) -> None:
    def others(listed: list[Sent]) -> list[Sent]:
        wanted = dict(changes)
        if "date_created" in wanted:
            [sent] = listed
            assert sent.date_created is not None
            wanted["date_created"] += sent.date_created
        return [replace(sent, **wanted) for sent in listed]

    message, sender = post.write(TEXT), Listing(post, others)
    post.contact.fault("lost-callbacks")
    dies(post, message, sender)
    with pytest.raises(ProcessDied):  # it is posted again
        post.deliver(message, sender=sender, settle_s=0.0, crash_settle_s=0.0)


def test_a_contacts_own_words_are_no_sign_that_ours_were_taken(post: PostOffice) -> None:
    post.contact.says("Olá")
    post.contact.fault("error-before", count=1)
    post.deliver(post.write("Olá"))
    assert post.operations().count("create") == 2
