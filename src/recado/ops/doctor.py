"""What stands in the way of the product's promises, and what to do about each.

Every check is a function that gives lines; none changes anything, and one that breaks does not stop the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from recado.channels.twilio.signature import canonical_url
from recado.db.pool import Connection
from recado.db.secrets import Keyring
from recado.errors import SettingsError
from recado.ops.checks import installation, owners
from recado.ops.finding import Finding, answered, fail, ok, warn
from recado.settings import Settings

#: Where Twilio posts what contacts write; the fragment tells Twilio to try again (it is not part of the signature).
INBOUND_PATH = "/channels/twilio/v1/webhooks/inbound"
RETRY_FRAGMENT = "#rc=3&rp=ct,rt,5xx"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
Look = Callable[[Connection], Awaitable[list[Finding]]]


async def examine(platform: Connection, app: Connection, keyring: Keyring | None) -> list[Finding]:
    """All that the database can tell, in the order in which it should be put right.

    `app` is a connection of the application's, for what its login may do; all else is asked on `platform`.
    """
    findings = await installation.schema(platform)
    if any(finding.state == "fail" for finding in findings):
        return findings

    async def secrets(conn: Connection) -> list[Finding]:
        return await owners.secrets(conn, keyring)

    async def role(_: Connection) -> list[Finding]:
        return await installation.role(app)

    looks: Sequence[tuple[str, Look]] = (
        ("role", role),
        ("workers", installation.workers),
        ("release", installation.releases),
        ("backlog", installation.backlog),
        ("accounts", secrets),
        ("restore", installation.restored),
        ("numbers", owners.numbers),
        ("channels", owners.channels),
        ("conversations", owners.attention),
        ("failed", owners.unanswered),
        ("turns", owners.broken),
        ("webhooks", owners.webhooks),
        ("jobs", installation.jobs),
        ("erasures", owners.erasures),
    )
    for name, look in looks:
        try:
            findings += await look(platform)
        except Exception as error:
            findings.append(fail(name, f"could not be checked: {type(error).__name__}", "run it again; then the logs"))
    return findings


def examine_settings(settings: Settings) -> list[Finding]:
    """What the settings alone can tell: the public URL, and the address to give Twilio."""
    if settings.public_url is None:
        fix = "set RECADO_PUBLIC_URL to the https:// address that Twilio calls"
        if settings.trusted_proxies:
            text = "RECADO_PUBLIC_URL is not set: signatures hold by the proxies' headers, but no status comes back"
            return [warn("public url", text, fix)]
        text = "RECADO_PUBLIC_URL is not set: only calls by plain http that no proxy changed hold, no status comes back"
        return [fail("public url", text, fix)]
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    if "_" in host:
        text = f"{host} has an underscore: Twilio refuses such a host in status callbacks"
        return [fail("public url", text, "use a host name without underscore")]
    # As the webhooks' door writes it before it checks the signature over it.
    checked = canonical_url({"raw_path": INBOUND_PATH.encode()}, public_url=settings.public_url)
    paste = f"{checked}{RETRY_FRAGMENT}"
    webhook = ok("webhook", f"Twilio's webhook for incoming messages (POST): {paste}")
    if parts.scheme != "https" and host not in LOOPBACK:
        text = f"{settings.public_url} is not https: messages travel in clear"
        return [warn("public url", text, "put it behind TLS and set RECADO_PUBLIC_URL to https://..."), webhook]
    if host in LOOPBACK and settings.twilio_api_url is None:
        text = f"{settings.public_url} is this machine only: Twilio can't call it"
        return [warn("public url", text, "set RECADO_PUBLIC_URL to the address that Twilio calls"), webhook]
    return [ok("public url", settings.public_url), webhook]


def examine_models(models: Sequence[str], check: Callable[[str], None]) -> list[Finding]:
    """Whether each model can be made here; without any the keyless assistant answers."""
    if not models:
        return [ok("model", "none is set: the keyless assistant answers from the knowledge")]
    findings = []
    for model in models:
        try:
            check(model)
            findings.append(ok("model", f"{model} can be used here"))
        except SettingsError as error:
            findings.append(fail("model", str(error), "set it, or take another model: the keyless assistant answers"))
    return findings


async def models_in_use(platform: Connection, default: str | None) -> list[str]:
    """The models that assistants name, after the one of RECADO_MODEL."""
    rows = await answered(platform, "SELECT DISTINCT model FROM assistants WHERE model IS NOT NULL ORDER BY model")
    return list(dict.fromkeys([*([default] if default else []), *(row["model"] for row in rows)]))
