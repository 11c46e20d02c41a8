"""References: where a secret is kept, instead of the secret: `env:NAME`, `file:/path`, `vault:mount/path#field`.

A reference is no secret; what it stands for is read when it is needed, kept in memory for half a minute and stored
nowhere. Reading may block, so it happens in a thread.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from recado.errors import SecretError, UsageError

log = structlog.get_logger(__name__)

KEEP_S = 30.0
#: A source that fails is asked again after this, not by every message.
FAILED_S = 2.0
VAULT_TIMEOUT_S = 3.0
_MAX_CHARS = 4096

_FORMS = {
    # The product's own settings are nobody's auth token.
    "env": re.compile(r"(?!RECADO_)[A-Za-z_][A-Za-z0-9_]{0,127}"),
    "file": re.compile(r"/[^\0\r\n]{1,500}"),
    "vault": re.compile(r"(?P<mount>[\w.-]+)/(?P<path>[\w.-]+(?:/[\w.-]+)*)#(?P<field>[\w.-]+)"),
}


class SecretSource(Protocol):
    """Somewhere that keeps secrets."""

    def read(self, place: str) -> str:
        """The secret at that place, which has the form of its scheme; may block, for a few seconds at most.

        Raises SecretError, with a text for the owner that does not hold the secret.
        """
        ...


class Environment:
    """`env:NAME`: a variable of this process."""

    def read(self, place: str) -> str:
        """The variable's value."""
        try:
            return os.environ[place]
        except KeyError:
            raise SecretError(f"env:{place}: the variable is not set in this process") from None


class Files:
    """`file:/path`: a file of this machine, as container platforms mount secrets."""

    def read(self, place: str) -> str:
        """The file's text, without the line end that editors add."""
        try:
            with Path(place).open(encoding="utf-8") as file:
                return file.read(_MAX_CHARS + 1).strip()
        except OSError as error:
            raise SecretError(f"file:{place}: {error.strerror or type(error).__name__}") from None
        except UnicodeDecodeError:
            raise SecretError(f"file:{place}: not UTF-8 text") from None


class Vault:
    """`vault:mount/path#field`: HashiCorp Vault's key-value store, version 2.

    Server and login come from Vault's own variables: VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT.
    """

    def read(self, place: str) -> str:
        """The field of the secret's newest version."""
        try:
            import hvac
            import requests
        except ImportError:
            raise SecretError("vault: is not installed here: pip install 'recado[vault]'") from None
        match = _FORMS["vault"].fullmatch(place)
        assert match is not None  # noqa: S101 - `check` has seen it
        if "VAULT_ADDR" not in os.environ:
            raise SecretError("vault: VAULT_ADDR is not set in this process")
        try:
            client = hvac.Client(timeout=VAULT_TIMEOUT_S, namespace=os.environ.get("VAULT_NAMESPACE"))
            try:
                answer = client.secrets.kv.v2.read_secret_version(
                    path=match["path"], mount_point=match["mount"], raise_on_deleted_version=True
                )
            finally:
                client.adapter.close()
            value = answer["data"]["data"].get(match["field"])
        except (hvac.exceptions.VaultError, requests.RequestException, KeyError, TypeError, AttributeError) as error:
            # The errors' own texts quote what Vault answered.
            raise SecretError(f"vault:{place}: Vault did not give it ({type(error).__name__})") from None
        if not isinstance(value, str):
            raise SecretError(f"vault:{place}: the secret has no such field, or it is no text")
        return value


SOURCES: Mapping[str, SecretSource] = {"env": Environment(), "file": Files(), "vault": Vault()}


def check(reference: str) -> str:
    """The reference itself, when it has the form of one. Raises UsageError."""
    scheme, _, place = reference.partition(":")
    if scheme not in _FORMS or not _FORMS[scheme].fullmatch(place):
        raise UsageError("a reference is env:NAME (not RECADO_...), file:/absolute/path, or vault:mount/path#field")
    return reference


@dataclass(slots=True)
class References:
    """Resolves references off the loop, each asked for once at a time and remembered for a short while."""

    sources: Mapping[str, SecretSource] = field(default_factory=lambda: SOURCES)
    keep_s: float = KEEP_S
    _kept: dict[str, tuple[float, str | SecretError]] = field(default_factory=dict, repr=False)
    _asking: dict[str, asyncio.Task[str | SecretError]] = field(default_factory=dict, repr=False)

    async def resolve(self, reference: str) -> str:
        """The secret. Raises SecretError when its source does not give it now."""
        kept = self._kept.get(reference)
        if kept is not None and kept[0] > time.monotonic():
            return _given(kept[1])
        asking = self._asking.get(reference)
        if asking is None:
            asking = self._asking[reference] = asyncio.create_task(self._ask(reference))
        # One caller that leaves must not take the answer from the others.
        return _given(await asyncio.shield(asking))

    async def _ask(self, reference: str) -> str | SecretError:
        outcome: str | SecretError
        try:
            outcome = await asyncio.to_thread(self._read, reference)
        except SecretError as error:
            outcome = error
            log.warning("secret_source_failed", source=reference.partition(":")[0], error=str(error))
        finally:
            del self._asking[reference]
        keep_s = FAILED_S if isinstance(outcome, SecretError) else self.keep_s
        self._kept[reference] = (time.monotonic() + keep_s, outcome)
        return outcome

    def _read(self, reference: str) -> str:
        scheme, _, place = reference.partition(":")
        source = self.sources.get(scheme)
        if source is None:
            raise SecretError(f"{scheme}: no such source of secrets")
        secret = source.read(place)
        if not secret or len(secret) > _MAX_CHARS or not secret.isascii() or not secret.isprintable():
            raise SecretError(f"{reference}: what is there is no token: one line of printable ASCII")
        return secret


def _given(outcome: str | SecretError) -> str:
    if isinstance(outcome, SecretError):
        # A new one each time: an error that is raised again and again grows a traceback.
        raise SecretError(str(outcome))
    return outcome
