"""What models write in Markdown is what WhatsApp shows, and nothing else of a text changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery import markdown
from recado.delivery.markdown import to_whatsapp
from tests.lines import lines_of

SHOWN = [
    ("**bold** e *italico* __b__ _i_ ~~s~~", "*bold* e _italico_ *b* _i_ ~s~"),
    ("***os dois***", "_*os dois*_"),
    ("**duas\nlinhas**", "*duas*\n*linhas*"),
    ("**Nota:** texto", "*Nota:* texto"),
    ("**Nota:**texto", "Nota:texto"),
    ("un**frigg**able", "unfriggable"),
    ("R$ **5,00**", "R$ *5,00*"),
    ("## Horário\nAbrimos às **8h**.", "*Horário*\n\nAbrimos às *8h*."),
    ("# **Tudo** aqui", "*Tudo aqui*"),
    ("Preço\n===\nR$ 5", "*Preço*\n\nR$ 5"),
    ("Preço\n---\nR$ 5", "Preço\n\nR$ 5"),
    ("a\n\n***\n\nb", "a\n\nb"),
    ("[site](https://a.example/x_y_z)", "site: https://a.example/x_y_z"),
    ("[https://a.example](https://a.example/)", "https://a.example/"),
    ("[ana@a.example](mailto:ana@a.example)", "ana@a.example"),
    ("Veja [o site](https://a.example/a_(b)) hoje", "Veja o site: https://a.example/a_(b) hoje"),
    ("![foto](https://a.example/x.png)", "foto: https://a.example/x.png"),
    ("<https://a.example/x_y>", "https://a.example/x_y"),
    ("[a][1]\n\n[1]: https://a.example/u_v", "a: https://a.example/u_v"),
    ("**b**\n\n[1]: https://a.example/u_v", "*b*\n\n1: https://a.example/u_v"),
    ('<b>x</b> <a href="https://a.example/q_w_e">y</a><br/>z', "*x* y: https://a.example/q_w_e\nz"),
    ("a<br>b &amp; c &lt; d", "a\nb & c < d"),
    ("* a\n* b\n  + c", "- a\n- b\n  - c"),
    ("1. a\n2. b\n   - **c**", "1. a\n2. b\n   - *c*"),
    ("1) a\n2) **b**", "1) a\n2) *b*"),
    ("- [ ] fazer\n- [x] feito", "☐ fazer\n☑ feito"),
    ("> cita **x**\n> y", "> cita *x*\n> y"),
    ("| P | Q |\n|---|--:|\n| **pão** | R$ 1 |\n| x | y |", "*P | Q*\n*pão* | R$ 1\nx | y"),
    (r"\*não\* 3 \> 2", "*não* 3 > 2"),
    ("Texto[^1].\n\n[^1]: nota", "Texto[1].\n\n[1] nota"),
    ("`**x**` e **y**", "`**x**` e *y*"),
    ("**a**\n\n```python\nx = **1** # [a](b)\n```\n\n**b**", "*a*\n\n```python\nx = **1** # [a](b)\n```\n\n*b*"),
    ("**https://a.example/a_b_c?*q*=1** e https://a.example/__init__.py",
     "*https://a.example/a_b_c?*q*=1* e https://a.example/__init__.py"),
    ("www.a.example/_a_/_b_ **z**", "www.a.example/_a_/_b_ *z*"),
    ("<nome do cliente>, **oi**", "<nome do cliente>, *oi*"),
]  # fmt: skip

AS_IT_IS = [
    "2*3*4 = 24, R$ 5,00 * 2, 2**3 e snake_case_name, a_b@c_d.example, +55 11 99999-9999",
    "*negrito do WhatsApp*, _itálico_ e ~riscado~",
    "1. Abrimos às 8h.\n2. Fechamos.\n- um\n- dois",
    "2024. foi um ano bom",
    "#1 no Brasil",
    "[Aviso]: amanhã fechado",
    "a | b\n| só | texto",
    "Olá\n\n\n\n  mundo   com   blancos",
    "AT&T, R&D, 5 < 6 > 3, <3",
    "`**x**`",
    "```\n**x** [a](b)\n```",
    "https://a.example/a_b_c*d*",
    "(ver *obs)",
    "+5 graus\n= 10",
    "",
    "   ",
]


@pytest.mark.parametrize(("written", "shown"), SHOWN)
def test_markdown_is_what_whatsapp_shows(written: str, shown: str) -> None:
    assert to_whatsapp(written) == shown


@pytest.mark.parametrize("text", [*AS_IT_IS, *(shown for _, shown in SHOWN if "<" not in shown and "**" not in shown)])
def test_what_is_no_markdown_stays_to_the_letter_and_so_does_what_was_converted(text: str) -> None:
    assert to_whatsapp(text) == text


MARKS = ["*", "**", "_", "__", "~~", "`", "```\n", "#", "# ", "[", "](", ")", "]", "!", "> ", "- ", "1. ", "|", "|-|\n"]
WORDS = st.sampled_from([*MARKS, "\n", "\n\n", " ", "  ", "pão", "ana", "7", "\\", "(", "+", "=", "---\n", "^"])


@given(st.lists(WORDS, max_size=60).map("".join))
def test_no_word_is_lost_or_added_whatever_stands_around_it(text: str) -> None:
    assert re.findall(r"pão|ana|7", to_whatsapp(text)) == re.findall(r"pão|ana|7", text)


@given(
    st.lists(WORDS, max_size=30).map("".join), st.sampled_from(["", "/a_b_c", "/*x*", "/_a_?b=__c__&d=~~e~~f", "#a-b"])
)
def test_an_address_is_never_touched(before: str, rest: str) -> None:
    url = f"https://padaria.example{rest}"
    code = "`" in before or "~~~" in before
    assert code or url in to_whatsapp(f"{before}\n\n**oi** {url} tchau")


@given(st.text(max_size=200))
def test_it_never_fails(text: str) -> None:
    to_whatsapp(text)


HOSTILE = [
    *("[", "![", "[](", "[a](", "*", "**", "*a ", "**a ", "*a*", "~~a", "`", "``", "<a ", "&amp", "\\*", ">", "- "),
    *("  - ", "# a\n", "[a]: http://x\n", "[^a]", "https://a*b", "(www.(", "https://(", "1*1", "a_", "<b><i>"),
    *("```\n", "_*", "*_**_", "**x:**y", "[[]", "![a](b) ", "   - a\n", "<!--", "|", "|a|b|\n|-|-|\n"),
]


def test_hostile_input_costs_work_in_proportion_to_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MOST_CHARS", 10**6)

    def cost(piece: str, chars: int) -> int:
        return lines_of(lambda: to_whatsapp((piece * chars)[:chars]))

    to_whatsapp("**a**")
    for piece in HOSTILE:
        # Of quadratic work sixteen times as much.
        assert cost(piece, 1_200) <= 5 * max(cost(piece, 300), 500), piece


def test_a_text_longer_than_any_answer_is_left_alone() -> None:
    text = "**a** " * 10_000
    assert to_whatsapp(text) is text


def test_a_list_right_below_its_title_stays_there() -> None:
    catalogue = (
        "Veja:\n\n*Doces (preço por cento)*\n1. Brigadeiro: R$ 120.\n2. Beijinho: R$ 120.\n\n*Prazos*\n- dois dias"
    )
    assert to_whatsapp(catalogue) == catalogue
    assert to_whatsapp("**Doces**\n\n1. Brigadeiro") == "*Doces*\n\n1. Brigadeiro"
