"""A model's thoughts are never said, in whichever way its family writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.assistants.thoughts import without_thoughts
from tests.lines import lines_of

PAIRS = [
    ("<think>", "</think>"),
    ("<THINK>", "</THINK>"),
    ("<think time='3'>", "</think >"),
    ("<thinking>", "</thinking>"),
    ("<antthinking>", "</antthinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<｜begin▁of▁thinking｜>", "<｜end▁of▁thinking｜>"),
    ("<｜think｜>", "<｜/think｜>"),
    ("[thinking]", "[/thinking]"),
    ("<deep_think>", "</deep_think>"),
    ("<thought_process>", "</thought_process>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<chain_of_thought>", "</chain_of_thought>"),
    ("&#60;think&#62;", "&#x3c;/think&#x3e;"),
    ("&amp;lt;think&amp;gt;", "&amp;lt;/think&amp;gt;"),
    ("\\<think\\>", "\\</think\\>"),
    ("\\u003cthink\\u003e", "\\u003c/think\\u003e"),
]


@pytest.mark.parametrize(("opens", "closes"), PAIRS)
def test_what_stands_between_a_familys_marks_is_not_said(opens: str, closes: str) -> None:
    secret = "O cliente parece bravo."
    for answer, said in (
        (f"{opens}{secret}{closes}\n\nOlá!", "Olá!"),
        (f"{secret}\n{closes}\n\nOlá!", "Olá!"),
        (f"{opens}{secret}", ""),
        (f"Olá! {opens}{secret}", "Olá!"),
        (f"Olá {opens}{secret}{closes} Ana", "Olá Ana"),
        (f"{opens}a{opens}b{closes}{secret}{closes}Olá", "Olá"),
        (f"{opens}{secret} `{closes}` Olá", "` Olá"),
        (f"{opens}```\n{secret}\n```{closes}Olá", "Olá"),
        (f"o `código {secret} {closes} Olá `x`", "Olá `x`"),
        (f"{opens}{closes}Olá", "Olá"),
        (f"{opens}a{closes}Olá{opens}b{closes}", "Olá"),
    ):
        assert without_thoughts(answer) == said, answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Oi!<|return|>",
            "Oi!",
        ),
        ("hm<|end|><|start|>assistant<|channel|>final<|message|>Oi!", "Oi!"),
        ("<|channel|>analysis<|message|>hm", ""),
        ("analysisUser asks for the price.assistantfinalOi!", "Oi!"),
        ("analysisThe user", ""),
        ("Oi!<|im_end|>", "Oi!"),
        ("<|Channel|>analysis<|message|>hm<|Channel|>final<|message|>Oi!", "Oi!"),
        ("Here is my thought process:\nhm\n\nHere is my response:\nOi!", "Oi!"),
        ("Here's my thought process:\nhm", ""),
        ("```thinking\nhm\n```\nOi!", "Oi!"),
        ("Oi!\n~~~think\nhm", "Oi!"),
    ],
)
def test_of_channels_only_the_final_one_is_said(answer: str, said: str) -> None:
    assert without_thoughts(answer) == said


@pytest.mark.parametrize(
    "text",
    [
        "Escreva `<think>` no começo.",
        "Assim: `<think>x</think>` fica.",
        "```\n<think>x</think>\n```",
        "A análise: 5 < 6, <nome>, [think tank], analysis of it",
        "a </b> c",
    ],
)
def test_what_is_quoted_or_only_looks_like_it_stays(text: str) -> None:
    assert without_thoughts(text) == text


PIECES = st.sampled_from(
    ["<think>", "</think>", "`", "```", "\n", " ", "SEGREDO", "[THINK]", "[/THINK]", "<|channel|>"]
)


@given(st.lists(PIECES, max_size=20), st.lists(PIECES.filter(lambda piece: "THINK" not in piece.upper()), max_size=8))
def test_what_comes_before_the_last_closing_mark_outside_code_is_never_said(before: list[str], code: list[str]) -> None:
    text = "".join(["<think>", *before, "SEGREDO"])
    opens = text.count("<think>") + text.count("[THINK]")
    assert "SEGREDO" not in without_thoughts(text + "</think>" * opens + "".join(c for c in code if c != "SEGREDO"))


def test_hostile_input_costs_work_in_proportion_to_its_length() -> None:
    def cost(piece: str, chars: int) -> int:
        return lines_of(lambda: without_thoughts((piece * chars)[:chars]))

    for piece in (
        "<think>",
        "</think>",
        "`",
        "`a",
        "```a\n",
        "<",
        "<  ",
        "`<think>`",
        "&lt;",
        "<|channel|>",
        "<a_a_",
        "```think\n",
    ):
        assert cost(piece, 8_000) <= 5 * max(cost(piece, 2_000), 100), piece
