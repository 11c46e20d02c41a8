"""Text from outside is storable, and what shows nothing is empty, at whichever door it comes in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.api.consent_words import NewConsentWord
from recado.api.shared.forms import NOT_BLANK, Given
from recado.assistants import knowledge, tools
from recado.channels.twilio.content import _template
from recado.channels.twilio.parse import contact_words, parse_inbound
from recado.channels.visible import visible
from recado.delivery import templates
from recado.errors import UsageError
from recado.identity.owners import normal_name
from recado.text import all_storable, is_blank, is_storable, storable, storable_json, tidy
from tests.channels.examples import inbound

NOTHING = ["", " ", "\n\t", "\u200b", "\u2060\ufeff", "\u2800", "\u3164", "\ufe0f\ufe0e", "\U000e0041\U000e007f",
           "\u00ad", "\x00\x07\x9f", "\u034f\u115f\uffa0", "\u202e\u2066", "\U000e0100", "\u180e"]  # fmt: skip
SOMETHING = ["a", ".", "👩‍👩‍👧", "❤️", "\u0301a", "नि", "\u200bx\u200b", "🇧🇷", "1️⃣"]


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_what_shows_nothing_is_empty_at_every_door(text: str) -> None:
    assert is_blank(text)
    assert tidy(text) == ""
    assert visible(text) is None
    assert contact_words(parse_inbound(inbound("text", Body=text))) == ""
    assert not re.search(NOT_BLANK, text)
    assert knowledge.read_markdown(f"# Horário\n{text}\n") == []
    with pytest.raises(UsageError):
        normal_name(text)
    with pytest.raises(UsageError):
        templates.check(["1"], {"1": text}, "{{1}}")


@pytest.mark.parametrize("text", SOMETHING)
def test_what_shows_something_is_not(text: str) -> None:
    assert not is_blank(text)
    assert re.search(NOT_BLANK, text)
    assert contact_words(parse_inbound(inbound("text", Body=text))) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_whatever_is_written_can_be_stored_and_stays_but_for_that(text: str) -> None:
    for cleaned in (storable(text), tidy(text)):
        assert is_storable(cleaned)
        cleaned.encode()
    assert storable(storable(text)) == storable(text)
    assert tidy(tidy(text)) == tidy(text)
    if is_storable(text):
        assert storable(text) is text


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_can_be_stored_is_the_json_that_it_was(value: object) -> None:
    assert json.loads(storable_json(value)) == all_storable(value)


def test_a_template_is_listed_without_what_no_database_takes() -> None:
    types = {"twilio/text": {"body": "Oi {{1}}\0\ud800"}}
    found = _template({"sid": "HX" + "0" * 32, "language": "pt\0", "friendly_name": "a\0b", "types": types})
    assert found is not None
    assert (found.name, found.language, found.body) == ("ab", "pt", "Oi {{1}}\ufffd")


class Whatever(Given):
    value: Any


@pytest.mark.parametrize("word", ["a\0b", "a\ud800", "\ud83d\ude00"])
def test_a_body_of_the_api_that_can_not_be_stored_is_refused_in_any_field(word: str) -> None:
    for body in ({"word": word, "action": "stop"}, {"word": "a", "action": "stop", word: 1}):
        with pytest.raises(ValueError, match="validation error"):
            NewConsentWord.model_validate(body)
    # What no field says of itself is said of the whole.
    with pytest.raises(ValueError, match="NUL"):
        Whatever.model_validate({"value": [{"deep": word}]})


async def test_a_models_arguments_are_made_storable() -> None:
    seen: list[dict[str, str]] = []

    async def check(_sid: str, variables: dict[str, str]) -> tools.Chosen:
        seen.append(dict(variables))
        raise UsageError("no")

    offered = tools.Offered(content_sid="HX", name="a", language="pt", body="{{1}}", variables=("1",))
    choosing = tools.Choosing(offer=tools.Offer(templates=(offered,), check=check))  # type: ignore[arg-type]
    [tool] = tools.toolset(choosing).tools.values()
    await tool.function("a", "pt", {"1": "x\0\ud800"})  # type: ignore[call-arg, arg-type]
    assert seen == [{"1": "x\ufffd"}]
