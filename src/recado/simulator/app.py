"""The simulator as one application: Twilio's REST API, the control API, the phone; and how to run it."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from recado.simulator import engine as twilio
from recado.simulator import state as records
from recado.simulator.control.api import control_api
from recado.simulator.engine import Engine, Pace
from recado.simulator.phone import FOLDER, phone_pages
from recado.simulator.rest.api import ROOTS, RestApi
from recado.simulator.rest.files import FileHost
from recado.simulator.state import Account, Number

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
GRACE_S = 3
#: An idle connection is kept for longer than any client keeps one: a server that closes first may do so just as the
#: next request is on its way, which then fails though nothing is wrong (uvicorn's own 5 s are less than aiohttp's 15).
KEEP_ALIVE_S = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """An account that is there from the start, with its numbers."""

    account_sid: str
    auth_tokens: tuple[str, ...]
    api_keys: tuple[tuple[str, str], ...] = ()
    numbers: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """How the simulator starts; port 0 takes a free one.

    `allowed_hosts` are names besides the loopback's under which the control API and the phone may be reached.
    """

    host: str = "127.0.0.1"
    port: int = 8010
    accounts: tuple[AccountSettings, ...] = ()
    pace: Pace = field(default_factory=Pace)
    allowed_hosts: tuple[str, ...] = ()
    kept_calls: int = 50_000
    kept_webhooks: int = 50_000
    retry_delay_ms: float = 100
    webhook_connections: int = 64
    files_port: int = 0
    """Where the second host listens, which serves files and must see no credentials."""
    keeps_window: bool = True
    """Whether a message outside the 24-hour window is undelivered, as on WhatsApp."""


class Guard:
    """Lets only this machine's own pages and programs at the control API and the phone.

    Twilio's REST API is not guarded: it has its own credentials.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = LOOPBACK | set(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] == "http" and not self._may_pass(scope):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["path"].startswith(tuple(f"{root}/" for root in ROOTS)):
            return True
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if urlsplit(f"//{host}").hostname not in self._hosts:
            return False
        origin = headers.get(b"origin")
        return scope["method"] in ("GET", "HEAD") or origin is None or urlsplit(origin.decode("latin-1")).netloc == host


def new_engine(settings: SimulatorSettings) -> Engine:
    """An engine with the settings' accounts and numbers."""
    engine = Engine(
        pace=settings.pace,
        calls=deque(maxlen=settings.kept_calls),
        posted=deque(maxlen=settings.kept_webhooks),
        retry_delay_ms=settings.retry_delay_ms,
        connections=settings.webhook_connections,
        keeps_window=settings.keeps_window,
    )
    for account in settings.accounts:
        twilio.put_account(
            engine, Account(sid=account.account_sid, auth_tokens=account.auth_tokens, api_keys=account.api_keys)
        )
        for number in account.numbers:
            records.put_number(engine.state, account.account_sid, number)
    return engine


def create_app(settings: SimulatorSettings) -> FastAPI:
    """The ASGI application; its engine is `app.state.engine`."""
    engine = new_engine(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await twilio.open_engine(engine)
        yield
        await twilio.close_engine(engine)

    # The documentation page of FastAPI loads its scripts from another host; the schema alone stays here.
    app = FastAPI(
        title="recado's local Twilio",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        openapi_url="/sim/openapi.json",
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.engine = engine
    app.add_middleware(Guard, allowed_hosts=settings.allowed_hosts)
    rest = RestApi(engine)
    for root in ROOTS:
        app.mount(root, rest)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.include_router(control_api(engine))
    app.include_router(phone_pages(engine))
    return app


class EmbeddedServer(uvicorn.Server):
    """A server inside another program, whose signals are not its business; `closing` ends what is held open."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signal handlers alone."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and leave no stream open."""
        self._closing.set()
        await super().shutdown(sockets)


def _server(app: ASGIApp, closing: asyncio.Event) -> EmbeddedServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        forwarded_allow_ips=[],
        ws="none",
    )
    return EmbeddedServer(config, closing)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        yield listener


def _url(settings: SimulatorSettings, listener: socket.socket) -> str:
    """Where others reach it: a listener on all addresses is reached on this machine's own."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{listener.getsockname()[1]}"


@asynccontextmanager
async def running(settings: SimulatorSettings | None = None) -> AsyncIterator[str]:
    """A simulator in this event loop, on free ports unless the settings name them; gives its base URL.

    Raises:
        OSError: a port is taken.

    """
    settings = settings or SimulatorSettings(port=0)
    with _listening(settings.host, settings.port) as listener, _listening(settings.host, settings.files_port) as second:
        app = create_app(settings)
        engine: Engine = app.state.engine
        engine.url, engine.files_url = _url(settings, listener), _url(settings, second)
        closing = engine.feed.closing
        servers = [(_server(app, closing), listener), (_server(FileHost(engine), closing), second)]
        serving = [asyncio.create_task(server.serve([at])) for server, at in servers]
        try:
            while not all(server.started for server, _ in servers):
                for task in serving:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)
            yield engine.url
        finally:
            for server, _ in servers:
                server.should_exit = True
            await asyncio.gather(*serving)


async def serve(settings: SimulatorSettings) -> None:
    """Run the simulator until it is cancelled, as Ctrl-C and a closing event loop do."""
    async with running(settings):
        await asyncio.Event().wait()
