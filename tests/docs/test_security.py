"""The threat model names tests that are there, and no attack without one."""

from __future__ import annotations

from tests.docs.named import NODE, ROOT, missing, named

PAGE = (ROOT / "docs/explain/security.md").read_text()


def test_every_test_that_the_threat_model_names_exists() -> None:
    assert len(named(PAGE)) > 30
    assert missing(PAGE) == []


def test_every_attack_in_the_threat_model_has_a_defence_and_a_test() -> None:
    section = PAGE.partition("## Attackers")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| tries to")]
    assert len(rows) > 20
    for row in rows:
        attack, defence, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert attack, row
        assert defence, row
        assert NODE.search(tests), row
