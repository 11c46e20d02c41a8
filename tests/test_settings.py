"""Settings: a wrong value stops the start, names its variable, and is never shown."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from pydantic import SecretStr

from recado.errors import SettingsError
from recado.settings import PREFIX, Settings, load

CANARY = "zq" + secrets.token_hex(6)
WRONG = {
    "DATABASE_URL": f"mysql://user:{CANARY}@host/db",
    "MIGRATE_URL": f"sqlite:///{CANARY}",
    "PLATFORM_URL": f"mysql://{CANARY}@host/db",
    "PUBLIC_URL": f"ftp://{CANARY}.example.com",
    "TRUSTED_PROXIES": f"10.0.0.0/8, {CANARY}",
    "WEBHOOK_NETWORKS": f"10.0.0.0/8, {CANARY}",
    "TIME_ZONE": f"Mars/{CANARY}",
    "MODEL_TIMEOUT_S": CANARY,
    "TWILIO_API_URL": f"https://user:{CANARY}@api.example.com",
    "TWILIO_CONTENT_URL": f"https://api.example.com/?token={CANARY}",
    "TWILIO_MESSAGING_URL": f"https://api.example.com/?token={CANARY}",
    "QUIET_WINDOW_MS": f"12{CANARY}",
    "RATE_LIMIT_STORAGE": f"memcached://{CANARY}",
    "LIMITS": f"contact=30/{CANARY}",
    "SPLIT_CHARS": "1601",
    "TURNS_AT_ONCE": "0",
    "TURNS_PER_HOUR": "-1",
    "DELIVERIES_AT_ONCE": "-1",
    "MEDIA_URL": f"s3://key:{CANARY}@bucket/media",
    "MEDIA_MAX_MB": "0",
    "MEDIA_AT_ONCE": "0",
    "TRANSCRIBER": f"whisper:{CANARY}",
    "TRANSCRIBER_THREADS": "0",
    "LONGEST_NOTE_S": "-1",
    "METRICS_PORT": "65536",
    "METRICS_HOST": f"{CANARY}.example.com",
    "LOG_FORMAT": CANARY,
    "LOG_LEVEL": CANARY,
}
#: Any text is a value of these; whether it works is said where it is used.
FREE = {"HOME", "MODEL", "SECRET_KEYS"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_setting_that_can_be_wrong_is_tried_here() -> None:
    assert {name.upper() for name in Settings.model_fields} == WRONG.keys() | FREE


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_names_its_variable_and_is_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name, WRONG[name])
    with pytest.raises(SettingsError) as refused:
        load()
    said = str(refused.value)
    assert said.startswith(f"{PREFIX}{name}: ")
    assert len(said) > len(name) + 12, "it says what is allowed"
    assert CANARY not in said
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_all_wrong_values_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECADO_LOG_LEVEL", "loud")
    monkeypatch.setenv("RECADO_SPLIT_CHARS", "many")
    with pytest.raises(SettingsError) as refused:
        load()
    assert {part.split(":")[0] for part in str(refused.value).split("; ")} == {
        "RECADO_LOG_LEVEL",
        "RECADO_SPLIT_CHARS",
    }


def test_every_setting_has_a_default_so_that_it_starts_without_any() -> None:
    assert not any(field.is_required() for field in Settings.model_fields.values())
    assert load().database_url is None


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description and field.description.endswith((".", "?")) for field in Settings.model_fields.values())


def test_secrets_are_not_in_the_settings_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECADO_DATABASE_URL", f"postgresql://user:{CANARY}@host/db")
    monkeypatch.setenv("RECADO_MIGRATE_URL", f"postgresql://admin:{CANARY}@host/db")
    monkeypatch.setenv("RECADO_PLATFORM_URL", f"postgresql://across:{CANARY}@host/db")
    monkeypatch.setenv("RECADO_SECRET_KEYS", CANARY)
    made = load()
    assert CANARY not in repr(made) + str(made) + str(made.model_dump()) + made.model_dump_json()
    assert isinstance(made.database_url, SecretStr)
    assert CANARY in made.database_url.get_secret_value()


def test_settings_can_not_be_changed_after_the_start() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().split_chars = 20  # type: ignore[misc]


def test_arguments_win_over_the_environment_which_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RECADO_SPLIT_CHARS=100\nRECADO_QUIET_WINDOW_MS=100\nRECADO_LOG_LEVEL=ERROR\n")
    monkeypatch.setenv("RECADO_SPLIT_CHARS", "200")
    monkeypatch.setenv("RECADO_QUIET_WINDOW_MS", "200")
    made = load(quiet_window_ms=300)
    assert (made.log_level, made.split_chars, made.quiet_window_ms) == ("ERROR", 200, 300)


def test_proxies_are_networks_and_an_address_is_a_network_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECADO_TRUSTED_PROXIES", " 10.0.0.0/8,192.0.2.7 ,::1, ")
    assert [str(network) for network in load().trusted_proxies] == ["10.0.0.0/8", "192.0.2.7/32", "::1/128"]


@pytest.mark.parametrize("given", ["https://hooks.example.com", "https://hooks.example.com/"])
def test_a_public_url_has_no_slash_at_its_end(given: str) -> None:
    assert load(public_url=given).public_url == "https://hooks.example.com"


def test_nothing_opens_the_door_without_a_signature() -> None:
    words = ("bypass", "insecure", "debug", "development", "environment", "skip", "disable", "auth")
    assert not [name for name in Settings.model_fields if any(word in name for word in words)]
