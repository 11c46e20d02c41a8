"""Files: had with credentials by a redirect to a host that must not see them, spoiled on demand, fetched when sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from simulator_specs import assert_is, basic, raw
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, Receiver
from twilio.rest import Client

from recado.media.download import Downloads, MediaRefused
from recado.simulator import state as records
from recado.simulator.client import SimulatorClient
from recado.simulator.handset import Phone

PNG = b"\x89PNG\r\n\x1a\n" + bytes(5000)


@pytest.fixture
def phone(sim: SimulatorClient) -> Phone:
    return Phone(client=sim, account_sid=ACCOUNT, number=NUMBER, address=CONTACT)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def url(phone: Phone, receiver: Receiver) -> str:
    """The MediaUrl of a picture that the contact sent."""
    await phone.sends_bytes(PNG, content_type="image/png")
    return receiver.hits[-1].params["MediaUrl0"]


async def status_of(http: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with http.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status


async def redirected(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url, headers=basic(), allow_redirects=False) as answer:
        assert answer.status == 307
        return answer.headers["Location"]


async def test_a_file_is_had_with_credentials_through_a_redirect_to_another_host(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str
) -> None:
    location = await redirected(http, url)
    assert not location.startswith(sim.base_url)
    async with http.get(location) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PNG)
    assert await sim.violations() == []


async def test_the_redirect_is_followed_by_a_client_that_drops_its_credentials(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str
) -> None:
    async with http.get(url, headers=basic()) as answer:
        assert await answer.read() == PNG
    assert await sim.violations() == []


async def test_credentials_that_reach_the_second_host_are_refused_and_remembered(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str
) -> None:
    location = await redirected(http, url)
    assert await status_of(http, location, **basic()) == 400
    (violation,) = await sim.violations()
    assert violation.what == "authorization"
    assert "Signature" not in violation.path
    await sim.reset()
    assert await sim.violations() == []


async def test_without_good_credentials_there_is_no_redirect(http: aiohttp.ClientSession, url: str) -> None:
    assert await status_of(http, url) == 401
    assert await status_of(http, url, **basic(password="wrong")) == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("Signature=", "Signature=0"),
        lambda url: url.replace("Expires=", "Expires=9"),
        lambda url: url.partition("?")[0],
        lambda url: url.replace("/ME", "/MF"),
    ],
)
async def test_a_link_that_was_not_signed_opens_nothing(http: aiohttp.ClientSession, url: str, change: object) -> None:
    assert callable(change)
    assert await status_of(http, change(await redirected(http, url))) == 403


async def test_paths_name_the_account_the_message_and_the_file_exactly(
    sim: SimulatorClient, http: aiohttp.ClientSession, phone: Phone, url: str
) -> None:
    other = await phone.says("oi")
    head, message, _, sid = url.rsplit("/", 3)
    for wrong in (f"{head}/{other.sid}/Media/{sid}", f"{head}/{message}/Media/ME{'0' * 32}", f"{url}/x"):
        assert await status_of(http, wrong, **basic()) == 404
    stranger = "AC" + "7" * 32
    await sim.add_account(stranger, "t2")
    for path in (url, url.replace(ACCOUNT, stranger)):
        assert await status_of(http, path, **basic(stranger, "t2")) == 404
    assert await status_of(http, url.replace(ACCOUNT, stranger), **basic()) == 404


async def test_files_can_come_late_by_time_and_by_number(
    sim: SimulatorClient, http: aiohttp.ClientSession, phone: Phone, receiver: Receiver
) -> None:
    await sim.pace(media_ms=300)
    await phone.sends_bytes(PNG, content_type="image/png")
    url = receiver.hits[-1].params["MediaUrl0"]
    assert await status_of(http, url, **basic()) == 404
    await asyncio.sleep(0.35)
    assert await status_of(http, url, **basic()) == 307
    await sim.add_fault("media-late")
    assert [await status_of(http, url, **basic()) for _ in range(3)] == [404, 404, 307]


async def test_the_records_of_files_are_as_twilios_specification_says_and_can_be_deleted(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str, twilio: Client
) -> None:
    path = url.removeprefix(sim.base_url)
    status, listed = await raw(sim.base_url, "GET", path.rpartition("/")[0] + ".json")
    assert status == 200
    assert_is("ListMediaResponse", listed)
    (record,) = listed["media_list"]
    assert_is("api.v2010.account.message.media", record)
    assert (await raw(sim.base_url, "GET", record["uri"]))[1] == record
    message, sid = record["parent_sid"], record["sid"]
    assert [media.sid for media in await asyncio.to_thread(twilio.messages(message).media.list)] == [sid]
    assert await asyncio.to_thread(twilio.messages(message).media(sid).delete)
    assert await status_of(http, url, **basic()) == 404


async def test_a_file_can_be_another_than_it_says(sim: SimulatorClient, http: aiohttp.ClientSession, url: str) -> None:
    await sim.add_fault("media-wrong-type", count=1)
    async with http.get(url, headers=basic()) as answer:
        assert answer.content_type == "image/png"
        assert (await answer.text()).startswith("<!doctype html>")
    await sim.add_fault(operation="file", content_type="text/html", count=1)
    async with http.get(url, headers=basic()) as answer:
        assert (answer.content_type, await answer.read()) == ("text/html", PNG)


async def test_a_file_can_have_no_end(sim: SimulatorClient, http: aiohttp.ClientSession, url: str) -> None:
    await sim.add_fault("media-endless")
    async with http.get(url, headers=basic()) as answer:
        assert answer.content_length is None
        got = 0
        async for chunk in answer.content.iter_any():
            got += len(chunk)
            if got > 40_000_000:
                answer.close()
                break
    assert got > 40_000_000
    assert (await sim.call("GET", "/health"))["ok"]


async def test_a_file_can_break_off_come_slowly_fail_or_be_gone(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str
) -> None:
    await sim.add_fault("media-cut", count=1)
    async with http.get(url, headers=basic()) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await sim.add_fault("media-slow", chunk_ms=60, count=1)
    started = time.monotonic()
    async with http.get(url, headers=basic()) as answer:
        assert await answer.read() == PNG
    assert time.monotonic() - started > 0.25
    await sim.add_fault("media-broken", count=1)
    async with http.get(url, headers=basic()) as answer:
        assert answer.status == 503
    await sim.add_fault("media-gone")
    assert await status_of(http, url, **basic()) == 404


async def test_a_redirect_can_lead_inwards(sim: SimulatorClient, http: aiohttp.ClientSession, url: str) -> None:
    await sim.add_fault("media-inward")
    assert (await redirected(http, url)).startswith("http://169.254.169.254/")


async def test_a_fault_of_files_strikes_one_contact_only(
    sim: SimulatorClient, http: aiohttp.ClientSession, url: str
) -> None:
    await sim.add_fault("media-gone", from_="5512345")
    await sim.add_fault("media-broken", from_="5512345")
    async with http.get(url, headers=basic()) as answer:
        assert answer.status == 200


async def test_the_products_own_download_gets_the_file_and_shows_its_login_to_nobody_else(
    sim: SimulatorClient, url: str, tmp_path: Path
) -> None:
    await sim.add_fault("media-late", count=1)
    await sim.add_fault("media-broken", count=1)
    downloads = Downloads(api_url=sim.base_url, max_bytes=16_000_000, pauses_s=(0.01, 0.01))
    message_sid = url.rsplit("/", 3)[1]

    async def fetch(into: Path) -> int:
        taken = await downloads.fetch(
            url=url,
            account_sid=ACCOUNT,
            message_sid=message_sid,
            login=(ACCOUNT, TOKEN),
            announced_type="image/png",
            into=into,
        )
        return taken.size_bytes

    assert await fetch(tmp_path / "one") == len(PNG)
    await sim.add_fault("media-inward")
    with pytest.raises(MediaRefused, match="redirect"):
        await fetch(tmp_path / "two")
    await sim.clear_faults()
    await sim.add_fault("media-endless")
    with pytest.raises(MediaRefused, match="size"):
        await fetch(tmp_path / "three")
    await downloads.aclose()
    assert await sim.violations() == []


async def test_the_phone_shows_files_and_makes_no_page_of_them(
    sim: SimulatorClient, http: aiohttp.ClientSession, phone: Phone
) -> None:
    await phone.sends_bytes(b"<script>alert(1)</script>", content_type="text/html", file_name='a".html')
    await phone.sends_bytes(PNG, content_type="image/png")
    page, picture = [bubble.files[0].url for bubble in await sim.thread(CONTACT)]
    async with http.get(sim.base_url + page) as answer:
        assert answer.content_type == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%22.html"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    async with http.get(sim.base_url + picture) as answer:
        assert (answer.content_type, answer.headers["Content-Disposition"][:6]) == ("image/png", "inline")


class Links:
    """The business's links to what it sends."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.content_type = "image/png"
        self.data = PNG
        self.asked: list[dict[str, str]] = []

    async def give(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        return web.Response(status=self.status, body=self.data, content_type=self.content_type)


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    given = Links()
    app = web.Application()
    app.router.add_get("/media/{token}", given.give)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    given.url = f"http://127.0.0.1:{runner.addresses[0][1]}/media/a%2Fb.c"
    yield given
    await runner.cleanup()


async def send(twilio: Client, *media: str, **fields: str) -> str:
    form = {"to": CONTACT, "from_": NUMBER, "media_url": list(media), **fields}
    return str((await asyncio.to_thread(twilio.messages.create, **form)).sid)


async def test_a_file_that_the_business_sends_is_fetched_and_shown(
    sim: SimulatorClient, twilio: Client, links: Links
) -> None:
    sid = await send(twilio, links.url, body="o cardápio")
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="delivered")
    assert (reply.sid, reply.kind, reply.body, reply.media_urls) == (sid, "image", "o cardápio", [links.url])
    assert await sim.file(reply.files[0].sid) == PNG
    (asked,) = links.asked
    assert asked["User-Agent"] == "TwilioProxy/1.1"
    assert "Authorization" not in asked
    fetched = await asyncio.to_thread(twilio.messages(sid).fetch)
    assert (fetched.num_media, sid[:2]) == ("1", "MM")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({"status": 404}, 63019),
        ({"data": bytes(5 * 1024 * 1024 + 1)}, 63019),
        ({"data": bytes(16 * 1024 * 1024 + 1), "content_type": "application/pdf"}, 63019),
        ({"content_type": "text/html"}, 63005),
    ],
)
async def test_a_file_that_can_not_be_sent_fails_later_with_its_code(
    sim: SimulatorClient, twilio: Client, links: Links, receiver: Receiver, spoil: dict[str, object], code: int
) -> None:
    for name, value in spoil.items():
        setattr(links, name, value)
    await send(twilio, links.url, status_callback=f"{receiver.url}/status")
    await receiver.until(lambda: receiver.statuses() == ["failed"])
    assert receiver.hits[0].params["ErrorCode"] == str(code)
    (reply,) = await sim.replies(CONTACT)
    assert (reply.status, reply.error_code, reply.files) == ("failed", code, ())


async def test_a_link_that_nothing_answers_fails_too(sim: SimulatorClient, twilio: Client) -> None:
    await send(twilio, "http://127.0.0.1:9/x.png")
    (reply,) = await sim.wait_for_replies(CONTACT, 1, status="failed")
    assert reply.error_code == 63019


@pytest.mark.parametrize(
    ("media", "code"), [(("http://a.example/1", "http://a.example/2"), 21623), (("file:///etc/passwd",), 21620)]
)
async def test_links_that_no_message_can_hold_are_refused_at_once(
    sim: SimulatorClient, media: tuple[str, ...], code: int
) -> None:
    form = aiohttp.FormData([("To", CONTACT), ("From", NUMBER), *(("MediaUrl", url) for url in media)])
    async with (
        aiohttp.ClientSession(headers=basic()) as session,
        session.post(f"{sim.base_url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", data=form) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (400, code)


def test_the_oldest_files_go_when_all_together_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 100)
    state = records.State()
    for name in ("ME1", "ME2", "ME3"):
        media = records.Media(sid=name, account_sid=ACCOUNT, content_type="x/y", data=bytes(40), created_at=0)
        records.add_file(state, media)
    assert list(state.media) == ["ME2", "ME3"]
    records.remove_file(state, "ME3")
    assert state.file_bytes == 40
