"""The API process: the two webhook routes, health, and the pages that describe them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from recado import __version__, metrics
from recado.api.install import PARTS
from recado.api.install import install as install_api
from recado.channels.twilio.directory import Directory
from recado.connections import SEND_BYTES, patient
from recado.conversations.happenings import happened
from recado.counters import open_counters
from recado.db.changes import Change
from recado.db.group_commit import GroupCommit, Unavailable
from recado.db.pool import PASSING, Connection
from recado.edge import FAILED, Callers, Edge
from recado.errors import RecadoError, Rejected
from recado.identity import keys
from recado.journey.accept import accept as accepting
from recado.journey.confirm import confirm as confirming
from recado.journey.receive import door as receiving
from recado.journey.receive.limits import MessageLimits
from recado.ops import health
from recado.settings import Network, limits_of
from recado.wiring import Wiring

log = structlog.get_logger(__name__)

#: The framework's own spans, metrics and logs have paths and queries in them, and go wherever the environment says.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

WEBHOOKS = "/channels/twilio/v1/webhooks"
#: Routes of the API that let strangers try.
SIGN_INS, INVITED = "/v1/sessions", "/v1/invitations/accept"
#: An idle connection is kept for longer than proxies keep theirs (nginx and the usual load balancers: 60 s). A server
#: that closes first may do so just as a webhook is on its way, and a proxy may not send a POST twice.
KEEP_ALIVE_S = 75


def create_app(wiring: Wiring) -> FastAPI:
    """The application of one process; its lanes open and close with its lifespan."""
    directory = Directory(wiring.pool, wiring.keyring)
    door = receiving.Door(
        directory=directory,
        pool=wiring.pool,
        public_url=wiring.settings.public_url,
        trusted_proxies=wiring.settings.trusted_proxies,
    )

    rates = limits_of(wiring.settings.limits)
    counters = open_counters(wiring.settings.rate_limit_storage.get_secret_value())
    limits = MessageLimits(counters=counters, rates=rates, pool=wiring.pool)

    def forget_keys(change: Change | None) -> None:
        if change is None or change.table == "api_keys":
            keys.forget(wiring.pool, change.id if change else None)

    def lane(prepare: Callable[[Connection], Awaitable[None]]) -> Callable[[], Awaitable[Connection]]:
        async def connect() -> Connection:
            conn = await wiring.connect()
            await prepare(conn)
            return conn

        return connect

    acceptor: accepting.Acceptor = GroupCommit(
        lane(accepting.prepare),
        accepting.write,
        accepting.lane_of,
        apart=accepting.is_held,
        owner_of=lambda row: row.owner_id,
        door="accept",
    )
    confirmer: confirming.Confirmer = GroupCommit(
        lane(confirming.prepare),
        confirming.write,
        confirming.lane_of,
        owner_of=lambda row: row.owner_id,
        door="confirm",
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(acceptor)
            await stack.enter_async_context(confirmer)
            await stack.enter_async_context(wiring.changes.telling(directory.forget))
            await stack.enter_async_context(wiring.changes.telling(forget_keys))
            app.state.platform = await stack.enter_async_context(wiring.platform_pool(size=4, least=0))
            stack.push_async_callback(counters.aclose)
            metrics.COMMIT_WAITING.read = lambda: acceptor.waiting() | confirmer.waiting()
            yield

    app = FastAPI(
        title="recado",
        version=__version__,
        lifespan=lifespan,
        # What is off, and why, is in docs/explain/security.md; a test holds each.
        debug=False,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=NO_TELEMETRY,
        description="Answers WhatsApp messages with AI over Twilio.",
    )

    async def inbound(request: Request) -> Response:
        """What contacts write. 200: stored, now or before; repeated, it changes nothing."""
        return await receiving.receive(request, door, acceptor, limits, wiring.clock)

    async def outbound(request: Request) -> Response:
        """What became of what was sent: Twilio's status callbacks, in whatever order they come."""
        return await confirming.confirm(request, door, confirmer)

    app.add_middleware(Shortcut, handlers={WEBHOOKS + "/inbound": inbound, WEBHOOKS + "/outbound": outbound})
    if "ip" in rates:
        app.add_middleware(
            Edge,
            failures={
                WEBHOOKS: FAILED,
                SIGN_INS: FAILED | {422, 429},
                INVITED: FAILED | {422},
                "/v1/": frozenset([401]),
            },
            counters=counters,
            rate=rates["ip"],
            trusted_proxies=wiring.settings.trusted_proxies,
        )
    for path, endpoint in (("/inbound", inbound), ("/outbound", outbound)):
        app.add_api_route(
            WEBHOOKS + path,
            endpoint,
            methods=["POST"],
            tags=["Twilio webhooks"],
            response_class=Response,
            responses=_CONTRACT,
            openapi_extra=_FORM,
            summary=path,
        )

    @app.get("/livez", tags=["Operations"])
    @app.get("/healthz", tags=["Operations"])
    async def livez() -> dict[str, str]:
        """The process is up and answers; no database is asked. `/healthz` is the same."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["Operations"])
    async def readyz() -> Response:
        """It can accept: the database answers, with a schema that this version works with: 200, else 503.

        That no worker is alive is a warning: what is accepted waits for one.
        """
        found = await health.check(wiring.pool)
        return JSONResponse(
            {
                "status": "not ready" if found.problems else "ready",
                "problems": found.problems,
                "warnings": found.warnings,
            },
            503 if found.problems else 200,
        )

    app.add_exception_handler(Rejected, _rejected)
    for away in (Unavailable, *PASSING):
        app.add_exception_handler(away, _unavailable)
    install_api(app, wiring, Callers(wiring.settings.trusted_proxies).of)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    return app


Handler = Callable[[Request], Awaitable[Response]]


class Shortcut:
    """Calls the webhooks' handlers before the framework has looked at the request.

    The routes stay declared for their description and for other methods; what the framework does for a route that
    declares no parameter is a third of what a webhook costs this process (`bench/ack.py`).
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handler]) -> None:
        self.app = app
        self.handlers = handlers

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer a webhook, errors included; hand everything else on."""
        handler = self.handlers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except Rejected as error:
            response = await _rejected(request, error)
        except (Unavailable, *PASSING) as error:
            response = await _unavailable(request, error)
        except ClientDisconnect:
            return
        except Exception as error:
            response = await _unexpected(request, error)
        route = scope["path"].rpartition("/")[2]
        metrics.WEBHOOK_SECONDS(route, _outcome(response.status_code)).observe(time.perf_counter() - began)
        await response(scope, receive, send)


def _outcome(status: int) -> str:
    """What an answer to a webhook counts as."""
    if status < 400:
        return "accepted"
    return "refused" if status < 500 else "unavailable" if status == 503 else "failed"


_FORM = {
    "requestBody": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}},
    },
    "parameters": [
        {
            "name": "X-Twilio-Signature",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "Base64 of the HMAC-SHA1 of URL and parameters under the account's auth token.",
        },
        {
            "name": "X-API-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "Instead of a signature: a key of the account's owner with the scope `webhooks`.",
        },
    ],
}
_CONTRACT: dict[int | str, dict[str, object]] = {
    200: {"description": "Stored, now or before; an empty TwiML response.", "content": {"text/xml": {}}},
    400: {"description": "The body can't be read.", "content": {"application/problem+json": {}}},
    403: {"description": "Neither signed nor with a key of the owner.", "content": {"application/problem+json": {}}},
    413: {"description": "Larger than 256 KiB.", "content": {"application/problem+json": {}}},
    415: {"description": "Neither a form nor JSON.", "content": {"application/problem+json": {}}},
    429: {"description": "Too many failed calls of this address.", "content": {"application/problem+json": {}}},
    503: {"description": "Nothing was stored; try again.", "content": {"application/problem+json": {}}},
}

_TITLES = {
    400: "Bad request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    413: "Content too large",
    415: "Unsupported media type",
    500: "Internal error",
    503: "Unavailable",
}


def problem(status: int, headers: dict[str, str] | None = None) -> Response:
    """A problem document (RFC 9457) that says what the status says, and nothing of what is inside."""
    return JSONResponse(
        {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status},
        status,
        headers=headers,
        media_type="application/problem+json",
    )


async def _rejected(request: Request, error: Exception) -> Response:
    assert isinstance(error, Rejected)  # noqa: S101 - registered for this class
    await happened(
        None, "receive", "rejected", route=request.scope["path"], http_status=error.status, reason=error.reason
    )
    return problem(error.status)


def _route(request: Request) -> str:
    """The route that was called, as it is declared: its path may hold a link's token."""
    route = request.scope.get("route")
    return str(getattr(route, "path", None) or request.scope["path"])


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("unavailable", route=_route(request), http_status=503, error=type(error).__name__)
    return problem(503, {"Retry-After": "1"})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    headers = dict(error.headers) if error.headers else {}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem(error.status_code, headers)


def _methods(request: Request) -> set[str]:
    """What the path takes; the framework names the methods of the first of its routes only."""
    known = chain(request.app.routes, *(part.router.routes for part in PARTS))
    routes = (route for route in known if isinstance(route, Route) and route.path_regex.match(request.scope["path"]))
    return {method for route in routes for method in route.methods or ()}


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", route=_route(request), exc_info=error)
    return problem(500)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: the entry point decides when this process stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `until_stopped`."""
        yield


def server(app: FastAPI, host: str, port: int, *, trusted_proxies: Sequence[Network] = ()) -> Server:
    """A server for the application; headers of proxies are not trusted here but where signatures are checked.

    One of `trusted_proxies` may hold as many connections as there are.
    """
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=5,
            limit_concurrency=1000,
            backlog=2048,
            http=patient(Callers(trusted_proxies)),
            ws="none",
            lifespan="on",
            http2=False,
            # Nothing of the environment (UVICORN_*, FORWARDED_ALLOW_IPS, WEB_CONCURRENCY) changes who is believed.
            forwarded_allow_ips=[],
            workers=1,
            root_path="",
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is said before anything is started; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # every connection inherits it
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise RecadoError(f"can't listen on {host}:{port}: {error.strerror}") from None
    sock.set_inheritable(True)
    return sock
