"""Where a post may lead, and what is made of the answer: nobody is led into our networks, and nothing is kept."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.media import CDN, gives, internet, pours, redirects
from recado.errors import UsageError
from recado.media import guarded
from recado.webhooks.addresses import canonical
from recado.webhooks.post import LONGEST_WAIT_S, Posted, Poster, retry_after_s
from tests.webhooks.receiver import receiving, silent, status

HERE = (ip_network("127.0.0.0/8"),)


async def post(url: str, *networks: str) -> tuple[Posted, list[str], int]:
    """What a post to this address came to on the tests' internet, whom it connected to, and how often into a trap."""
    async with internet() as net:
        net.sites[f"{CDN}/hook?sig=a%2Fb"] = gives(b"thanks")
        net.sites[f"{CDN}/away"] = redirects("https://inside.example/x")
        net.sites[f"{CDN}/pours"] = pours(b"HTTP/1.1 200 X\r\nContent-Length: 99999999\r\n\r\n", b"x" * 4096)
        poster = Poster(
            [ip_network(one) for one in networks],
            answer_s=5,
            resolver=net.names,
            ssl_context=net.trust,
            new_socket=net.socket,
        )
        try:
            return await poster.post(url, "{}", {}), net.dialled, net.trapped
        finally:
            await poster.aclose()


async def test_a_public_https_address_gets_it_with_its_query_as_it_was_given() -> None:
    posted, dialled, _ = await post(f"https://{CDN}/hook?sig=a%2Fb")
    assert (posted.outcome, posted.http_status, dialled) == ("delivered", 200, ["13.224.1.1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://inside.example/",
        "https://both.example/",
        "https://localhost/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.0.0.1/",
        "https://10.0.0.7/",
        "https://169.254.169.254/latest/meta-data/",
        "https://168.63.129.16/",
        "https://100.64.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.7]/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::a00:7]/",
        "https://[64:ff9b:1::a00:7]/",
        "https://[2002:a00:7::1]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        f"http://{CDN}/hook",
        "http://127.0.0.1/",
    ],
)
async def test_no_address_that_is_not_of_the_public_internet_is_connected_to(url: str) -> None:
    posted, dialled, trapped = await post(url)
    assert (posted.outcome in ("address", "unreachable"), dialled, trapped) == (True, [], 0)


async def test_a_name_that_leads_elsewhere_when_it_is_asked_again_is_asked_once_for_each_connection() -> None:
    async with internet() as net:
        net.sites["rebinding.example/"] = gives(b"")
        outcomes = []
        for _ in range(2):
            poster = Poster(resolver=net.names, ssl_context=net.trust, new_socket=net.socket)
            outcomes.append((await poster.post("https://rebinding.example/", "{}", {})).outcome)
            await poster.aclose()
        assert (outcomes, net.dialled, net.trapped) == (["delivered", "address"], ["13.224.1.3"], 0)


async def test_a_redirect_is_not_followed_and_a_certificate_that_does_not_hold_gets_nothing() -> None:
    posted, dialled, trapped = await post(f"https://{CDN}/away")
    assert (posted.outcome, posted.http_status, len(dialled), trapped) == ("redirect", 307, 1, 0)
    assert (await post("https://untrusted.example/"))[0].outcome == "tls"


async def test_an_answer_without_end_is_read_no_further_and_counts_by_its_status() -> None:
    posted, _, _ = await post(f"https://{CDN}/pours")
    assert (posted.outcome, posted.http_status) == ("delivered", 200)


async def test_networks_that_the_operator_names_are_led_to_over_https_and_this_machine_over_http_too() -> None:
    posted, dialled, _ = await post("https://inside.example/", "10.0.0.0/8")
    assert (posted.outcome in ("unreachable", "tls"), dialled) == (True, ["10.0.0.7"])
    posted, dialled, _ = await post("https://inside.example/", "192.168.0.0/16")
    assert (posted.outcome, dialled) == ("address", [])
    assert (await post("http://10.0.0.7/", "10.0.0.0/8", "127.0.0.0/8"))[0].outcome == "address"
    async with receiving() as receiver:
        for networks, outcome in ((HERE, "delivered"), ((), "address")):
            poster = Poster(networks)
            assert (await poster.post(receiver.url, "{}", {})).outcome == outcome
            await poster.aclose()
        assert len(receiver.calls) == 1


async def test_an_endpoint_that_says_nothing_is_slow_and_one_that_is_not_there_unreachable() -> None:
    async with receiving(silent) as receiver:
        poster = Poster(HERE, answer_s=0.2)
        assert (await poster.post(receiver.url, "{}", {})).outcome == "slow"
    assert (await poster.post(receiver.url, "{}", {})).outcome == "unreachable"
    await poster.aclose()


async def test_a_connection_that_was_closed_while_it_was_idle_is_made_anew_at_once() -> None:
    async with receiving() as receiver:
        poster = Poster(HERE)
        assert (await poster.post(receiver.url, "{}", {})).delivered
        [call] = receiver.calls
        call.writer.transport.abort()
        assert (await poster.post(receiver.url, "{}", {})).delivered
        await poster.aclose()


async def test_names_whose_server_never_answers_keep_no_thread_that_others_share_and_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, looked = threading.Event(), []

    def never(host: str, *_: object, **__: object) -> list[object]:
        looked.append(host)
        over.wait(60)
        raise socket.gaierror("no answer")

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    monkeypatch.setattr(socket, "getaddrinfo", never)
    poster = Poster(HERE, answer_s=60)
    posts = [asyncio.create_task(poster.post(f"https://h{number % 10}.example/", "{}", {})) for number in range(80)]
    try:
        async with asyncio.timeout(60):
            while len(set(looked)) < 10:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(lambda: "done") == "done"
    finally:
        over.set()
    assert {posted.outcome for posted in await asyncio.gather(*posts)} == {"unreachable"}
    await poster.aclose()


async def test_of_too_many_names_at_once_the_last_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def nothing(*_: object, **__: object) -> list[object]:
        over.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    names = guarded.Names()
    asked = [asyncio.create_task(names.resolve(f"h{number}.example")) for number in range(guarded.LOOKUPS)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(OSError, match="too many"):
            await names.resolve("one-more.example")
    finally:
        over.set()
    assert all(isinstance(one, OSError) for one in await asyncio.gather(*asked, return_exceptions=True))


async def test_names_are_looked_up_as_the_system_knows_them() -> None:
    found = await guarded.Names().resolve("localhost", 443)
    assert [(one["host"], one["port"], one["hostname"]) for one in found] == [("127.0.0.1", 443, "localhost")]


async def test_many_posts_at_once_share_a_poster() -> None:
    async with receiving(status(204)) as receiver:
        poster = Poster(HERE)
        posted = await asyncio.gather(*(poster.post(receiver.url, "{}", {}) for _ in range(20)))
        await poster.aclose()
    assert {one.http_status for one in posted} == {204}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://Hooks.Example.COM", "https://hooks.example.com/"),
        (" https://x.example:443/a/?b=c&d ", "https://x.example/a/?b=c&d"),
        ("https://x.example/é?q=ü", "https://x.example/%C3%A9?q=%C3%BC"),
        ("https://x.example:8443/hook", "https://x.example:8443/hook"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("http://localhost:8080/", "http://localhost:8080/"),
    ],
)
def test_an_address_is_kept_in_one_form(url: str, found: str) -> None:
    assert canonical(url, HERE) == found
    assert canonical(found, HERE) == found


@pytest.mark.parametrize(
    "url",
    [
        *("", "x.example", "ftp://x.example", "https://", "https://x.example/#a", "https://a:b@x.example/"),
        *("https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://localhost/", "http://x.example/"),
        *("https://10.0.0.1/", "https://x.example/\\a", "https://x.example/a b", "https://x.example/" + "a" * 2048),
        *("https://x.example:99999/", "https://[::1", "https://169.254.169.254/"),
    ],
)
def test_what_can_not_be_posted_to_is_refused_at_once_without_being_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        canonical(url)
    assert len(url) < 9 or url not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_no_text_is_an_address_that_leads_elsewhere_when_it_is_read_again(text: str) -> None:
    for url in (text, f"https://{text}", f"https://x.example/{text}"):
        try:
            found = canonical(url)
        except UsageError:
            continue
        assert found.startswith("https://")
        assert found.isascii()
        assert canonical(found) == found


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("99999999999999999999", LONGEST_WAIT_S),
        ("Sat, 28 Nov 2026 12:01:00 GMT", 60.0),
        ("Fri, 27 Nov 2026 12:01:00 GMT", None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 11, 28, 12, tzinfo=UTC)) == seconds
