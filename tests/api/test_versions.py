"""Users and owners, which two administrators may edit at once: a change is made on the version that was read."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import httpx2
import psycopg
import pytest

from recado.identity import plans
from tests.api.browsers import OURS, Browser, join
from tests.api.programs import Office

Change = dict[str, Any]
OF_USER: list[Change] = [
    {"name": "Ana Lima"},
    {"role": "operator"},
    {"status": "disabled"},
    {"name": "A", "role": "admin"},
]
OF_OWNER: list[Change] = [{"name": "Outra"}, {"status": "suspended"}, {"plan": "small"}, {"name": "B", "plan": "small"}]


async def patch(browser: Browser, path: str, given: Change, version: str | None) -> httpx2.Response:
    named = {} if version is None else {"If-Match": version}
    return await browser.ask("PATCH", path, json=given, headers=OURS | named)


async def at_once(office: Office, table: str, row_id: str, asked: list[Any]) -> list[httpx2.Response]:
    """The answers to requests that all wait for the same row before any of them may go on."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(office.front.database_url) as conn:
        conn.execute(f"SELECT FROM recado.{table} WHERE id = %s FOR UPDATE", [row_id])
        tasks = [asyncio.create_task(request) for request in asked]
        async with asyncio.timeout(20):
            while len(office.front.rows(waiting)) < len(tasks):
                await asyncio.sleep(0.02)
        conn.rollback()
    return await asyncio.gather(*tasks)


async def check_one_wins(
    office: Office, reader: Browser, path: str, table: str, asked: list[tuple[Browser, str, Change]]
) -> None:
    """Of two changes of one version one is made, and of the other nothing is stored."""
    found = await reader.ask("GET", path)
    read = found.headers["ETag"]
    before = len(office.front.rows("SELECT FROM audit"))
    answers = await at_once(
        office, table, found.json()["id"], [patch(browser, where, given, read) for browser, where, given in asked]
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412], [answer.text for answer in answers]
    won, lost = sorted(answers, key=lambda answer: answer.status_code)
    [given] = [given for (_, _, given), answer in zip(asked, answers, strict=True) if answer is won]
    now = await reader.ask("GET", path)
    assert now.json() == won.json()
    assert now.headers["ETag"] == won.headers["ETag"] == lost.headers["ETag"] == f'"{won.json()["version"]}"' != read
    assert {name: now.json()[name] for name in given} == given
    assert len(office.front.rows("SELECT FROM audit")) == before + len(given)


@pytest.mark.parametrize("two", list(combinations(OF_USER, 2)))
async def test_of_two_changes_of_a_user_at_once_one_is_made_and_the_other_stores_nothing(
    office: Office, two: tuple[Change, Change]
) -> None:
    admin, eva = (await join(office.front, "admin")).browser, (await join(office.front, "admin")).browser
    path = f"/v1/users/{office.ids['user_id']}"
    asked = list(zip((admin, eva), (path, path), two, strict=True))
    await check_one_wins(office, admin, path, "users", asked)


@pytest.mark.parametrize("two", list(combinations(OF_OWNER, 2)))
async def test_of_two_changes_of_an_owner_at_once_one_is_made_and_the_other_stores_nothing(
    office: Office, two: tuple[Change, Change]
) -> None:
    root, other = [(await join(office.front, "admin", platform=True)).browser for _ in range(2)]
    async with await office.front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", messages=100)
    path = f"/v1/owners/{office.front.owner_id}"
    await check_one_wins(office, root, path, "owners", list(zip((root, other), (path, path), two, strict=True)))


async def test_a_change_needs_the_version_that_was_read_and_only_a_change_makes_another(office: Office) -> None:
    root, admin = (
        (await join(office.front, "admin", platform=True)).browser,
        (await join(office.front, "admin")).browser,
    )
    owner = f"/v1/owners/{office.front.owner_id}"
    for asker, path, givens in (
        (admin, f"/v1/users/{office.ids['user_id']}", OF_USER),
        (root, owner, [{"name": "Nova"}, {"status": "suspended"}, {"status": "active", "name": "Velha"}]),
    ):
        for given in givens:
            before = await asker.ask("GET", path)
            read = before.headers["ETag"]
            assert read == f'"{before.json()["version"]}"'
            blind, stale = await patch(asker, path, given, None), await patch(asker, path, given, '"0"')
            assert (blind.status_code, stale.status_code, stale.headers["ETag"]) == (428, 412, read)
            assert (await asker.get(path)) == before.json()
            changed = await patch(asker, path, given, read)
            assert changed.status_code == 200, changed.text
            assert changed.json()["version"] > before.json()["version"]
            same = await patch(asker, path, given, changed.headers["ETag"])
            assert (same.status_code, same.headers["ETag"], same.json()) == (
                200,
                f'"{changed.json()["version"]}"',
                changed.json(),
            )


async def test_a_refused_change_is_no_new_version(office: Office) -> None:
    root, last = (await join(office.front, "admin", platform=True)).browser, await join(office.front, "admin")
    owner, user = f"/v1/owners/{office.front.owner_id}", f"/v1/users/{last.user.id}"
    for asker, path, given, status in (
        (root, owner, {"name": "Outra", "plan": "huge"}, 422),
        (last.browser, user, {"name": "Eva", "status": "disabled"}, 409),
    ):
        before = await asker.ask("GET", path)
        assert (await patch(asker, path, given, before.headers["ETag"])).status_code == status
        assert (await asker.ask("GET", path)).json() == before.json()
