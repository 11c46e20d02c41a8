"""Contacts by the API: their language, which people may say, one of two who read the same."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.api.programs import Office


async def change(office: Office, version: int, **given: Any) -> httpx2.Response:
    return await office.admin.ask(
        "PATCH", f"/v1/contacts/{office.ids['contact_id']}", json=given, headers={"If-Match": f'"{version}"'}
    )


async def test_people_say_a_contacts_language_and_take_it_back(office: Office) -> None:
    path = f"/v1/contacts/{office.ids['contact_id']}"
    before = await office.admin.get(path)
    assert (before["language"], before["language_why"], before["version"]) == (None, None, 1)
    answer = await change(office, 1, language="en")
    assert answer.headers["ETag"] == '"2"'
    assert answer.json() == before | {"language": "en", "language_why": "people", "version": 2}
    read = await office.admin.ask("GET", path)
    assert (read.json(), read.headers["ETag"]) == (answer.json(), '"2"')
    assert (await office.admin.get("/v1/contacts"))["items"] == [read.json()]
    assert (await change(office, 2, language="en")).json()["version"] == 2
    assert (await change(office, 2, language=None)).json() == before | {"version": 3}
    audited = (await office.admin.get("/v1/audit"))["items"]
    assert [item["data"] for item in audited if item["action"] == "set_language"] == [
        {"language": None},
        {"language": "en"},
    ]


async def test_of_two_who_read_the_same_one_changes_it(office: Office) -> None:
    assert (await change(office, 1, language="en")).status_code == 200
    answer = await change(office, 1, language="es")
    assert (answer.status_code, answer.headers["ETag"]) == (412, '"2"')


@pytest.mark.parametrize("given", [{}, {"language": "english"}, {"language": "PT"}, {"language": ""}, {"name": "Ana"}])
async def test_what_is_no_language_is_refused(office: Office, given: dict[str, Any]) -> None:
    assert (await change(office, 1, **given)).status_code == 422


async def test_who_only_reads_changes_no_contact(office: Office) -> None:
    reader = await office.program("read")
    answer = await reader.ask(
        "PATCH", f"/v1/contacts/{office.ids['contact_id']}", json={"language": "en"}, headers={"If-Match": '"1"'}
    )
    assert answer.status_code == 403
