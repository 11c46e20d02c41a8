"""The images' locks: the whole of what each role needs, as `requirements.lock` has it, and nothing besides."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contracts.test_imports import MEDIA, PROJECT, ROOT, installed

LOCKS = ROOT / "deploy" / "locks"
#: The extras of each role; what `deploy/locks/renew` is told.
EXTRAS = {
    "api": {"otel", "redis", "s3", "vault"},
    "worker": {"otel", "redis", "s3", "vault", "media", "models"},
    "voice": {"otel", "redis", "s3", "vault", "media", "models", "voice"},
    "dev": {"otel", "redis", "s3", "vault", "media", "models", "simulator"},
}
ROLES = list(EXTRAS)


def entries(path: Path) -> dict[str, set[str]]:
    """The pins of a lock, each with its marker and hashes, by package: one may have a pin for each Python."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=\S)", path.read_text().strip()):
        found.setdefault(canonicalize_name(re.split(r"[=\[; ]", entry)[0]), set()).add(entry)
    return found


def platforms() -> list[Environment]:
    """What an image may run on: Linux, both processors, every version of Python that is supported."""
    here = default_environment()
    return [
        {**here, "python_version": version, "python_full_version": f"{version}.4", "platform_machine": machine}
        | {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}  # type: ignore[misc]
        for version in ("3.11", "3.12", "3.13", "3.14")
        for machine in ("x86_64", "aarch64")
    ]


@cache
def needed(requirement: str) -> frozenset[str]:
    """What a requirement stands for with all that it needs in turn, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [Requirement(requirement)]
    asked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        found.add(name)
        try:
            lines = requires(one.name) or []
        except PackageNotFoundError:  # for another version of Python than this one: uv has looked at it
            continue
        for inner in map(Requirement, lines):
            wanted = [{**where, "extra": extra} for where in platforms() for extra in ("", *extras)]
            if inner.marker is None or any(inner.marker.evaluate(where) for where in wanted):  # type: ignore[arg-type]
                waiting.append(inner)
    return frozenset(found)


def declared(role: str) -> list[str]:
    project = PROJECT["project"]
    return [
        *project["dependencies"],
        *(line for name in EXTRAS[role] for line in project["optional-dependencies"][name]),
    ]


@pytest.mark.parametrize("role", ROLES)
def test_an_images_lock_has_all_that_its_role_needs_and_is_what_the_projects_lock_says(role: str) -> None:
    whole = entries(ROOT / "requirements.lock")
    locked = entries(LOCKS / f"{role}.lock")
    for name, pins in locked.items():
        assert pins <= whole[name], f"{role}.lock is older than requirements.lock: make lock"
    missing = set().union(*map(needed, declared(role))) - locked.keys()
    assert missing == set(), f"{role}.lock: make lock"


@pytest.mark.parametrize("role", ROLES)
def test_an_images_lock_has_nothing_that_its_role_does_not_need(role: str) -> None:
    # Of a package for other versions of Python, or for Windows, the metadata is not here: then the marker says so.
    idle = {
        name
        for name, pins in entries(LOCKS / f"{role}.lock").items()
        if name not in set().union(*map(needed, declared(role))) and not all(" ; " in pin for pin in pins)
    }
    assert idle == set()


def test_each_image_has_what_the_one_before_it_has() -> None:
    api, worker, voice, dev = (entries(LOCKS / f"{role}.lock") for role in ROLES)
    assert api.items() <= worker.items() <= voice.items()
    assert worker.items() <= dev.items()


def test_the_api_and_the_worker_have_no_package_that_only_others_need() -> None:
    distributions = installed()
    heavy = {canonicalize_name(name) for top in MEDIA if top in distributions for name in distributions[top]}
    assert {"av", "faster-whisper", "numpy", "pillow", "pypdf", "openai", "pydantic-ai-slim"} <= heavy
    assert entries(LOCKS / "api.lock").keys() & heavy == set()
    audio = {"av", "ctranslate2", "faster-whisper", "numpy", "onnxruntime", "huggingface-hub", "tokenizers"}
    assert entries(LOCKS / "worker.lock").keys() & audio == set()
    assert audio <= entries(LOCKS / "voice.lock").keys()


def test_what_builds_the_wheel_is_locked_too() -> None:
    locked = entries(LOCKS / "build.lock")
    whole = entries(ROOT / "requirements.lock")
    assert {name: pins for name, pins in locked.items() if not pins <= whole[name]} == {}
    missing = set().union(*map(needed, PROJECT["build-system"]["requires"])) - locked.keys()
    assert missing == set()


#: Executes a statement where no package can be imported that is in none of the distributions locked.
WITHOUT = """
import sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
{statement}
"""


def executed(role: str, statement: str) -> str:
    """What a statement wrote to standard error, where only the role's packages are."""
    locked = entries(LOCKS / f"{role}.lock").keys()
    missing = {
        top
        for top, names in installed().items()
        if top != "recado" and not {canonicalize_name(name) for name in names} & locked
    }
    code = WITHOUT.format(missing=missing, statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


#: What each role loads at its start or in its work.
LOADED = {
    "api": "import recado.app, recado.cli.commands, recado.db.migrate, recado.media.bucket, recado.counters, hvac",
    "worker": "import recado.worker, pydantic_ai, PIL, recado.media.bucket, recado.media.voice.endpoint",
    "voice": "import recado.media.voice.whisper, faster_whisper, av",
}


@pytest.mark.parametrize("role", LOADED)
def test_a_role_starts_where_only_its_own_packages_are(role: str) -> None:
    assert executed(role, LOADED[role]) == ""


def test_what_a_role_does_not_have_is_missing_there() -> None:
    assert "No module named 'pydantic_ai'" in executed("api", "import pydantic_ai")
