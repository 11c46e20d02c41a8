"""No secret in clear: not in a dump of the database, not in a log line at DEBUG."""

from __future__ import annotations

import logging

import psycopg
import pytest

from recado.channels.twilio import accounts
from recado.channels.twilio.accounts import Secret
from recado.db.scope import scoped
from recado.identity import keys
from tests.conftest import SECRET_KEYS
from tests.product import Company, Product


def dump(url: str) -> bytes:
    """Every row of every table of the product and of the workflow engine."""
    content = bytearray()
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('recado', 'dbos')"
        ).fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            with conn.cursor().copy(f"COPY {table} TO STDOUT") as copy:
                for block in copy:
                    content += block
    return bytes(content)


def test_a_dump_and_all_logs_of_a_journey_hold_no_secret_in_clear(
    product: Product, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    company = product.company()
    key, secondary, api_secret = with_every_secret(product, company)
    contact = company.contact()
    contact.says("Que horas vocês abrem?")
    contact.settled(1, status="failed" if api_secret is None else "delivered")
    stored = dump(product.database_url)
    shown = capfd.readouterr()
    logged = caplog.text + shown.out + shown.err + "".join(str(vars(record)) for record in caplog.records)
    assert company.account_sid.encode() in stored, "the dump holds the owner's rows"
    assert str(company.owner_id) in logged, "the log tells of the owner's messages"
    for secret in (company.token, secondary, key, api_secret or key, SECRET_KEYS):
        for form in (secret, secret.encode().hex()):
            assert form.encode() not in stored
            assert form not in logged


def with_every_secret(product: Product, company: Company) -> tuple[str, str, str | None]:
    """Give the company a key of each kind: recado's, a second token, and a Twilio API key that sends."""
    from recado.simulator.client import SimulatorClient

    wiring = product.wiring
    assert wiring is not None
    sid, api_secret, secondary = "SK" + "7" * 32, "s3cret-of-the-api-key", "s3cret-second-token"

    async def work() -> str:
        async with SimulatorClient(product.simulator_url) as client:
            await client.add_account(company.account_sid, [company.token, secondary], api_keys={sid: api_secret})
        async with scoped(wiring.pool, company.owner_id) as scope:
            given = {"account_sid": company.account_sid}
            await accounts.rotate_token(scope, wiring.keyring, auth_token=secondary, **given)
            await accounts.set_api_key(scope, wiring.keyring, key_sid=sid, secret=Secret(api_secret), **given)
            return (await keys.make(scope, name="k", scopes=["webhooks"]))[1]

    return product.call(work), secondary, api_secret
