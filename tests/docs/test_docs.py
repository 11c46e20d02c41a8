"""Documentation that can fail: settings, error codes, commands, links."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import SecretStr

from recado import errors
from recado.channels.port import ErrorClass
from recado.channels.twilio.codes import CODES
from recado.cli.commands import app
from recado.conversations.happenings import KINDS
from recado.conversations.holding import CAUSES
from recado.journey.understand.media_desk import Own
from recado.media.download import Absence, Refusal
from recado.media.transcription import Failure
from recado.ops.failed import REASONS
from recado.ops.jobs import JOBS
from recado.settings import PREFIX, Settings
from recado.webhooks.post import OUTCOMES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:recado|make) [^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _rows(page: str) -> list[list[str]]:
    lines = (ROOT / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


def test_every_setting_is_documented_with_its_default_and_its_own_words() -> None:
    documented = {row[0]: row[1:] for row in _rows("docs/reference/settings.md") if row[0].startswith("`")}
    expected = {}
    for name, field in Settings.model_fields.items():
        value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        default = "not set" if value in (None, ()) else f"`{value}`"
        expected[f"`{PREFIX}{name.upper()}`"] = [default, field.description]
    assert documented == expected


def test_every_error_code_is_documented_with_its_class_and_its_words() -> None:
    documented = {}
    for row in _rows("docs/reference/errors.md"):
        if found := re.fullmatch(r"\[(\d+)\]\(https://www\.twilio\.com/docs/api/errors/(\d+)\)", row[0]):
            assert found[1] == found[2]
            documented[int(found[1])] = tuple(row[1:])
    assert documented == {code: (f"`{kind}`", text) for code, (kind, text) in CODES.items()}


def test_everything_that_happens_is_documented_with_its_meaning_and_what_it_leaves_behind() -> None:
    rows = {
        tuple(cell.strip("` ") for cell in row)
        for row in _rows("docs/reference/events.md")
        if row[0] not in ("step", "---")
    }
    events = {
        (step, what, kind.means, ", ".join(kind.keeps)) for (step, what), kind in KINDS.items() if kind.row != "nobody"
    }
    levels = {"exception": "error, with the exception"}
    lines = {
        (step, kind.said or what, levels.get(kind.log, kind.log), kind.means)
        for (step, what), kind in KINDS.items()
        if kind.log is not None
    }
    assert {tuple(cell.replace("`", "") for cell in row) for row in rows} == {
        tuple(cell.replace("`", "") for cell in row) for row in events | lines
    }


def _table(page: str, head: str) -> dict[str, str]:
    """The rows of the table with that first heading: what stands in backquotes, and the next cell."""
    text = (ROOT / page).read_text().partition(f"| {head} | ")[2].partition("\n\n")[0]
    rows: list[tuple[str, str]] = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    table = dict(rows)
    assert len(table) == len(rows), f"{page}: a word stands there twice: {[word for word, _ in rows]}"
    return table


def test_every_cause_for_which_a_message_is_held_is_documented_with_who_looks_again() -> None:
    expected = {word: f"{cause.means} | {cause.then}" for word, cause in CAUSES.items()}
    assert _table("docs/reference/errors.md", "held for") == expected


def test_every_reason_why_a_message_is_held_is_documented_with_its_words() -> None:
    assert _table("docs/reference/errors.md", "held or failed") == REASONS


def test_every_reason_why_an_attachment_was_not_kept_or_understood_is_documented() -> None:
    words = {word for kind in (Refusal, Absence, Failure, Own) for word in get_args(kind)}
    assert set(_table("docs/reference/errors.md", "attachment")) == words
    # The how-to pages explain a part of them: none that there is not.
    for page in ("docs/how-to/media.md", "docs/how-to/voice.md"):
        rows = [row[0] for row in _rows(page) if row[0].startswith("`")]
        named = {word for cell in rows for word in re.findall(r"`([a-z_]+)`", cell)} - {"none"}
        assert named <= words, page


def test_every_error_class_and_every_error_of_ours_is_documented() -> None:
    named = {row[0].strip("`") for row in _rows("docs/reference/errors.md")}
    assert set(ErrorClass) <= named
    # A refused webhook and a failed send are not seen as such: docs/reference/webhooks.md, and the classes above.
    ours = {kind.__name__ for kind in errors.RecadoError.__subclasses__() if kind.__module__ == errors.__name__}
    assert ours - {"Rejected"} <= named


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    dead = []
    for target in LINK.findall(text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in _anchors(goal)):
            dead.append(target)
    assert dead == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: Path) -> None:
    # An unescaped | ends a cell, within backquotes too.
    cells, wrong = 0, []
    for line in FENCE.sub("", page.read_text()).splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if found and cells and found != cells:
            wrong.append(line)
        cells = found if not (found and cells) else cells
    assert wrong == []


def _commands(page: Path) -> list[str]:
    """What a page tells its reader to type: lines of fences without a language, and commands within a sentence."""
    text = page.read_text()
    typed = [line.strip() for language, body in FENCE.findall(text) if not language for line in body.splitlines()]
    typed += INLINE.findall(FENCE.sub("", text))
    return [line for line in typed if re.match(r"(\S*/)?recado\b|make\b", line)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_on_a_page_exists_with_the_options_it_shows(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in _commands(page):
        words = line.partition(" < ")[0].split()
        if words[0] == "make":
            assert {word for word in words[1:] if re.fullmatch("[a-z]+", word)} <= targets, line
            continue
        _exists(words[1:], line)


def _exists(words: list[str], line: str) -> None:
    """Follow the words of a line, such as `accounts add|list --json`, through the command line's own tree."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        names = words[0].split("|")
        if otherwise := getattr(command, "otherwise", ""):  # `recado backup DIR` is `recado backup make DIR`
            names = [name if name in command.commands else otherwise for name in names]
        for name in names:
            assert name in command.commands, f"{line}: no command {name}"
        command, words = command.commands[names[-1]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{line}: no option {word}"


def test_what_the_readme_shows_first_is_the_demo_and_the_running_product() -> None:
    assert _commands(ROOT / "README.md")[:2] == ["make demo", "make run"]


def test_every_make_target_says_what_it_does() -> None:
    silent = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if re.match(r"[a-z]+:", line) and "##" not in line
    ]
    assert silent == []


def test_every_decision_is_in_the_list_and_has_its_date() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text()
    for page in sorted((ROOT / "docs/decisions").glob("0*.md")):
        assert f"({page.name})" in listed
        assert re.search(r"^20\d\d-\d\d · accepted$", page.read_text(), re.MULTILINE), page.name


def test_the_map_names_every_room_and_only_places_that_there_are() -> None:
    page = (ROOT / "docs" / "how-to" / "develop.md").read_text()
    [part] = re.findall(r"^## Where things are\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    package = ROOT / "src" / "recado"
    named = set(re.findall(r"`([\w/]+(?:\.(?:py|sql|md|js)|/))`", part))
    there = [*package.rglob("*"), *(ROOT / "docs").rglob("*"), ROOT / "tests" / "data" / "messages"]
    assert {name for name in named if not any(path.match(name) for path in there)} == set()
    rooms = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    assert rooms - named == set()
    steps = {path for path in (package / "journey").glob("*/*.py") if path.name != "__init__.py"}
    assert {path.name for path in steps if not any(path.match(name) for name in named)} == set()


def test_every_outcome_of_a_post_to_a_webhook_is_documented() -> None:
    assert _table("docs/how-to/receive-events.md", "outcome") == dict(OUTCOMES)


def test_every_job_is_documented_with_how_often_and_what_it_does() -> None:
    expected = {job.name: f"{job.schedule.shown(UTC)} | {job.what}" for job in JOBS}
    assert _table("docs/how-to/run-in-production.md", "job") == expected
