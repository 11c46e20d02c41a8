"""What commands print: nothing that a terminal would obey, whoever wrote it, and the same JSON for programs."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recado import cli
from recado.cli.terminal import answer, table

EVIL = "a\x1b[2J\x9b31m\x85\x07\u202egnp\u2066\u200b\u2028\ud800\x00b"
FREELY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


@FREELY
@given(text=st.text(st.characters(codec=None) | st.sampled_from(EVIL)))
def test_json_holds_nothing_that_a_terminal_obeys_and_says_the_same(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    given_ = {"name": text, text: [text]}
    answer(given_, as_json=True, text="")
    out = printed(capsys)
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    assert json.loads(out) == given_


def test_letters_of_all_scripts_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    answer({"name": "Padaria São João 日本 😀"}, as_json=True, text="")
    assert "Padaria São João 日本 😀" in printed(capsys)


@FREELY
@given(text=st.text(st.characters(codec=None) | st.sampled_from(EVIL)))
def test_neither_does_text_for_people(capsys: pytest.CaptureFixture[str], text: str) -> None:
    answer({}, as_json=False, text="user " + text)
    answer({}, as_json=False, text=table(("NAME",), [(text,)], empty="none"))
    assert all(letter.isprintable() or letter == "\n" for letter in printed(capsys))


def test_nor_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._fail(f"no file {EVIL.replace(chr(0xD800), '')}", 1)
    said = capsys.readouterr().err
    assert all(letter.isprintable() for letter in said.rstrip("\n"))
    assert said.count("\n") == 1
    assert sys.stderr is not None
