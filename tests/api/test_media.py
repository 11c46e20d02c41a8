"""Attachments over HTTP: uploading one, its link, and what the link serves to whom."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx2
import pytest

from recado.api import media as uploading
from recado.identity import plans
from recado.media import links
from recado.media.storage import key_of
from tests.api.browsers import join
from tests.api.programs import JPEG, Office, Program

PDF = b"%PDF-1.7\n%\xe2\xe3\n" + b"1 0 obj\n" * 400


async def upload(office: Office, content: bytes = JPEG, **headers: str) -> Any:
    answer = await office.admin.ask("POST", "/v1/media", content=content, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def link_of(office: Office, media_id: str) -> str:
    made = await office.admin.get(f"/v1/media/{media_id}/link")
    return urlsplit(made["url"]).path


async def open_link(office: Office, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return await Program(office.front, None).ask(method, path, headers=headers)


def kept(office: Office) -> list[Path]:
    return [path for path in (office.front.wiring.settings.home / "media").rglob("*") if path.is_file()]


async def test_an_uploaded_file_is_stored_whole_under_its_owner_and_described(office: Office) -> None:
    made = await upload(office, PDF, **{"Content-Disposition": "attachment; filename*=UTF-8''card%C3%A1pio.pdf"})
    assert (made["status"], made["content_type"], made["size_bytes"]) == ("stored", "application/pdf", len(PDF))
    assert made["file_name"] == "cardápio.pdf"
    assert await office.admin.get(f"/v1/media/{made['id']}") == made
    place = office.front.wiring.settings.home / "media" / key_of(office.front.owner_id, UUID(made["id"]))
    assert place.read_bytes() == PDF
    [entry] = office.front.rows("SELECT action FROM audit WHERE thing_id = %s", made["id"])
    assert entry["action"] == "upload"


REFUSED = [
    (b"<!DOCTYPE html><script>alert(1)</script>", "image/jpeg"),
    (b"MZ\x90\0\3" + bytes(200), "application/octet-stream"),
    (JPEG, "audio/ogg"),
    (b"", "image/jpeg"),
    (b"nome;pre\xc3\xa7o\nbolo;40\n", "text/csv"),
]


async def test_what_whatsapp_does_not_carry_is_415_and_kept_nowhere(office: Office) -> None:
    before = kept(office)
    for content, announced in REFUSED:
        answer = await office.admin.ask("POST", "/v1/media", content=content, headers={"Content-Type": announced})
        assert answer.status_code == 415
    assert kept(office) == before
    assert left_in_scratch(office) == []


def left_in_scratch(office: Office) -> list[Path]:
    return list((office.front.wiring.settings.home / "scratch").iterdir())


async def test_a_file_over_the_limit_is_413_whether_announced_or_not(office: Office) -> None:
    limit = office.front.wiring.settings.media_max_mb * 1_000_000
    before = kept(office)

    async def more_and_more() -> AsyncIterator[bytes]:
        for _ in range(limit // 1_000_000 + 1):
            yield JPEG + bytes(1_000_000)

    for content in (bytes(limit + 1), more_and_more()):
        answer = await office.admin.ask("POST", "/v1/media", content=content)
        assert answer.status_code == 413, answer.text
    assert kept(office) == before
    assert left_in_scratch(office) == []
    assert (await upload(office, PDF + bytes(limit - len(PDF))))["size_bytes"] == limit


async def test_a_picture_may_be_5_mb_however_much_else_may_be(office: Office) -> None:
    most, before = 5_000_000, kept(office)
    answer = await office.admin.ask("POST", "/v1/media", content=JPEG + bytes(most + 1 - len(JPEG)))
    assert answer.status_code == 413
    assert "5000000 bytes" in answer.text
    assert kept(office) == before
    assert (await upload(office, JPEG + bytes(most - len(JPEG))))["size_bytes"] == most


async def test_nobody_uploads_without_a_key_that_may_write(office: Office) -> None:
    for program, status in ((Program(office.front, None), 401), (await office.program("read"), 403)):
        assert (await program.ask("POST", "/v1/media", content=JPEG)).status_code == status


async def test_the_same_key_uploads_once_and_keeps_one_file(office: Office) -> None:
    before = len(kept(office))
    key = {"Idempotency-Key": "cardapio"}
    made = [await upload(office, **key) for _ in range(3)]
    assert len({item["id"] for item in made}) == 1
    assert len(kept(office)) == before + 1
    other = await office.admin.ask("POST", "/v1/media", content=PDF, headers=key)
    assert other.status_code == 422
    assert len(kept(office)) == before + 1


async def test_a_link_opens_its_attachment_for_whoever_has_it(office: Office) -> None:
    made = await office.admin.get(f"/v1/media/{office.ids['media_id']}/link")
    assert made["url"].startswith("https://hooks.example.com/media/")
    answer = await open_link(office, urlsplit(made["url"]).path)
    assert (answer.status_code, answer.content) == (200, JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(JPEG))
    assert answer.headers["content-disposition"] == "inline"


async def test_nothing_of_a_file_is_kept_guessed_or_run_by_a_browser(office: Office) -> None:
    for content, announced in ((PDF, "application/pdf"), (b"<script>alert(1)</script>", "text/plain")):
        made = await upload(office, content, **{"Content-Type": announced})
        answer = await open_link(office, await link_of(office, made["id"]))
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


async def test_a_files_name_can_not_leave_its_header(office: Office) -> None:
    name = 'x"; filename="y\r\nSet-Cookie: a=b\r\n.html'
    for header in (
        f'attachment; filename="{name}"'.replace("\r\n", " "),
        "attachment; filename*=UTF-8''" + quote(name + "; filename=ação.hta, '%", safe=""),
    ):
        made = await upload(office, PDF, **{"Content-Disposition": header})
        answer = await open_link(office, await link_of(office, made["id"]))
        said = answer.headers["content-disposition"]
        assert said.startswith("attachment; filename*=UTF-8''")
        assert re.fullmatch(r"[A-Za-z0-9._~%-]+", said.partition("''")[2])
        assert "set-cookie" not in answer.headers


PARTS = [
    ("bytes=0-99", 206, 0, 99),
    ("bytes=100-", 206, 100, len(JPEG) - 1),
    ("bytes=-10", 206, len(JPEG) - 10, len(JPEG) - 1),
    ("bytes=0-999999", 206, 0, len(JPEG) - 1),
    ("bytes=0-0", 206, 0, 0),
    ("bytes=-999999", 206, 0, len(JPEG) - 1),
    ("bytes=0-1,3-4", 200, 0, len(JPEG) - 1),
    ("bytes=5-4", 200, 0, len(JPEG) - 1),
    ("bytes=-", 200, 0, len(JPEG) - 1),
    ("lines=1-2", 200, 0, len(JPEG) - 1),
    ("bytes=999999-", 416, 0, -1),
    ("bytes=-0", 416, 0, -1),
]


async def test_a_player_may_ask_for_a_part(office: Office) -> None:
    path = await link_of(office, office.ids["media_id"])
    for asked, status, start, end in PARTS:
        answer = await open_link(office, path, Range=asked)
        assert answer.status_code == status, asked
        assert answer.content == JPEG[start : end + 1], asked
        if status == 206:
            assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(JPEG)}"
        head = await open_link(office, path, "HEAD", Range=asked)
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers["content-length"] == answer.headers["content-length"], asked


async def test_every_wrong_link_is_the_same_404(office: Office) -> None:
    keyring, now = office.front.wiring.keyring, office.front.wiring.clock.now()
    owner_id, media_id = office.front.owner_id, UUID(office.ids["media_id"])
    later = now + timedelta(minutes=1)
    stranger = await office.stranger()
    other_id = UUID((await stranger.get("/v1/owners/me"))["id"])
    good = links.sign(keyring, owner_id, media_id, expires_at=later)
    assert (await open_link(office, f"/media/{good}")).status_code == 200
    tokens = {
        "expired": links.sign(keyring, owner_id, media_id, expires_at=now),
        "of another owner": links.sign(keyring, other_id, media_id, expires_at=later),
        "of nothing": links.sign(keyring, owner_id, UUID(int=0), expires_at=later),
        "changed": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "cut": good[:-4],
        "nothing": "x",
        "not ASCII": "%C3%A9" * 8,
        "longer": good + "AAAA",
    }
    answers = {name: await open_link(office, f"/media/{token}") for name, token in tokens.items()}
    assert {answer.status_code for answer in answers.values()} == {404}
    assert len({answer.text for answer in answers.values()}) == 1
    for answer in answers.values():
        assert not [name for name in answer.headers if name in ("etag", "content-disposition")]


async def test_an_attachment_that_is_not_stored_has_no_link_and_opens_not(office: Office) -> None:
    path = await link_of(office, office.ids["media_id"])
    office.front.rows("UPDATE media SET status = 'refused', reason = 'type' RETURNING id")
    assert (await open_link(office, path)).status_code == 404
    answer = await office.admin.ask("GET", f"/v1/media/{office.ids['media_id']}/link")
    assert answer.status_code == 409
    office.front.rows("UPDATE media SET status = 'stored', reason = NULL RETURNING id")
    assert (await open_link(office, path)).status_code == 200
    [place] = kept(office)
    place.unlink()
    assert (await open_link(office, path)).status_code == 404


async def test_a_links_token_is_in_no_log_line(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    path = await link_of(office, office.ids["media_id"])
    token = path.rpartition("/")[2]
    await open_link(office, path)
    await open_link(office, path + "x")
    # A failure in the middle: the place of the file is a folder, then the database is away.
    [place] = kept(office)
    place.unlink()
    place.mkdir()
    assert (await open_link(office, path)).status_code == 503
    await office.front.wiring.pool.close()
    assert (await open_link(office, path)).status_code == 503
    assert "unavailable" in caplog.text
    assert "/media/{token}" in caplog.text
    assert token not in caplog.text


async def test_many_open_links_at_once(office: Office) -> None:
    path = await link_of(office, office.ids["media_id"])
    answers = await asyncio.gather(*(open_link(office, path) for _ in range(40)))
    assert {answer.content for answer in answers} == {JPEG}


async def test_uploads_are_held_to_the_plans_storage_also_those_that_come_at_once(office: Office) -> None:
    already = len(JPEG)  # the office has one
    async with await office.front.wiring.connect("recado_platform") as conn:
        await plans.add(conn, "small", stored_bytes=already + 2 * len(JPEG))
        await plans.assign(conn, office.front.owner_id, "small")
    before = len(kept(office))
    answers = await asyncio.gather(*(office.admin.ask("POST", "/v1/media", content=JPEG) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 413, 413, 413, 413]
    full = next(answer for answer in answers if answer.status_code == 413)
    assert (full.headers["content-type"], "plan" in full.json()["detail"]) == ("application/problem+json", True)
    assert len(kept(office)) == before + 2, "of what is refused no file stays"
    usage = await office.admin.get("/v1/usage")
    [shown] = [item for item in usage["metrics"] if item["metric"] == "stored_bytes"]
    assert shown == {"metric": "stored_bytes", "amount": already + 2 * len(JPEG), "limit": already + 2 * len(JPEG)}
    assert (usage["state"], usage["plan"]["stored_bytes"]) == ("ok", shown["limit"])
    earlier = await office.admin.get("/v1/usage?period=2026-01")
    assert shown in earlier["metrics"], "it is what is kept now, whatever the month"


async def test_a_file_is_named_as_what_it_is_for_whoever_sees_or_saves_it(office: Office) -> None:
    header = "attachment; filename*=UTF-8''fatura%E2%80%AEgpj.pdf.hta"
    made = await upload(office, PDF, **{"Content-Disposition": header})
    assert made["file_name"] == "faturagpj.pdf.pdf"
    [stored] = office.front.rows("SELECT file_name FROM media WHERE id = %s", made["id"])
    assert stored["file_name"] == "faturagpj.pdf.pdf"
    # As it was stored before, or came with a message.
    office.front.rows(
        "UPDATE media SET file_name = %s WHERE id = %s RETURNING id", "..\\fatura\u202e.pdf.hta", made["id"]
    )
    assert (await office.admin.get(f"/v1/media/{made['id']}"))["file_name"] == "fatura.pdf.pdf"
    answer = await open_link(office, await link_of(office, made["id"]))
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''fatura.pdf.pdf"


async def test_a_link_outlives_who_asked_for_it_by_a_quarter_of_an_hour_at_most(office: Office) -> None:
    ana, boss = await join(office.front, "operator"), await join(office.front, "admin")
    given = await ana.browser.get(f"/v1/media/{office.ids['media_id']}/link")
    await boss.browser.change(f"/v1/users/{ana.user.id}", {"status": "disabled"})
    assert (await ana.browser.ask("GET", f"/v1/media/{office.ids['media_id']}/link")).status_code == 401
    assert (await open_link(office, urlsplit(given["url"]).path)).status_code == 200
    left = datetime.fromisoformat(given["expires_at"]) - office.front.wiring.clock.now()
    assert left <= timedelta(minutes=15)


@pytest.mark.parametrize(
    "header",
    [
        "attachment; filename*1=b; filename*=a",
        "attachment; filename*=undefined''a.pdf",
        "attachment; filename*0*=idna''a",
        "attachment; filename*=UTF-8''%00; filename*1*=x\0",
        "attachment; filename*1%ed%a0%80=a; filename*=; filename*0",
        "attachment; filename*=\0''a",
    ],
)
def test_a_name_that_nobody_can_read_is_none_and_the_file_is_kept(header: str) -> None:
    assert (uploading._file_name(header, "application/pdf") or "x.pdf").endswith(".pdf")
