"""`make audit`: licences, secrets in the tree, parts lists, locks, and what its exit code says."""

from __future__ import annotations

import shutil
import subprocess
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supply import __main__ as audit
from supply import licences, linters, parts, tree
from supply.finding import Finding
from supply.locks import EVERYTHING, ROLES, ROOT, TOOLS, Pin, of_role, pins

POLICY: dict[str, Any] = {"allowed": ["MIT", "BSD-3-Clause"], "words": {"MIT License": "MIT"}, "packages": {}}


class TestLicences:
    @pytest.mark.parametrize(
        ("expression", "holds"),
        [
            ("MIT", True),
            ("GPL-3.0-only", False),
            ("MIT OR GPL-3.0-only", True),
            ("GPL-3.0-only OR MIT", True),
            ("MIT AND GPL-3.0-only", False),
            ("MIT AND (GPL-3.0-only OR BSD-3-Clause)", True),
            ("(MIT OR GPL-3.0-only) AND GPL-3.0-only", False),
            ("MIT OR MIT AND GPL-3.0-only", True),
            ("MIT WITH x", False),
            ("MIT AND", False),
            ("(MIT", False),
            ("", False),
            ("MIT MIT", False),
        ],
    )
    def test_of_several_licences_or_takes_one_and_and_takes_all(self, expression: str, holds: bool) -> None:
        assert licences.allowed(expression, {"MIT", "BSD-3-Clause"}) is holds

    @given(st.text(alphabet="MITGPL ()ANDOR", max_size=60))
    def test_nothing_is_allowed_that_names_no_allowed_licence(self, expression: str) -> None:
        if licences.allowed(expression, {"MIT"}):
            assert "MIT" in expression.replace("(", " ").replace(")", " ").split()

    @staticmethod
    def said(**fields: str | list[str]) -> str:
        message = Message()
        for name, values in fields.items():
            for value in [values] if isinstance(values, str) else values:
                message[name.replace("_", "-")] = value
        return licences.licence(message, POLICY["words"])

    def test_an_expression_counts_before_classifiers_and_all_of_those_must_do(self) -> None:
        mit, gpl = ("License :: OSI Approved :: MIT License", "License :: OSI Approved :: GNU GPL")
        assert self.said(License_Expression="ISC", Classifier=[mit]) == "ISC"
        assert self.said(Classifier=[mit, gpl]) == "MIT AND GNU GPL"
        assert self.said(Classifier=["License :: OSI Approved"], License="MIT License") == "MIT"
        assert self.said(License="MIT License\n" + "x" * 100) == ""

    def test_a_package_under_another_licence_fails_and_so_does_one_that_says_nothing(self) -> None:
        there = [Pin(name="psycopg", version="3"), Pin(name="structlog", version="25")]
        finding = licences.check(there, {**POLICY, "allowed": ["MIT", "Apache-2.0"]})
        assert finding.lines == ("psycopg: LGPL-3.0-only",)
        finding = licences.check([Pin(name="padaria", version="1")], POLICY)
        assert finding.outcome == "failed"
        assert "is not installed here" in finding.lines[0]

    def test_the_policy_names_no_package_that_is_not_there_and_says_why(self) -> None:
        packages = {"padaria": {"licence": "MIT", "why": "x"}}
        assert licences.check([], {**POLICY, "packages": packages}).outcome == "failed"
        policy = audit.tomllib.loads((ROOT / "supply" / "policy.toml").read_text())
        assert all(len(one["why"]) > 5 and one["licence"] for one in policy["licences"]["packages"].values())

    def test_every_package_that_is_locked_has_a_licence_that_is_allowed(self) -> None:
        policy = audit.tomllib.loads((ROOT / "supply" / "policy.toml").read_text())["licences"]
        assert licences.check(pins(EVERYTHING), policy).lines == ()


def credentials() -> dict[str, str]:
    """A text of each form, put together here so that this file has none of them."""
    long = "aB3" * 40
    return {
        "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
        "an age key": "AGE-SECRET-KEY-" + "1" + "Q" * 58,
        "an access key of AWS": "AKIA" + "A1" * 8,
        "a secret key of AWS": "aws_secret_access_key=" + long[:40],
        "a token of GitHub": "ghp_" + long[:36],
        "a token of GitLab": "glpat-" + long[:20],
        "a token of PyPI": "pypi-" + long[:60],
        "a token of npm": "npm_" + long[:36],
        "a key of OpenAI": "sk-" + "proj-" + long[:48],
        "a key of Anthropic": "sk-" + "ant-" + long[:48],
        "a key of Google": "AIza" + long[:35],
        "a token of Slack": "xoxb-" + "1234567890-" + long[:20],
        "a key of Stripe": "sk_" + "live_" + long[:24],
        "a key of SendGrid": "SG." + long[:22] + "." + long[:43],
        "a token of Hugging Face": "hf_" + "aB" * 17,
        "a token of Vault": "hvs." + long[:30],
        "a JSON web token": "eyJ" + long[:20] + ".eyJ" + long[:20] + "." + long[:30],
        "a key of recado's API": "rk_" + long[:43],
        "an auth token of Twilio": "TWILIO_AUTH_TOKEN=" + "0a1b" * 8,
        "keys of recado's secrets": "RECADO_SECRET_KEYS=" + long[:43] + "=",
        "a password in a URL": "postgresql://recado:" + long[:24] + "@db/recado",
    }


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


class TestSecrets:
    @pytest.mark.parametrize("name", tree.FORMS)
    def test_each_form_is_found_and_not_shown(self, name: str) -> None:
        secret = credentials()[name]
        found = list(tree.found_in(Path("a.py"), f"first\nsecond {secret} end"))
        assert f"a.py:2: has the form of {name}" in found
        assert not any(secret in line for line in found)

    def test_what_is_only_like_one_is_none(self) -> None:
        harmless = "sk-short ghp_x postgresql://user:...@db/x https://u:{password}@h AKIA123 hf_x auth_token=TOKEN"
        assert list(tree.found_in(Path("a"), harmless)) == []

    @needs_git
    def test_a_file_that_git_would_take_in_is_looked_at_and_one_that_it_ignores_is_not(self, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        (tmp_path / ".gitignore").write_text("ignored\n")
        for name in ("ignored", "taken"):
            (tmp_path / name).write_text(credentials()["a token of GitHub"])
        finding = tree.check(tmp_path)
        assert finding.outcome == "failed"
        assert finding.lines == ("taken:1: has the form of a token of GitHub",)

    @needs_git
    def test_where_git_names_no_files_nothing_was_looked_at(self, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        assert tree.check(tmp_path).outcome == "failed"


class TestLocks:
    def test_every_entry_of_every_lock_is_read(self) -> None:
        for path in (EVERYTHING, *TOOLS, *map(of_role, ROLES)):
            assert len(pins(path)) > 40, path
        numpy = [pin for pin in pins(EVERYTHING) if pin.name == "numpy"]
        assert len(numpy) > 1, "one for each version of Python"

    def test_what_is_no_pin_is_not_passed_over(self, tmp_path: Path) -> None:
        lock = tmp_path / "a.lock"
        for wrong in ("padaria>=1\n", "padaria==1 \\\n    --hash=sha256:0\nhttps://example.com/x.whl\n", ""):
            lock.write_text(wrong)
            with pytest.raises(ValueError, match="pins"):
                pins(lock)

    def test_no_lock_says_where_a_package_comes_from(self) -> None:
        for path in (*TOOLS, *map(of_role, ROLES)):
            text = path.read_text()
            assert "--hash=sha256:" in text
            assert not any(word in text for word in ("://", "--index", "--find-links", " @ "))


class TestParts:
    locked = [Pin(name="padaria", version="1")]  # noqa: RUF012 - never changed
    listed = {"name": "padaria", "version": "1", "purl": "pkg:pypi/padaria@1", "hashes": [{"alg": "SHA-256"}]}  # noqa: RUF012

    def test_a_list_names_just_what_is_locked_each_with_a_hash(self) -> None:
        assert parts.compare({"components": [self.listed]}, self.locked) == []
        assert parts.compare({"components": []}, self.locked) == ["padaria 1 is not in the list"]
        more = {**self.listed, "name": "outra"}
        assert parts.compare({"components": [self.listed, more]}, self.locked) == ["outra 1 is in no lock"]
        without = {**self.listed, "hashes": [], "purl": ""}
        assert len(parts.compare({"components": [without]}, self.locked)) == 2


class TestLinters:
    def test_one_that_is_not_installed_has_not_looked(self, tmp_path: Path) -> None:
        assert linters.check(tools=tmp_path).outcome == "unchecked"

    def test_one_that_finds_something_fails_though_others_are_missing(self, tmp_path: Path) -> None:
        tool = tmp_path / "hadolint"
        tool.write_text("#!/bin/sh\necho deploy/Dockerfile:1 DL0000 wrong\nexit 1\n")
        tool.chmod(0o755)
        finding = linters.check(tools=tmp_path)
        assert finding.outcome == "failed"
        assert finding.lines == ("hadolint: deploy/Dockerfile:1 DL0000 wrong",)


@pytest.mark.parametrize(
    ("outcome", "strict", "code"),
    [
        ("ok", False, 0),
        ("ok", True, 0),
        ("failed", False, 1),
        ("failed", True, 1),
        ("unchecked", False, 0),
        ("unchecked", True, 1),
    ],
)
def test_the_exit_code_says_whether_something_failed_and_strictly_whether_all_was_looked_at(
    outcome: str, strict: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding(part="imports", outcome=outcome, said="x", lines=("a line",))  # type: ignore[arg-type]
    monkeypatch.setattr(audit.imports, "check", lambda: finding)
    assert audit.main(["imports", *(["--strict"] if strict else [])]) == code
    said = capsys.readouterr().out
    assert "a line" in said
    assert ("no all-clear" in said) == (outcome == "unchecked")


def test_a_part_that_there_is_not_is_wrong_use() -> None:
    with pytest.raises(SystemExit) as ended:
        audit.main(["nothing"])
    assert ended.value.code == 2
