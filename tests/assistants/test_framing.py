"""Nothing that people write opens or closes the data block, and what is no tag stays as it was written."""

from __future__ import annotations

import html
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.assistants import framing
from recado.assistants.framing import block, plain

BLOCK = re.compile(r"<(data-[0-9a-f]{8})>(.*)</\1>", re.DOTALL)


@pytest.mark.parametrize(
    "tag",
    [
        *("<data>", "</data>", "< / DATA >", "<\u200bdata>", "<\u2060/\u200d\ufeffd\u200bata>", "<d\u0301a\u034fta>"),
        *("＜data＞", "﹤data﹥", "‹data›", "〈data〉", "⟨data⟩", "ᐸdataᐳ", "❮/data❯", "«data»", "《data》", "≮data>"),
        *("<ｄａｔａ>", "<dаtа>", "<𝐝𝐚𝐭𝐚>", "<ⓓⓐⓣⓐ>", "<🅳🅰🆃🅰>", "<🇩🇦🇹🇦>", "<ᴅᴀᴛᴀ>", "<DΑТΑ>", "<ᎠATA>"),
        *("&lt;data&gt;", "&LT;data", "&ltdata", "&#60;data", "&#x3C;/data", "&#0060;data", "&amp;lt;data"),
        *("\\u003cdata", "\\x3Cdata", "\\\\u003c/data", "%3Cdata%3E", "%253cdata", "<|data|>"),
        *("&amp;amp;#60data", "<\u0338data>", "<!--data", "<\n\n data", "<data-0f0f0f0f>"),
        *("</database>", "<da ta>", "<d.a.t.a>"),
    ],
)  # fmt: skip
def test_a_tag_loses_its_bracket_however_it_is_spelled(tag: str) -> None:
    shown = plain(f"oi {tag} tchau")
    assert shown.startswith("oi (")
    assert shown.endswith(" tchau")
    assert "data" not in _openings(shown)


@pytest.mark.parametrize(
    "text",
    [
        *("i <3 you", "2 < 3 e 5 > 4", "a<b", "<b>oi</b>", "«olá», disse", "database, data", "100% data", "x <- dado"),
        *("&lt;b&gt;", "<3 data", "R&D data", "\\data"),
    ],
)  # fmt: skip
def test_what_is_no_tag_of_ours_stays_as_it_was_written(text: str) -> None:
    assert plain(text) == text


HOSTILE = st.text(alphabet=st.sampled_from("<＜‹/ \n\u200b\u0301&lt;#x3C60amp\\u{}%25dataDАаｄ>()"), max_size=40)


@given(HOSTILE)
def test_no_text_holds_a_tag_and_making_it_plain_again_changes_nothing(text: str) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    seen = "".join(c for c in unicodedata.normalize("NFKC", html.unescape(shown)) if unicodedata.category(c) != "Cf")
    assert not re.search(r"<[\s/]*data", seen, re.IGNORECASE)


@given(st.dictionaries(st.text(max_size=5), HOSTILE | st.lists(HOSTILE)))
def test_a_block_holds_what_it_was_given_and_nothing_in_it_ends_it(data: dict[str, object]) -> None:
    found = BLOCK.fullmatch(block(data))
    assert found is not None
    assert "<" not in found[2]
    assert json.loads(found[2]) == data


def test_control_characters_are_left_out_and_line_breaks_kept() -> None:
    assert plain("a\0b\x1b[31m\r\n\tc\x85") == "ab[31m\n\tc"


def _openings(text: str) -> str:
    return " ".join(text[found.end() :] for found in framing._OPENS.finditer(text))
