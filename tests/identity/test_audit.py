"""The audit has one word for each thing that is done, whoever does it and by which face."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from recado.identity import audit
from recado.identity.audit import DEEDS
from recado.identity.callers import at_command_line
from tests.identity.conftest import House

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/users-and-keys.md"


def said(node: ast.expr) -> set[str]:
    """The words that an argument may be, so far as they stand in the call itself."""
    return {str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)} - {"disabled"}


def recorded() -> set[tuple[str, str]]:
    """Each action and thing that a call in our source names; an action that is worked out before is not seen."""
    found = set()
    for file in (ROOT / "src/recado").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "audit.record":
                [thing] = said(node.args[3]) or {""}
                found |= {(action, thing) for action in said(node.args[2])}
    return found


def test_the_api_and_the_command_line_use_the_words_of_the_list_alone() -> None:
    found = recorded()
    assert len(found) > 25
    assert [(action, thing) for action, thing in found if action not in DEEDS.get(thing, ())] == []


def test_the_page_lists_the_words() -> None:
    table = PAGE.read_text().partition("| thing | what is done to it |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert {thing: tuple(re.findall(r"`(\w+)`", deeds)) for thing, deeds in rows} == DEEDS


async def test_no_other_word_is_written_down(house: House) -> None:
    async with house.scope() as scope:
        for action, thing in (("set", "assistant"), ("add", "key"), ("revoke", "user")):
            with pytest.raises(ValueError, match="no word"):
                await audit.record(scope, at_command_line("maria"), action, thing, None)
        assert await audit.entries(scope) == []
