"""The compose files: no credential of their own, secrets as files, no right that is not needed, bounds everywhere."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from recado.settings import PREFIX, Settings
from tests.contracts.test_imports import ROOT
from tests.deploy import env_example

DEPLOY = ROOT / "deploy"


class Loader(yaml.SafeLoader):
    """YAML as compose reads it: with its own tags `!reset` and `!override`."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: {"!": suffix})


def load(name: str) -> dict[str, Any]:
    return dict(yaml.load((DEPLOY / name).read_text(), Loader))


PRODUCTION, DEV = load("compose.yaml"), load("compose.dev.yaml")
BOTH = [
    pytest.param(file["services"][name], id=f"{file['name']}-{name}")
    for file in (PRODUCTION, DEV)
    for name in file["services"]
]
OURS = ("api", "worker", "media", "migrate")


@pytest.mark.parametrize("service", BOTH)
def test_every_service_runs_without_rights_on_a_root_that_nobody_writes_to(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("cap_add", ())) <= {"NET_BIND_SERVICE"}
    assert not {"privileged", "pid", "ipc", "network_mode", "devices", "userns_mode"} & service.keys()
    for mount in service["tmpfs"]:
        assert {"noexec", "nosuid", "nodev"} <= set(mount.partition(":")[2].split(",")), mount
        assert "size=" in mount
    assert not any("docker.sock" in volume for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", PRODUCTION["services"])
def test_in_production_every_service_has_an_end_to_what_it_may_use_and_log(name: str) -> None:
    service = PRODUCTION["services"][name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= limits.keys()
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", OURS)
def test_processes_of_ours_run_as_their_own_user_and_have_time_to_stop(name: str) -> None:
    service = PRODUCTION["services"][name]
    assert service["user"] == "10001:10001"
    # 20 s is what a process takes at most (docs/how-to/run-in-production.md).
    assert service["stop_grace_period"] == "25s"
    assert service["init"] is True


@pytest.mark.parametrize("service", BOTH)
def test_images_are_pinned_or_built_here_and_never_the_latest(service: dict[str, Any]) -> None:
    image = service["image"]
    default = re.sub(r"\$\{[A-Z_]+:-((?:[^{}]|\{[^{}]*\})*)\}", r"\1", image)
    assert ":latest" not in default
    if "build" in service:
        assert default.startswith("localhost/recado-")
        assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    else:
        assert re.search(r":[0-9][0-9.]*@sha256:[0-9a-f]{64}$", image), image


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|_URL$|CREDENTIAL|AUTH")
NO_SECRETS = {"RECADO_PUBLIC_URL", "RECADO_TWILIO_API_URL", "POSTGRES_INITDB_ARGS"}


@pytest.mark.parametrize("service", BOTH)
def test_whatever_is_secret_comes_in_a_file_that_the_service_is_given(service: dict[str, Any]) -> None:
    given = set(service.get("secrets", ()))
    for name, value in _environment(service).items():
        if SECRET.search(name) and name not in NO_SECRETS:
            path = re.fullmatch(r"(?:file:)?/run/secrets/([a-z_]+)", value)
            assert path is not None, f"{name} is no file"
            # The simulator's URL of the database is never read by it.
            if given != {"simulator_token"}:
                assert path[1] in given, f"{name} has no file"
    for field in Settings.in_files() | {"secret_keys"}:
        assert _environment(service).get(PREFIX + field.upper(), "file:").startswith("file:")


@pytest.mark.parametrize("file", [PRODUCTION, DEV], ids=["production", "dev"])
def test_there_is_no_credential_in_a_file_that_is_committed(file: dict[str, Any]) -> None:
    text = yaml.safe_dump(file)
    assert re.search(r"://[^/\s]+:[^/\s]+@", text) is None
    assert "trust" not in text
    for name, secret in file["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


@pytest.mark.skipif(
    not ((ROOT / ".git").exists() and shutil.which("git")), reason="this is no checkout, or without git"
)
def test_no_secret_can_be_committed() -> None:
    for path in ("deploy/secrets/database_url", "deploy/.env"):
        ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert ignored.returncode == 0, path


def test_the_database_is_reached_by_nobody_outside_and_only_by_who_needs_it() -> None:
    services = PRODUCTION["services"]
    assert PRODUCTION["networks"]["database"] == {"internal": True}
    assert services["db"]["networks"] == ["database"]
    assert [name for name, service in services.items() if "database" in service["networks"]] == [
        *OURS[:3],
        "migrate",
        "db",
    ]
    assert [name for name, service in services.items() if service.get("ports")] == ["caddy"]
    assert services["caddy"]["networks"] == ["front"]
    for service in DEV["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_only_migrations_know_who_may_change_tables_and_only_workers_the_providers_key() -> None:
    users = {
        secret: {name for name, service in PRODUCTION["services"].items() if secret in service.get("secrets", ())}
        for secret in PRODUCTION["secrets"]
    }
    assert users["migrate_url"] == {"migrate", "db"}  # the database makes the login
    assert users["openai_api_key"] == {"worker", "media"}
    assert users["postgres_password"] == {"db"}
    assert users["secret_keys"] == set(OURS)


def test_nothing_of_a_new_version_starts_before_its_migration_and_that_runs_once() -> None:
    services = PRODUCTION["services"]
    for name in ("api", "worker", "media"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["depends_on"]["db"] == {"condition": "service_healthy"}
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["restart"] == "no"


def test_every_queue_is_served_and_only_who_serves_media_may_need_a_model_of_its_own() -> None:
    from recado.db.work import SERVED

    queues = [PRODUCTION["services"][name]["command"][2].split(",") for name in ("worker", "media")]
    assert sorted(queue for served in queues for queue in served) == sorted(SERVED)
    assert queues[1] == ["media"]


def test_metrics_listen_inside_alone() -> None:
    for name in ("api", "worker", "media"):
        environment = _environment(PRODUCTION["services"][name])
        assert environment["RECADO_METRICS_PORT"] == "9464"
    assert "9464" not in str(PRODUCTION["services"]["caddy"])


@pytest.mark.parametrize("variable", ["RECADO_HOST"])
def test_production_does_not_start_without_being_told_where_it_is(variable: str) -> None:
    assert f"${{{variable}:?" in (DEPLOY / "compose.yaml").read_text()
    for name in OURS:
        assert PRODUCTION["services"][name]["env_file"] == [".env"]


def test_the_file_for_a_database_of_ones_own_takes_ours_away() -> None:
    own = load("compose.own-database.yaml")
    assert own["services"] == {"db": {"!": "reset"}, "migrate": {"depends_on": {"!": "reset"}}}
    assert own["networks"] == {"database": {"internal": False}}


def test_the_example_of_settings_names_every_setting_with_its_default_and_no_secret() -> None:
    text = env_example.PATH.read_text()
    assert text.endswith(env_example.settings()), "python -m tests.deploy.env_example"
    # Copied as it is, it changes nothing; and what compose asks for is explained in it.
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    assert {name for name in asked if f"#{name}=" not in text} == set()
    set_there = {f"{PREFIX}{name.upper()}" for name in env_example.SET_THERE}
    told = {
        name for file in (PRODUCTION, DEV) for service in file["services"].values() for name in _environment(service)
    }
    assert set_there <= told


class TestSecrets:
    """`deploy/make-secrets.sh`."""

    @staticmethod
    def made(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        script = folder / "make-secrets.sh"
        script.write_bytes((DEPLOY / "make-secrets.sh").read_bytes())
        return subprocess.run(["sh", script, *words], capture_output=True, text=True, check=True, cwd="/")

    def test_it_makes_every_secret_that_the_files_name_each_time_another(self, tmp_path: Path) -> None:
        names = PRODUCTION["secrets"].keys() | DEV["secrets"].keys()
        contents = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            done = self.made(tmp_path / name)
            folder = tmp_path / name / "secrets"
            assert {path.name for path in folder.iterdir()} == names
            contents.append({path.name: path.read_text() for path in folder.iterdir()})
            assert not any(text.strip() and text.strip() in done.stdout for text in contents[-1].values())
        for name in names - {"openai_api_key"}:
            assert contents[0][name] != contents[1][name]
            assert len(contents[0][name].strip()) >= 32

    def test_nobody_but_its_owner_gets_at_them_and_containers_can_read_them(self, tmp_path: Path) -> None:
        self.made(tmp_path)
        folder = tmp_path / "secrets"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        self.made(tmp_path)
        before = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
        (tmp_path / "secrets" / "migrate_url").unlink()
        done = self.made(tmp_path)
        after = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
        assert {name for name in before if before[name] != after[name]} == {"migrate_url"}
        assert "kept  secrets/secret_keys" in done.stdout

    def test_the_product_takes_them_as_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from recado.db.secrets import load_keyring

        self.made(tmp_path, "db.internal:6432")
        for name in ("database_url", "platform_url", "migrate_url", "secret_keys"):
            monkeypatch.setenv(PREFIX + name.upper(), f"file:{tmp_path}/secrets/{name}")
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        assert len(load_keyring(settings).ids) == 1
        assert settings.migrate_url is not None
        assert re.fullmatch(
            r"postgresql://recado_owner:[0-9a-f]{48}@db\.internal:6432/recado", settings.migrate_url.get_secret_value()
        )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_scripts_can_be_executed_and_their_shell_finds_no_fault() -> None:
    for path in ("make-secrets.sh", "compose/logins.sh", "locks/renew"):
        assert os.access(DEPLOY / path, os.X_OK), path
        shell = "bash" if path.endswith("logins.sh") else "sh"
        assert subprocess.run([shell, "-n", DEPLOY / path], check=False).returncode == 0
