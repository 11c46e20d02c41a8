"""Secrets in files: every secret setting and every library's key may be `file:/path`, and none is ever shown."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from recado import secretfiles
from recado.errors import SettingsError
from recado.settings import PREFIX, Settings, load

CANARY = "zq" + secrets.token_hex(6)
#: A right value of each secret setting that is read from a file at the start.
RIGHT = {
    "database_url": f"postgresql://recado:{CANARY}@db/recado",
    "platform_url": f"postgresql://across:{CANARY}@db/recado",
    "migrate_url": f"postgresql://owner:{CANARY}@db/recado",
    "rate_limit_storage": f"rediss://:{CANARY}@limits:6379/0",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_secret_setting_may_be_in_a_file() -> None:
    # The keys' file is read by the keyring, which looks at it again.
    assert RIGHT.keys() | {"secret_keys"} == Settings.in_files() | {"secret_keys"}
    assert {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)} == (
        RIGHT.keys() | {"secret_keys"}
    )


@pytest.mark.parametrize("name", RIGHT)
def test_a_secret_setting_is_read_from_its_file_without_the_line_end_that_editors_add(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text(f" {RIGHT[name]}\r\n")
    monkeypatch.setenv(PREFIX + name.upper(), f" file:{path} ")
    settings = load()
    value = getattr(settings, name)
    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == RIGHT[name]
    assert CANARY not in repr(settings)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_in_a_file_must_be_as_right_as_what_is_given_and_is_not_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text(f"memcached://{CANARY}")
    monkeypatch.setenv(PREFIX + name.upper(), f"file:{path}")
    with pytest.raises(SettingsError, match=PREFIX + name.upper()) as refused:
        load()
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file or directory"), (b" \n", "empty"), (b"\xff\xfe\x00", "UTF-8")]
)
def test_a_secrets_file_that_says_nothing_stops_the_start_and_is_named(
    name: str, content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An empty RECADO_DATABASE_URL would otherwise start the embedded database, as if nothing had been set.
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(PREFIX + name.upper(), f"file:{path}")
    with pytest.raises(SettingsError) as refused:
        load()
    assert PREFIX + name.upper() in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize("name", ["model", "media_url", "public_url", "home"])
def test_what_is_no_secret_is_read_from_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text(f"https://{CANARY}.example.com")
    monkeypatch.setenv(PREFIX + name.upper(), f"file:{path}")
    said = ""
    with suppress(SettingsError):
        said = str(load())
    assert CANARY not in said


@pytest.mark.parametrize("path", ["", "relative", "./x", "~/x"])
def test_a_path_that_depends_on_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        secretfiles.read(path)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer than"):
        secretfiles.read("/dev/zero")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ValueError, match="directory"):
        secretfiles.read(str(folder))


@given(st.text(max_size=40))
def test_whatever_is_no_file_is_one_line_that_says_so(path: str) -> None:
    with pytest.raises(ValueError, match="file:"):
        secretfiles.read("/nowhere-" + path)


LIBRARIES = [
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "HF_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "VAULT_TOKEN", "PADARIA_TOKEN"),
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_librarys_secret_is_put_where_the_library_looks(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{CANARY}\n")
    environment = {name: f"file:{path}", "PATH": "file:/bin"}
    secretfiles.put_in(environment)
    assert environment == {name: CANARY, "PATH": "file:/bin"}


def test_a_librarys_secret_that_is_given_as_it_is_stays_and_an_empty_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    environment = {"OPENAI_API_KEY": CANARY, "GROQ_API_KEY": f"file:{tmp_path}/empty", "RECADO_X_TOKEN": "file:/x"}
    secretfiles.put_in(environment)
    assert environment == {"OPENAI_API_KEY": CANARY, "RECADO_X_TOKEN": "file:/x"}


def test_a_librarys_file_that_is_not_there_stops_the_start_with_the_variables_name() -> None:
    with pytest.raises(SettingsError, match=r"^VAULT_TOKEN: file:/nowhere/token: No such file"):
        secretfiles.put_in({"VAULT_TOKEN": "file:/nowhere/token"})
