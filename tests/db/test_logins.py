"""Who the product connects as: one login sees one owner at a time, another goes across owners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recado.db.embedded import Lease
from recado.db.pool import connect
from recado.errors import SettingsError
from recado.ops.doctor import examine
from recado.ops.finding import Finding
from recado.settings import Settings
from recado.wiring import database, wire
from tests.db.logins import external, migrated


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
