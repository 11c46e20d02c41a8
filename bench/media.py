"""Hostile media: attachments that try to lead the download elsewhere, to fill memory or disk, or to never end.

And hostile documents: small ones that take much to be read, all at once.

The internet is this module's own: every connection is made to the loopback, but the download names, looks up and checks
the addresses as it would anywhere. Public addresses lead to a server with a certificate; whatever else is connected to
is a trap, which counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from recado import telemetry
from recado.media.download import Downloads, MediaRefused, MediaUnavailable
from recado.media.reader import Reader
from tests.media import documents

ACCOUNT = "AC" + "1" * 32
MESSAGE = "MM" + "2" * 32
API = "api.twilio.com"
CDN = "media.twiliocdn.example"
LOGIN = (ACCOUNT, "the auth token")
MAX_BYTES = 1_000_000
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + bytes(range(256)) * 40

Send = Callable[["Call"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request that came to a server of this internet."""

    host: str
    path: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    async def answer(self, status: int, *headers: str, body: bytes = b"", length: int | None = None) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def send(self, piece: bytes) -> None:
        self.writer.write(piece)
        await self.writer.drain()


class Names(AbstractResolver):
    """The names of this internet; one with several answers gives them in turn, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {
            API: [["54.172.60.1"]],
            CDN: [["13.224.1.1"]],
            "untrusted.example": [["13.224.1.2"]],
            "inside.example": [["10.0.0.7"]],
            "both.example": [["13.224.1.9", "192.168.1.1"]],
            "rebinding.example": [["13.224.1.3"], ["127.0.0.1"]],
            "localhost": [["127.0.0.1"]],
            "2130706433": [["127.0.0.1"]],
            "0x7f000001": [["127.0.0.1"]],
        }
        self.asked: Counter[str] = Counter()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        answers = self.answers.get(host)
        if answers is None:
            raise OSError("no such name")
        found = answers[min(self.asked[host], len(answers) - 1)]
        self.asked[host] += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Internet:
    """Its servers, and what came to them."""

    names: Names
    trust: ssl.SSLContext
    port: int
    trap_port: int
    sites: dict[str, Send] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    trapped: int = 0

    def socket(self, family: int, kind: int, proto: int) -> socket.socket:
        """A socket that connects to the loopback, whatever address it is given."""
        internet = self

        class Rerouted(socket.socket):
            def connect(self, address: Any) -> None:
                internet.dialled.append(address[0])
                public = address[0].startswith(("13.224.", "54.172.")) and address[1] == 443
                super().connect(("127.0.0.1", internet.port if public else internet.trap_port))

        return Rerouted(socket.AF_INET, kind, 0)

    def downloads(self, **settings: Any) -> Downloads:
        """Downloads on this internet, as impatient as a test."""
        given: dict[str, Any] = {"api_url": None, "max_bytes": MAX_BYTES, "deadline_s": 20.0, "pauses_s": (0.01, 0.02)}
        return Downloads(resolver=self.names, ssl_context=self.trust, new_socket=self.socket, **{**given, **settings})


@cache
def _authorities() -> tuple[trustme.CA, trustme.CA]:
    return trustme.CA(), trustme.CA()


@asynccontextmanager
async def internet() -> AsyncIterator[Internet]:
    """An internet with nobody on it; `sites` says who answers at which host and path."""
    trusted, other = _authorities()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert(API, CDN, "rebinding.example", "127.0.0.1").configure_cert(certificate)
    untrusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("untrusted.example").configure_cert(untrusted)

    def choose(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
        if name == "untrusted.example":
            connection.context = untrusted

    certificate.sni_callback = choose
    trust = ssl.create_default_context()
    trusted.configure_trust(trust)
    made = Internet(Names(), trust, 0, 0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the loop ends; asyncio's streams complain of a server's task that was.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in lines)}
                call = Call(headers["host"], line.split(" ")[1], headers, writer)
                made.calls.append(call)
                await made.sites.get(call.host + call.path, _nothing)(call)
        writer.transport.abort()

    async def trap(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.trapped += 1
        writer.transport.abort()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate) as server,
        await asyncio.start_server(trap, "127.0.0.1", 0) as trapping,
    ):
        made.port = server.sockets[0].getsockname()[1]
        made.trap_port = trapping.sockets[0].getsockname()[1]
        yield made


async def _nothing(call: Call) -> None:
    await call.answer(404)


# What the servers do.


def redirects(location: str, *headers: str, status: int = 307) -> Send:
    async def act(call: Call) -> None:
        there = location.replace("SELF", f"https://{call.host}{call.path}")
        await call.answer(status, *([f"Location: {there}"] if there else []), *headers)

    return act


def gives(body: bytes, *headers: str, length: int | None = None, status: int = 200) -> Send:
    async def act(call: Call) -> None:
        await call.answer(status, *headers, body=body, length=length)
        if length is not None:
            call.writer.close()

    return act


def pours(beginning: bytes, piece: bytes, pause_s: float = 0.0) -> Send:
    """Send the beginning, then the piece until nobody listens."""

    async def act(call: Call) -> None:
        await call.send(beginning)
        while True:
            await call.send(piece)
            await asyncio.sleep(pause_s)

    return act


_CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
_CLOSING = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n"


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def _archive(*names: str, size: int = 100) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"\0" * size)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to be hostile: what the webhook says, what the servers do, and how it must end.

    `ends` is the reason, or `kept` for what is harmless as it was taken.
    """

    ends: str
    url: str | None = None
    account_sid: str = ACCOUNT
    message_sid: str = MESSAGE
    announced_type: str = "image/jpeg"
    api: Send | None = None
    cdn: Send | None = None


def media_url(index: int, *, account_sid: str = ACCOUNT, message_sid: str = MESSAGE, host: str = API) -> str:
    return f"https://{host}{_path(account_sid, message_sid)}ME{index:032x}"


def _path(account_sid: str = ACCOUNT, message_sid: str = MESSAGE) -> str:
    return f"/2010-04-01/Accounts/{account_sid}/Messages/{message_sid}/Media/"


_ME = "ME" + "3" * 32
_OWN = f"https://{API}{_path()}"


def _addresses() -> Iterator[tuple[str, Kind]]:
    """Media links that are not the message's own."""
    for name, url in {
        "plain http": f"http://{API}{_path()}{_ME}",
        "another host": f"https://evil.example{_path()}{_ME}",
        "the host as a user name": f"https://{API}@evil.example{_path()}{_ME}",
        "the host as the beginning of another": f"https://{API}.evil.example{_path()}{_ME}",
        "a user name and a password": f"https://a:b@{API}{_path()}{_ME}",
        "another port": f"https://{API}:8443{_path()}{_ME}",
        "the port said again": f"https://{API}:443{_path()}{_ME}",
        "the message of another account": f"https://{API}{_path('AC' + '9' * 32)}{_ME}",
        "another message": f"https://{API}{_path(ACCOUNT, 'MM' + '9' * 32)}{_ME}",
        "a path that climbs": f"{_OWN}../../../Messages.json",
        "a path that climbs in percent signs": f"{_OWN}%2e%2e/%2e%2e/Messages.json",
        "a slash in percent signs": f"{_OWN}{_ME}%2F..%2F..",
        "a query": f"{_OWN}{_ME}?x=1",
        "a fragment": f"{_OWN}{_ME}#x",
        "a line break": f"{_OWN}{_ME}\r\nHost: evil.example",
        "a slash at the end": f"{_OWN}{_ME}/",
        "a dot at the end of the host": f"https://{API}.{_path()}{_ME}",
        "letters that look alike": f"https://api.twili\u043e.com{_path()}{_ME}",
        "backslashes": f"https:\\\\{API}{_path()}{_ME}".replace("/", "\\"),
        "a file": "file:///etc/passwd",
        "nothing": "",
    }.items():
        yield f"address: {name}", Kind(url=url, ends="address")
    for name, sid in {"climbs": "../../..", "ends in a query": MESSAGE + "?", "is too long": MESSAGE + "0"}.items():
        url = f"https://{API}/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media/{_ME}"
        yield f"address: a message sid that {name}", Kind(url=url, message_sid=sid, ends="address")
    sid = "AC/../../AC" + "1" * 20
    yield "address: an account sid that climbs", Kind(url=f"{_OWN}{_ME}", account_sid=sid, ends="address")


def _redirections() -> Iterator[tuple[str, Kind]]:
    """Redirects to where nobody may be led."""
    for name, location in {
        "the machine's metadata": "https://169.254.169.254/latest/meta-data/",
        "the machine's metadata over http": "http://169.254.169.254/latest/meta-data/",
        "metadata at a public address": "https://168.63.129.16/machine",
        "this machine": "https://127.0.0.1/",
        "this machine by name": "https://localhost/",
        "this machine in IPv6": "https://[::1]/",
        "no address": "https://0.0.0.0/",
        "a private network": "https://192.168.0.1/",
        "a carrier's network": "https://100.64.0.1/",
        "a private network mapped into IPv6": "https://[::ffff:10.0.0.1]/",
        "a private network through NAT64": "https://[64:ff9b::a00:1]/",
        "a private network through 6to4": "https://[2002:a00:1::1]/",
        "an IPv6 network of one's own": "https://[fd00::1]/",
        "a link's own address": "https://[fe80::1]/",
        "a link's own address with its zone": "https://[fe80::1%25eth0]/",
        "many at once": "https://224.0.0.1/",
        "a decimal number": "https://2130706433/",
        "a hexadecimal number": "https://0x7f000001/",
        "an octal number": "https://0177.0.0.1/",
        "a shortened address": "https://127.1/",
        "wide digits": "https://\uff11\uff12\uff17.0.0.1/",
        "a name of a private address": "https://inside.example/",
        "a name of two addresses, one private": "https://both.example/",
        "a public host without https": f"http://{CDN}/",
        "another port": f"https://{CDN}:8443/",
        "a host behind a user name": f"https://{CDN}@127.0.0.1/",
        "a host with a password": f"https://a:b@{CDN}/",
        "backslashes": "https:\\\\127.0.0.1\\",
        "a file": "file:///etc/passwd",
        "another protocol": "gopher://127.0.0.1:6379/_FLUSHALL",
        "nowhere": "",
        "a line of its own": "https://127.0.0.1/ Host: x",
        "itself": "SELF",
    }.items():
        yield f"redirect to {name}", Kind(api=redirects(location), ends="redirect")
    yield "redirect from the second host inside", Kind(cdn=redirects("https://10.0.0.1/"), ends="redirect")
    yield "redirect of 100 KB", Kind(api=redirects(f"https://{CDN}/" + "x" * 100_000), ends="failing")
    yield "a name that changes its address meanwhile", Kind(api=redirects("https://rebinding.example/"), ends="kept")
    yield "a certificate of somebody else", Kind(api=redirects("https://untrusted.example/"), ends="failing")


def _contents() -> Iterator[tuple[str, Kind]]:
    """What is sent once the way was right."""
    for name, body, announced_type in (
        ("a page as a picture", b"<!DOCTYPE html><script>alert(1)</script>" * 300, "image/jpeg"),
        ("a page as a page", b"<!DOCTYPE html><script>alert(1)</script>", "text/html"),
        ("a drawing with a script", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/svg+xml"),
        ("a program", b"MZ\x90\0\3\0\0\0" + bytes(20_000), "image/jpeg"),
        ("a program as a document", b"\x7fELF\2\1\1" + bytes(20_000), "application/pdf"),
        ("a shell script without a type", b"#!/bin/sh\n\0rm -rf /\n", "application/octet-stream"),
        ("a picture as sound", JPEG, "audio/ogg"),
        ("a document as a picture", b"%PDF-1.7\n" * 2000, "image/png"),
        ("zeros", bytes(50_000), "image/jpeg"),
        ("an archive as a document", _archive("payload.exe"), "application/vnd.ms-excel"),
        ("an archive that unpacks to 900 times its size", _archive("a", size=900_000), "application/zip"),
        ("text with a program in it", b"hello\n" * 2000 + b"\0\1\2", "text/plain"),
    ):
        yield name, Kind(cdn=gives(body), announced_type=announced_type, ends="type")
    yield "nothing at all", Kind(cdn=gives(b""), ends="empty")
    bomb = gzip.compress(JPEG + bytes(50_000_000))
    yield "a bomb in its encoding", Kind(cdn=gives(bomb, "Content-Encoding: gzip"), ends="encoding")
    yield "encodings within encodings", Kind(cdn=gives(bomb, "Content-Encoding: identity, gzip, br"), ends="encoding")
    yield "a length over the limit", Kind(cdn=gives(JPEG, length=2**40), ends="size")
    yield "a length that is too small", Kind(cdn=gives(JPEG + b"\0" * 5_000, length=len(JPEG)), ends="failing")
    yield (
        "a length that is no number",
        Kind(cdn=pours(b"HTTP/1.1 200 X\r\nContent-Length: 1x\r\n\r\n", b""), ends="failing"),
    )
    yield "less than announced", Kind(cdn=gives(JPEG[:900], length=9000), ends="failing")
    zeros = bytes(64 * 1024)
    yield "no end", Kind(cdn=pours(_CLOSING + JPEG, zeros), ends="size")
    yield "no end, in chunks", Kind(cdn=pours(_CHUNKED + _chunk(JPEG), _chunk(zeros)), ends="size")
    yield "one byte at a time", Kind(cdn=pours(_CLOSING + JPEG, b"\0", 0.05), ends="slow")
    yield "one byte of a header at a time", Kind(cdn=pours(b"HTTP/1.1 200 X\r\nX-A: ", b"x", 0.05), ends="slow")
    yield "silence", Kind(cdn=pours(b"", b"", 0.05), ends="slow")
    yield "headers without end", Kind(cdn=pours(b"HTTP/1.1 200 X\r\n", b"X-A: b\r\n" * 1000), ends="failing")
    yield (
        "a header without end",
        Kind(cdn=pours(b"HTTP/1.1 200 X\r\nX-A: ", zeros.replace(b"\0", b"x")), ends="failing"),
    )
    yield "a chunk's extension without end", Kind(cdn=pours(_CHUNKED + b"5;", b"x" * 60_000), ends="slow")
    yield (
        "trailers without end",
        Kind(cdn=pours(_CHUNKED + b"1\r\n\xff\r\n0\r\n", b"X-A: b\r\n" * 1000), ends="failing"),
    )
    yield "a chunk of more bytes than there are", Kind(cdn=pours(_CHUNKED + b"f" * 40 + b"\r\n", zeros), ends="failing")
    yield "hints without end", Kind(cdn=pours(b"", b"HTTP/1.1 103 X\r\n\r\n" * 100, 0.001), ends="slow")
    yield "noise", Kind(cdn=pours(b"\x16\x03\x01", b"\xfe\x00\x80\r\n" * 1000), ends="failing")
    yield "errors without end", Kind(cdn=gives(b"", status=500), ends="failing")
    yield "a login that is refused", Kind(api=gives(b"", status=401), ends="login")
    yield "nothing there", Kind(api=gives(b"", status=404), ends="missing")
    yield "a part of it", Kind(cdn=gives(JPEG, status=206), ends="failing")


def kinds() -> dict[str, Kind]:
    """Every way that there is here, by name."""
    return {**dict(_addresses()), **dict(_redirections()), **dict(_contents())}


@dataclass(slots=True)
class Outcome:
    """How one ended: the reason, or `kept`; and whether a file was left."""

    ends: str
    file: bool
    size: int = 0


async def attack(net: Internet, downloads: Downloads, place: Path, index: int, kind: Kind) -> Outcome:
    """Let the download meet this kind."""
    own = media_url(index)
    here, there = own.removeprefix("https://"), f"{CDN}/{index}"
    location = f"https://{there}"
    net.sites[here] = kind.api or redirects(location, "Set-Cookie: a=b; Path=/")
    net.sites[there] = kind.cdn or gives(JPEG)
    net.sites["rebinding.example/"] = gives(JPEG)
    into = place / str(index)
    try:
        taken = await downloads.fetch(
            url=own if kind.url is None else kind.url,
            account_sid=kind.account_sid,
            message_sid=kind.message_sid,
            login=LOGIN,
            announced_type=kind.announced_type,
            into=into,
        )
    except (MediaRefused, MediaUnavailable) as error:
        return Outcome(error.reason, into.exists())
    return Outcome("kept", into.exists(), taken.size_bytes)


@dataclass(slots=True)
class Report:
    """What became of all kinds."""

    outcomes: dict[str, Outcome]
    trapped: int
    dialled: set[str]
    elsewhere_with_login: int
    elsewhere_with_cookie: int
    looked_up_rebinding: int


async def run(place: Path, *, at_once: int = 16, slow_s: float = 1.0, **settings: Any) -> Report:
    """Let a download meet every kind, so many at once; files go to `place`.

    `slow_s` is the deadline of the kinds that end with it; the others have all the time that a busy machine needs.
    """
    outcomes: dict[str, Outcome] = {}
    every = iter(enumerate(kinds().items(), start=1))
    async with internet() as net:
        patient, short = net.downloads(deadline_s=60.0, **settings), net.downloads(deadline_s=slow_s, **settings)

        async def one() -> None:
            for index, (name, kind) in every:
                downloads = short if kind.ends == "slow" else patient
                outcomes[name] = await attack(net, downloads, place, index, kind)

        await asyncio.gather(*(one() for _ in range(at_once)))
        await patient.aclose()
        await short.aclose()
        elsewhere = [call for call in net.calls if call.host != API]
        return Report(
            outcomes=outcomes,
            trapped=net.trapped,
            dialled=set(net.dialled),
            elsewhere_with_login=sum("authorization" in call.headers for call in elsewhere),
            elsewhere_with_cookie=sum("cookie" in call.headers for call in net.calls),
            looked_up_rebinding=net.names.asked["rebinding.example"],
        )


@dataclass(slots=True)
class Parsed:
    """What parsing hostile documents took: how many parsers at once, and the memory of all of them."""

    documents: int
    seconds: float
    parsers_at_once: int = 0
    parsers_mb_at_most: float = 0.0


async def read_at_once(paths: list[Path]) -> Parsed:
    """Let a worker's reader look into all of these documents at once."""
    reader, began = Reader(), time.monotonic()
    result = Parsed(len(paths), 0.0)
    reading = [asyncio.create_task(reader.read(path, "application/octet-stream")) for path in paths]
    while not all(task.done() for task in reading):
        memory = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                memory.append(child.memory_info().rss / 1e6)
        result.parsers_at_once = max(result.parsers_at_once, len(memory))
        result.parsers_mb_at_most = max(result.parsers_mb_at_most, round(sum(memory), 1))
        await asyncio.sleep(0.02)
    result.seconds = round(time.monotonic() - began, 1)
    return result


def hostile_documents(folder: Path) -> list[Path]:
    """Small files that take much to be read: tables, an archive that unpacks to 100 MB, pages that hold themselves."""
    endless = [documents.endless_table(folder / f"table{n}", rows=rows) for n, rows in enumerate((500, 2_000, 20_000))]
    bomb = documents.archive(folder / "bomb", {"word/document.xml": b"0" * 100_000_000})
    lying = documents.lying_about_its_size(folder / "lying", "word/document.xml", b"0" * 100_000_000)
    pages = folder / "pages"
    pages.write_bytes(
        b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids["
        + b"2 0 R " * 2_000
        + b"]/Count 99999999>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    return [*endless, bomb, lying, pages, *endless[:2]]


def measure(*, rounds: int = 3) -> dict[str, Any]:
    """All kinds, a few times over, with the limits of a worker; in a process of its own, whose memory is looked at."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.media", str(rounds)], capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _main(rounds: int) -> dict[str, Any]:
    me, most, began = psutil.Process(), 0, time.monotonic()
    before = me.memory_info().rss
    strange: list[str] = []
    trapped = stored = with_login = fetched = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, me.memory_info().rss)
            await asyncio.sleep(0.01)

    async def attack_all(place: Path) -> Report:
        watching = asyncio.create_task(watch())
        try:
            return await run(place, slow_s=5.0, max_bytes=16_000_000, pauses_s=(0.1, 0.3))
        finally:
            watching.cancel()

    with tempfile.TemporaryDirectory() as folder:
        parsed = asyncio.run(read_at_once(hostile_documents(Path(folder))))
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            report = asyncio.run(attack_all(Path(folder)))
            stored += len([path for path in Path(folder).rglob("*") if path.is_file()])
        fetched += sum(outcome.ends == "kept" for outcome in report.outcomes.values())
        trapped += report.trapped
        with_login += report.elsewhere_with_login
        strange += [
            f"{name}: {report.outcomes[name].ends}"
            for name, kind in kinds().items()
            if report.outcomes[name].ends != kind.ends
        ]
    return {
        "kinds": len(kinds()),
        "rounds": rounds,
        "not_as_expected": strange,
        "files_left": stored,
        "files_of_what_was_harmless": fetched,
        "connections_to_elsewhere": trapped,
        "logins_shown_elsewhere": with_login,
        "documents": asdict(parsed),
        "memory_mb_before": round(before / 1e6, 1),
        "memory_mb_at_most": round(most / 1e6, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    telemetry.configure(format="json", level="WARNING")  # figures alone are on standard output
    print(json.dumps(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)))
