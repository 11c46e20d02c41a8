"""The images' recipe: pinned, hashed, without rights, without anything that only building needs."""

from __future__ import annotations

import json
import re

import pytest

from tests.contracts.test_imports import ROOT
from tests.deploy.test_locks import ROLES

TEXT = (ROOT / "deploy" / "Dockerfile").read_text()
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")]


def stages() -> dict[str, tuple[str, list[str]]]:
    """Each stage: what it begins from, and its lines."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in LINES:
        if begins := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = begins[2]
            found[name] = (begins[1], [])
        elif name:
            found[name][1].append(line)
    return found


STAGES = stages()


def whole(name: str) -> list[str]:
    """A stage's lines with those of what it begins from."""
    base, lines = STAGES[name]
    return [*(whole(base) if base in STAGES else []), *lines]


def test_the_base_is_one_argument_and_pinned_by_digest() -> None:
    assert [line for line in LINES if line.startswith("ARG BASE")] == [LINES[0]]
    assert re.fullmatch(r"ARG BASE=docker\.io/library/python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", LINES[0])
    bases = {base for base, _ in STAGES.values()} - STAGES.keys()
    assert bases == {"${BASE}"}


@pytest.mark.parametrize("role", ROLES)
def test_an_image_has_a_user_a_health_check_and_an_exec_form_command(role: str) -> None:
    lines = whole(role)
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 10001:10001"]
    [health] = [line for line in lines if line.startswith("HEALTHCHECK")]
    assert json.loads(health.partition(" CMD ")[2]) == ["recado", "health"]
    [entry] = [line for line in lines if line.startswith("ENTRYPOINT")]
    assert json.loads(entry.partition(" ")[2]) == ["recado"]
    [command] = [line for line in lines if line.startswith("CMD")]
    assert json.loads(command.partition(" ")[2])


@pytest.mark.parametrize("role", ROLES)
def test_an_image_executes_nothing_while_it_is_put_together_and_takes_only_what_was_installed(role: str) -> None:
    # So its base may be one without a shell; and no pip, no build tool, no source comes along.
    lines = whole(role)
    assert [line for line in lines if line.startswith("RUN")] == []
    copied = [line for line in lines if line.startswith("COPY")]
    assert copied == [
        "COPY --from=build --chown=10001:10001 /home-of-recado /var/lib/recado",
        f"COPY --from={role}-whole /opt/recado /opt/recado",
    ]
    assert '"--without-pip", "/opt/recado"' in TEXT


def test_everything_that_is_installed_has_hashes_and_is_never_built_from_source() -> None:
    installs = [json.loads(line.partition(" ")[2]) for line in LINES if line.startswith("RUN") and '"install"' in line]
    assert len(installs) == 2 * len(ROLES) + 1
    for words in installs:
        ours = words[-1] == "recado"
        assert ("--require-hashes" in words) != ours
        assert ("--no-index" in words) == ours, "the project itself comes from the stage that built it"
        if not ours and "/locks/build.lock" not in words:
            assert words[words.index("--only-binary") + 1] == ":all:"


def test_no_secret_and_no_address_of_a_registry_of_packages_is_in_the_recipe() -> None:
    assert [line for line in LINES if re.search(r"https?://|curl|wget|ADD |apt-get|sudo", line)] == []
    variables = {name for line in LINES if line.startswith("ENV") for name in re.findall(r"(\w+)=", line)}
    assert not {name for name in variables if re.search("PASSWORD|SECRET|TOKEN|KEY", name)}


def test_only_what_an_image_needs_is_sent_to_where_it_is_built() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        *("LICENSE", "README.md", "deploy", "deploy/locks", "pyproject.toml", "src")
    }
    assert "deploy/*" in lines
