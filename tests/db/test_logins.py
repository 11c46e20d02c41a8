"""Who the product connects as: one login sees one owner at a time, another goes across owners."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from recado.db.embedded import Lease
from recado.db.pool import connect, conninfo
from recado.errors import SettingsError
from recado.ops.doctor import Finding, examine
from recado.settings import Settings
from recado.wiring import LOGIN, PLATFORM_LOGIN, database, wire
from tests.db.logins import at_home, external, migrated


@pytest.fixture
def settings(cluster: Lease, template: str) -> Iterator[Settings]:
    with external(cluster) as made:
        yield made


def one_login(settings: Settings) -> Settings:
    return settings.model_copy(update={"platform_url": None})


async def role(settings: Settings) -> Finding:
    """What `recado doctor` says of the logins."""
    with database(settings) as there:
        async with (
            await connect(there.platform_url, "recado_platform") as platform,
            await connect(there.url, "recado_app") as app,
        ):
            [found] = [finding for finding in await examine(platform, app, None) if finding.name == "role"]
            return found


async def test_one_login_does_everything_and_the_doctor_says_what_to_set(settings: Settings) -> None:
    migrated(one_login(settings))
    async with wire(one_login(settings)) as wiring, await wiring.connect("recado_platform") as conn:
        assert await (await conn.execute("SELECT FROM owners")).fetchall() == []
    found = await role(one_login(settings))
    assert (found.state, "across owners" in found.text) == ("warn", True)
    assert found.fix is not None
    assert "RECADO_PLATFORM_URL" in found.fix
    migrated(settings)
    assert (await role(settings)).state == "ok"


async def test_once_the_logins_are_apart_a_process_without_the_second_is_told_which_variable(
    settings: Settings,
) -> None:
    migrated(settings)
    async with wire(one_login(settings)) as wiring:
        with pytest.raises(SettingsError, match="RECADO_PLATFORM_URL"):
            await wiring.connect("recado_platform")


@pytest.fixture
def home() -> Iterator[Settings]:
    with at_home() as made:
        yield made


def test_a_home_that_had_one_login_for_everything_comes_up_with_two(home: Settings) -> None:
    passwords = home.home / "postgres.json"
    with database(home) as there, psycopg.connect(there.admin_url, autocommit=True) as conn:
        conn.execute("INSERT INTO recado.owners (id, name) VALUES (gen_random_uuid(), 'Padaria')")
        conn.execute(f"GRANT recado_platform, recado_engine TO {LOGIN}")
        conn.execute(f"DROP ROLE {PLATFORM_LOGIN}")
        kept = json.loads(passwords.read_text())
        del kept["passwords"][PLATFORM_LOGIN]
        passwords.write_text(json.dumps(kept))
    with database(home) as there:
        with psycopg.connect(conninfo(there.platform_url, "recado_platform")) as conn:
            assert conn.execute("SELECT name FROM owners").fetchall() == [("Padaria",)]
        with (
            psycopg.connect(conninfo(there.url, "recado_app")) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("SET ROLE recado_platform")
    assert len(set(json.loads(passwords.read_text())["passwords"].values())) == 3
