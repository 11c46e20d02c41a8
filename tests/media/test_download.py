"""The guarded download: what is fetched, with what is shown to whom, and all that it is not led into."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from bench import media
from bench.media import API, CDN, JPEG, LOGIN, Call, Internet, gives, internet, media_url, redirects
from recado.media.download import Downloaded, Downloads, MediaRefused, MediaUnavailable

OWN = media_url(1)
HERE = OWN.removeprefix("https://")
OGG = b"OggS\0\x02" + bytes(20) + b"\x01\x13OpusHead\x01" + bytes(range(256)) * 20


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def fetch(downloads: Downloads, into: Path, **more: Any) -> Downloaded:
    given: dict[str, Any] = {
        "url": OWN,
        "account_sid": media.ACCOUNT,
        "message_sid": media.MESSAGE,
        "login": LOGIN,
        "announced_type": "image/jpeg",
    }
    return await downloads.fetch(into=into, **{**given, **more})


async def fetch_once(net: Internet, into: Path, **more: Any) -> Downloaded:
    downloads = net.downloads()
    try:
        return await fetch(downloads, into, **more)
    finally:
        await downloads.aclose()


async def test_it_is_fetched_through_the_redirect_into_a_file_of_our_own(tmp_path: Path) -> None:
    async with internet() as net:
        net.sites[HERE] = redirects(f"https://{CDN}/x?X-Amz-Signature=a%2Fb%2B%3D&y")
        net.sites[f"{CDN}/x?X-Amz-Signature=a%2Fb%2B%3D&y"] = gives(JPEG, "Content-Type: text/html")
        taken = await fetch_once(net, tmp_path / "here")
    assert taken == Downloaded(content_type="image/jpeg", size_bytes=len(JPEG), sha256=hashlib.sha256(JPEG).digest())
    assert (tmp_path / "here").read_bytes() == JPEG
    assert stat.S_IMODE((tmp_path / "here").stat().st_mode) == 0o600


async def test_only_the_api_s_own_host_sees_the_login_and_nobody_a_cookie(tmp_path: Path) -> None:
    back = f"https://{API}/elsewhere"
    async with internet() as net:
        net.sites[HERE] = redirects(f"https://{API}/again", "Set-Cookie: a=b; Secure; Path=/")
        net.sites[f"{API}/again"] = redirects(f"https://{CDN}/x")
        net.sites[f"{CDN}/x"] = redirects(back, "Set-Cookie: c=d; Secure; Path=/")
        net.sites[back.removeprefix("https://")] = gives(JPEG)
        await fetch_once(net, tmp_path / "here")
    assert [(call.host, "authorization" in call.headers) for call in net.calls] == [
        (API, True),
        (API, True),
        (CDN, False),
        (API, False),
    ]
    assert not any("cookie" in call.headers for call in net.calls)
    assert all(call.headers["accept-encoding"] == "identity" for call in net.calls)


async def test_a_redirect_to_the_same_name_at_another_port_does_not_see_the_login(tmp_path: Path) -> None:
    async with internet() as net:
        net.sites[HERE] = redirects(f"https://{API}:444/x")
        with pytest.raises(MediaRefused, match="redirect"):
            await fetch_once(net, tmp_path / "here")
    assert (len(net.calls), net.trapped) == (1, 0)


async def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with internet() as net:
        net.sites[HERE] = gives(JPEG)
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{net.trap_port}")
        await fetch_once(net, tmp_path / "here")
        assert net.trapped == 0


async def test_a_404_is_asked_again_after_one_and_after_three_seconds(tmp_path: Path) -> None:
    moments: list[float] = []
    async with internet() as net:

        async def late(call: Call) -> None:
            moments.append(asyncio.get_running_loop().time())
            await call.answer(404) if len(moments) < 3 else await call.answer(200, body=JPEG)

        net.sites[HERE] = late
        downloads = Downloads(
            api_url=None, max_bytes=10**6, resolver=net.names, ssl_context=net.trust, new_socket=net.socket
        )
        assert (await fetch(downloads, tmp_path / "here")).size_bytes == len(JPEG)
        await downloads.aclose()
    assert 1 <= moments[1] - moments[0] < 3 <= moments[2] - moments[1] < 8


async def test_what_broke_off_is_fetched_again_from_its_beginning(tmp_path: Path) -> None:
    async with internet() as net:

        async def first_broken(call: Call) -> None:
            if len(net.calls) == 1:
                await gives(JPEG[:5000], length=len(JPEG))(call)
            elif len(net.calls) == 2:
                await call.answer(503)
            else:
                await call.answer(200, body=JPEG)

        net.sites[HERE] = first_broken
        taken = await fetch_once(net, tmp_path / "here")
    assert taken.sha256 == hashlib.sha256(JPEG).digest()
    assert (tmp_path / "here").read_bytes() == JPEG


async def test_a_refused_login_is_not_tried_again(tmp_path: Path) -> None:
    async with internet() as net:
        net.sites[HERE] = gives(b"", status=401)
        with pytest.raises(MediaUnavailable, match="login"):
            await fetch_once(net, tmp_path / "here")
    assert len(net.calls) == 1


async def test_the_local_twilio_may_lead_to_its_second_host_on_this_machine(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        port = writer.get_extra_info("sockname")[1]
        seen.append(("first" if port == first else "second", "authorization:" in head))
        if port == first:
            writer.write(
                f"HTTP/1.1 302 X\r\nLocation: http://localhost:{second}/x\r\nContent-Length: 0\r\n\r\n".encode()
            )
        else:
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%s" % (len(JPEG), JPEG))
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as one,
        await asyncio.start_server(serve, "127.0.0.1", 0) as two,
    ):
        first, second = (server.sockets[0].getsockname()[1] for server in (one, two))
        api = f"http://127.0.0.1:{first}"
        downloads = Downloads(api_url=api, max_bytes=10**6, pauses_s=())
        await fetch(downloads, tmp_path / "here", url=OWN.replace(f"https://{API}", api))
        with pytest.raises(MediaRefused, match="address"):
            await fetch(downloads, tmp_path / "there")
        await downloads.aclose()
    assert seen == [("first", True), ("second", False)]


async def test_an_api_elsewhere_leads_to_nothing_on_this_machine(tmp_path: Path) -> None:
    async with internet() as net:
        net.sites[HERE] = redirects(f"http://127.0.0.1:{net.trap_port}/")
        with pytest.raises(MediaRefused, match="redirect"):
            await fetch_once(net, tmp_path / "here")
    assert net.trapped == 0


async def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    async with internet() as net:
        net.sites[HERE] = gives(JPEG)
        for name in ("other", "link"):
            with pytest.raises(FileExistsError):
                await fetch_once(net, tmp_path / name)
    assert (tmp_path / "other").read_bytes() == b"other"


async def test_a_fetch_that_is_cancelled_leaves_no_file(tmp_path: Path) -> None:
    async with internet() as net:
        net.sites[HERE] = media.pours(b"HTTP/1.1 200 X\r\n\r\n" + JPEG, b"", 0.01)
        downloads = net.downloads()
        task = asyncio.create_task(fetch(downloads, tmp_path / "here"))
        while not (tmp_path / "here").exists() or not net.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await downloads.aclose()
    assert files(tmp_path) == []


async def test_what_it_says_of_itself_shows_no_login_and_no_address(tmp_path: Path) -> None:
    async with internet() as net:
        with pytest.raises(MediaUnavailable) as missing:
            await fetch_once(net, tmp_path / "here")
    assert "auth token" not in repr(missing.value)
    assert API not in str(missing.value)
    assert missing.value.__suppress_context__ or missing.value.__context__ is None


async def test_hostile_media_of_every_kind_is_kept_nowhere_and_fetched_from_nowhere_else(tmp_path: Path) -> None:
    report = await media.run(tmp_path)
    kinds = media.kinds()
    assert len(kinds) >= 50
    assert {name: outcome.ends for name, outcome in report.outcomes.items()} == {
        name: kind.ends for name, kind in kinds.items()
    }
    assert not [name for name, outcome in report.outcomes.items() if outcome.file and outcome.ends != "kept"]
    assert len(files(tmp_path)) == sum(kind.ends == "kept" for kind in kinds.values())
    assert report.trapped == 0
    assert report.elsewhere_with_login == 0
    assert report.elsewhere_with_cookie == 0
    assert report.looked_up_rebinding == 1
    assert report.dialled <= {"54.172.60.1", "13.224.1.1", "13.224.1.2", "13.224.1.3"}


async def test_what_can_not_be_of_the_right_kind_is_not_fetched_to_its_end(tmp_path: Path) -> None:
    async with internet() as net:
        sent = 0

        async def much(call: Call) -> None:
            nonlocal sent
            await call.send(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
            for _ in range(2000):
                await call.send(b"MZ" + bytes(64 * 1024))
                sent += 1

        net.sites[HERE] = much
        downloads = net.downloads(max_bytes=10**9)
        with pytest.raises(MediaRefused, match="type"):
            await fetch(downloads, tmp_path / "here")
        await downloads.aclose()
    assert sent < 500
