"""The systemd units: their user, their secrets as credentials, and hardly a right that they don't use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contracts.test_imports import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SHARED = (FOLDER / "recado-.service.d" / "10-recado.conf").read_text()
UNITS = {path.name: path.read_text() for path in FOLDER.glob("*.service")}


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_secrets_are_credentials_and_only_migrations_may_change_tables() -> None:
    for name, text in UNITS.items():
        whole = SHARED + text
        handed = {credential.partition(":")[0] for credential in values(whole, "LoadCredential")}
        files = set(re.findall(r"=file:%d/(\w+)", whole))
        assert files == handed, name
        assert {"database_url", "platform_url", "secret_keys"} <= handed
        assert ("migrate_url" in handed) == name.startswith("recado-migrate")
        assert ("openai_api_key" in handed) == name.startswith("recado-worker")
        assert all(
            place.partition(":")[2].startswith("/etc/recado/secrets/") for place in values(whole, "LoadCredential")
        )
    assert not re.search(
        r"^[A-Z_]*(URL|KEYS|KEY|TOKEN|PASSWORD)=(?!https://)", (FOLDER / "recado.env.example").read_text(), re.MULTILINE
    )


def test_an_operators_commands_have_the_units_secrets_but_for_the_one_that_changes_tables() -> None:
    script = FOLDER / "recado-admin"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    text = script.read_text()
    handed = set(re.findall(r"LoadCredential=(\w+):/etc/recado/secrets/\1 ", text))
    assert (
        handed
        == set(re.findall(r"CREDENTIALS_DIRECTORY/(\w+)", text))
        == {"database_url", "platform_url", "secret_keys", "openai_api_key"}
    )
    assert "User=recado" in text
    assert '"$@"' in text


def test_what_runs_is_started_again_stops_in_time_and_has_bounds() -> None:
    assert values(SHARED, "TimeoutStopSec") == ["25s"]
    assert values(SHARED, "MemoryMax")
    assert values(SHARED, "TasksMax")
    for name, text in UNITS.items():
        if not name.startswith("recado-migrate"):
            assert values(text, "Restart") == ["always"]
            assert "recado-migrate.service" in values(text, "After")[0]
            # Not `Requires`: then migrating anew would restart all that answers.
            assert "recado-migrate.service" in values(text, "Wants")[0]
            assert values(text, "StartLimitIntervalSec") == ["0"]


@pytest.mark.parametrize(
    ("unit", "worst"), [("recado-api.service", 1.5), ("recado-worker@1.service", 1.5), ("recado-migrate.service", 1.5)]
)
def test_systemd_itself_finds_little_exposed(unit: str, worst: float, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: how exposed the units are was not looked at")
    there = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(FOLDER, there)
    done = subprocess.run(
        ["systemd-analyze", f"--root={tmp_path}", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= worst, done.stdout
    # What systemd does not know in a unit it only warns of, and then does not do.
    assert "Unknown" not in done.stderr, done.stderr


def test_every_process_has_a_metrics_port_of_its_own_that_the_example_reads() -> None:
    ports = {
        name.replace("%i", "").replace("@", f"@{number}"): port.replace("%i", str(number))
        for number in (1, 2)
        for name, text in UNITS.items()
        for entry in values(text, "Environment")
        if (port := entry.removeprefix("RECADO_METRICS_PORT=")) != entry
    }
    assert len(ports) == 3
    assert len(set(ports.values())) == 3, "two processes can't have one port"
    scraped = (ROOT / "deploy" / "observability" / "prometheus" / "prometheus.yml").read_text()
    assert {f"127.0.0.1:{port}" for port in ports.values()} <= set(re.findall(r'"([\d.]+:\d+)"', scraped))
