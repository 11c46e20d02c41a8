"""Templates: their variables, and what WhatsApp takes as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery import templates as rules
from recado.errors import UsageError
from recado.text import is_blank

BODY = "Olá {{1}}, sobre seu pedido: {{2}}"


def test_variables_are_found_in_everything_that_a_template_says() -> None:
    types = {
        "twilio/card": {
            "title": "{{ name }}",
            "media": ["https://example.com/{{file}}"],
            "actions": [{"title": "{{name}}", "id": "{{3}}"}],
        }
    }
    assert rules.variables_of(types) == ("name", "file", "3")
    assert rules.variables_of({"twilio/text": {"body": "{{}} {1} {{a b}}"}}) == ()


def test_a_template_says_its_text_with_the_variables_filled_in_once() -> None:
    assert rules.render(BODY, {"1": "{{2}}", "2": "pronto"}) == "Olá {{2}}, sobre seu pedido: pronto"


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"1": "Ana"}, "2 missing"),
        ({"1": "Ana", "2": "x", "3": "y"}, "1 more"),
        ({"1": "", "2": "x"}, "variable 1"),
        ({"1": "Ana", "2": " x"}, "variable 2"),
        ({"1": "Ana", "2": "um\ndois"}, "variable 2"),
        ({"1": "Ana", "2": "um\tdois"}, "variable 2"),
        ({"1": "Ana", "2": "um    dois"}, "variable 2"),
        ({"1": "Ana", "2": "x" * 1001}, "longer than 1024"),
    ],
)
def test_variables_that_whatsapp_refuses_are_named_before_anything_is_sent(given_: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rules.check(["1", "2"], given_, BODY)


def test_variables_that_are_right_pass_emojis_and_three_spaces_included() -> None:
    rules.check(["1", "2"], {"1": "Ana 👩‍🍳", "2": "um   dois"}, BODY)


@given(st.text(max_size=400), st.text(max_size=80))
def test_whatever_was_written_becomes_one_line_that_can_be_a_variable_or_is_refused(text: str, name: str) -> None:
    filled = rules.fill({"1": "{contact_name}", "2": "{text}"}, contact_name=name, text=text)
    assert filled["2"].split() == rules.CONTROLS.sub(" ", text).split()
    try:
        rules.check(["1", "2"], filled, BODY)
    except UsageError:
        assert is_blank(filled["1"]) or is_blank(filled["2"]), "all that is refused is what says nothing"


def test_what_nobody_sees_leaves_no_space_at_the_ends() -> None:
    filled = rules.fill({"1": "{text}"}, contact_name="Ana", text="\x00 um\x07 \u2028dois\n \x00")
    assert filled == {"1": "um dois"}


def test_a_text_that_names_a_placeholder_is_not_filled_in_again() -> None:
    filled = rules.fill({"1": "{contact_name}: {text}"}, contact_name="{text}", text="{contact_name}")
    assert filled == {"1": "{text}: {contact_name}"}


def test_a_fallback_must_say_the_text_and_fit_its_template() -> None:
    rules.check_fallback(["1", "2"], {"1": "{contact_name}", "2": "{text}"}, BODY)
    with pytest.raises(UsageError, match="must hold"):
        rules.check_fallback(["1"], {"1": "{contact_name}"}, "Olá {{1}}")
    with pytest.raises(UsageError, match="2 missing"):
        rules.check_fallback(["1", "2"], {"1": "{text}"}, BODY)
