"""References to secrets: read where they are kept, off the loop, and never guessed when the source fails."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recado.errors import SecretError, UsageError
from recado.references import References, check


@dataclass(slots=True)
class FakeVault:
    """Vault's KV version 2 API over HTTP, as far as reading goes."""

    url: str = ""
    token: str = "vault-login"
    secrets: dict[str, dict[str, object]] = field(default_factory=dict)
    status: int | None = None
    reads: list[str] = field(default_factory=list)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    fake = FakeVault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.reads.append(self.path)
            found = fake.secrets.get(self.path)
            status = fake.status or (200 if found is not None else 404)
            if self.headers.get("X-Vault-Token") != fake.token:
                status = 403
            answer = {"data": {"data": found, "metadata": {"version": 1}}} if status == 200 else {"errors": ["no"]}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("VAULT_ADDR", fake.url)
    monkeypatch.setenv("VAULT_TOKEN", fake.token)
    yield fake
    server.shutdown()
    server.server_close()


async def test_a_variable_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_TOKEN_OF_TESTS", "from-env")
    assert await References().resolve("env:TWILIO_TOKEN_OF_TESTS") == "from-env"
    with pytest.raises(SecretError, match="env:NO_SUCH: the variable is not set"):
        await References().resolve("env:NO_SUCH")


async def test_a_file_is_read_without_the_line_end_that_editors_add(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert await References().resolve(f"file:{tmp_path}/token") == "from-file"
    with pytest.raises(SecretError, match="No such file"):
        await References().resolve(f"file:{tmp_path}/other")


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"caf\xc3\xa9", b"\xff", b"x" * 5000])
async def test_what_can_be_no_token_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretError) as refused:
        await References().resolve(f"file:{tmp_path}/token")
    assert "lines" not in str(refused.value)


async def test_a_field_is_read_from_vaults_key_value_store(vault: FakeVault) -> None:
    vault.secrets["/v1/secret/data/recado/padaria"] = {"auth_token": "from-vault"}
    assert await References().resolve("vault:secret/recado/padaria#auth_token") == "from-vault"
    with pytest.raises(SecretError, match="no such field"):
        await References().resolve("vault:secret/recado/padaria#other")


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
async def test_a_vault_that_refuses_is_told_by_the_reference_and_nothing_of_its_answer(
    vault: FakeVault, status: int
) -> None:
    vault.status = status
    with pytest.raises(SecretError, match="vault:secret/x#y: Vault did not give it"):
        await References().resolve("vault:secret/x#y")


async def test_a_vault_that_is_away_is_an_error_of_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    with pytest.raises(SecretError, match="Vault did not give it"):
        await References().resolve("vault:secret/x#y")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(SecretError, match="VAULT_ADDR"):
        await References().resolve("vault:secret/x#y")


async def test_a_secret_is_asked_for_once_by_all_who_want_it_and_again_after_a_while(vault: FakeVault) -> None:
    place = "/v1/secret/data/x"
    vault.secrets[place] = {"y": "one"}
    references = References(keep_s=0.2)
    assert set(await asyncio.gather(*(references.resolve("vault:secret/x#y") for _ in range(20)))) == {"one"}
    assert await references.resolve("vault:secret/x#y") == "one"
    assert vault.reads == [place]
    vault.secrets[place] = {"y": "two"}
    await asyncio.sleep(0.25)
    assert await references.resolve("vault:secret/x#y") == "two"


async def test_the_loop_runs_on_while_a_source_is_slow() -> None:
    class Slow:
        def read(self, place: str) -> str:
            threading.Event().wait(0.3)
            return "late"

    asked = asyncio.create_task(References({"slow": Slow()}).resolve("slow:x"))
    ticks = 0
    while not asked.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert asked.result() == "late"
    assert ticks > 5


@pytest.mark.parametrize(
    "reference",
    ["", "token", "env:", "env:A B", "env:RECADO_SECRET_KEYS", "file:relative", "file:/a\nb", "vault:x#y", "http://x"],
)
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="a reference is"):
        check(reference)


@pytest.mark.parametrize("reference", ["env:PADARIA", "file:/run/secrets/x", "vault:secret/a/b-c#auth_token"])
def test_the_three_forms_are_references(reference: str) -> None:
    assert check(reference) == reference
