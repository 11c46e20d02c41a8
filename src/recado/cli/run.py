"""Commands that run the product: `serve`, `api`, `worker`, and `migrate` before them."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recado.cli.app import app
from recado.cli.terminal import Host, Json
from recado.db.work import SERVED
from recado.errors import RecadoError, UsageError

if TYPE_CHECKING:
    from recado.settings import Settings
    from recado.stopping import Deadline
    from recado.wiring import Wiring

Queues = Annotated[str, typer.Option(metavar="QUEUES", help="The queues it serves, comma-separated.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of the metrics, at /metrics of RECADO_METRICS_HOST; 0 takes a free one.",
    ),
]


def _settings(*, metrics_port: int | None = None) -> Settings:
    from recado import secretfiles, telemetry
    from recado.settings import load

    secretfiles.put_in()
    settings = load() if metrics_port is None else load(metrics_port=metrics_port)
    telemetry.configure(format=settings.log_format, level=settings.log_level)
    telemetry.catch_all()
    return settings


def _run(main: Coroutine[Any, Any, int]) -> None:
    import uvloop

    from recado.stopping import has_threads, leave

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(main)
    if has_threads():  # the engine's, which a database that says nothing has kept: the interpreter would wait for them
        leave(code)
    if code:
        raise typer.Exit(code)


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, metrics_port: MetricsPort = None) -> None:
    """Run API and worker, each in a process of its own; the worker ends with this one."""
    _run(_process(_settings(metrics_port=metrics_port), host=host, port=port, api=True, work=(), beside=SERVED))


@app.command()
def api(host: Host = "127.0.0.1", port: Port = 8000, metrics_port: MetricsPort = None) -> None:
    """Run the API only: webhooks are accepted, workers elsewhere answer."""
    _run(_process(_settings(metrics_port=metrics_port), host=host, port=port, api=True, work=()))


@app.command()
def worker(queues: Queues = "turns,deliveries,media", metrics_port: MetricsPort = None) -> None:
    """Run a worker only; any number of them share the work."""
    served = tuple(dict.fromkeys(name.strip() for name in queues.split(",") if name.strip()))
    if not served or not set(served) <= set(SERVED):
        raise UsageError(f"--queues takes {', '.join(SERVED)}, separated by commas")
    _run(_process(_settings(metrics_port=metrics_port), host="", port=0, api=False, work=served))


async def _process(
    settings: Settings, *, host: str, port: int, api: bool, work: Sequence[str], beside: Sequence[str] = ()
) -> int:
    """One process until SIGTERM or SIGINT, or until another worker has taken over; answers the exit code.

    `beside` is what a worker in a process of its own serves meanwhile. From the signal on it ends within 20 s.
    """
    import structlog

    from recado.cli.beside import Tie, keep_worker
    from recado.cli.observed import observed
    from recado.heartbeat import beating, reached_at
    from recado.metrics.endpoint import Beside
    from recado.ops import gauges, lag
    from recado.stopping import ENDS_S, SLOW_S, Deadline, end
    from recado.wiring import wire

    tie = Tie()
    code = 0
    later_s = 0.6 if beside else 0.0  # than the worker, which has as long
    deadline = Deadline(slow_s=SLOW_S + later_s, ends_s=ENDS_S + later_s)
    async with AsyncExitStack() as stack:
        sock = None
        if api:
            from recado.app import bind

            sock = stack.enter_context(bind(host, port))
        stop = await stack.enter_async_context(stop_signals(deadline))
        page = Beside() if beside and settings.metrics_port is not None else None
        shown = stack.enter_context(observed(settings, "api" if api else "worker", beside=page))
        wiring = await stack.enter_async_context(wire(settings))
        await _check_keys(wiring)
        working_beside = None
        if beside:
            working_beside = asyncio.create_task(keep_worker(stop, beside, page), name="worker-process")
            stack.push_async_callback(asyncio.wait, [working_beside])
        if work:
            from recado.worker import working

            def declared_dead() -> None:
                nonlocal code
                code = 1
                deadline.begin(asyncio.get_running_loop())
                stop.set()

            from recado.ops.hang import ending_hangs

            await stack.enter_async_context(ending_hangs())
            at_work = working(wiring, declared_dead=declared_dead, queues=work, shown=shown)
            executor = await stack.enter_async_context(at_work)
            await stack.enter_async_context(beating(settings.home, "worker", executor.is_well))
        if sock is not None:
            from recado.app import create_app, server

            proxies = wiring.settings.trusted_proxies
            if shown:
                watching = asyncio.create_task(gauges.watch(around=wiring.pool), name="gauges")
                stack.push_async_callback(end, watching)
            serving = server(create_app(wiring), *sock.getsockname()[:2], trusted_proxies=proxies)
            task = asyncio.create_task(serving.serve(sockets=[sock]))
            while not serving.started and not task.done():
                await asyncio.sleep(0.01)
            spare_the_collector()
            url = "http://{}:{}".format(*reached_at(*sock.getsockname()[:2]))
            await stack.enter_async_context(beating(settings.home, "api", lambda: True, url=url))
            stack.push_async_callback(end, asyncio.create_task(lag.watch(), name="lag"))
            structlog.get_logger("recado").info("listening", host=sock.getsockname()[0], port=sock.getsockname()[1])
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            serving.should_exit = True
            await task
            if not stop.is_set():
                stop.set()
                raise RecadoError("the server could not start")
            if working_beside is not None:
                code = await working_beside
        else:
            spare_the_collector()
            stack.push_async_callback(end, asyncio.create_task(lag.watch(), name="lag"))
            tie.works()
            await stop.wait()
    return code


async def _check_keys(wiring: Wiring) -> None:
    """Raise SettingsError, before anything is served, when a stored secret needs a key that is not there."""
    from recado.ops.backup import keys

    async with await wiring.connect("recado_platform") as platform:
        await keys.refuse_wrong(platform, wiring.keyring)


@app.command()
def migrate(
    functions: Annotated[
        bool, typer.Option("--functions", help="Replace functions that another recado put there, too.")
    ] = False,
) -> None:
    """Bring the database to this version's schema, while others use it. Never drops data."""
    from recado.db.migrate import migrate as bring_up
    from recado.wiring import database

    settings = _settings()
    with database(settings) as there:
        done = bring_up(there.admin_url, login=there.login, platform_login=there.platform_login, own=functions)
    typer.echo("\n".join(done) if done else "nothing to do: the schema is one that this version works with")


@app.command()
def health(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="api or worker: only those.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only whether they live, not whether they are ready.")] = False,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Ask an API at this address instead.")] = None,
    json: Json = False,
) -> None:
    """Whether the processes of this machine are well: exit code 0, or 1 if one is not or there is none."""
    from recado.cli.health import run

    told = (*([kind] if kind else ()), *(["--live"] if live else ()), *(["--url", url] if url else ()))
    raise typer.Exit(run([*told, *(["--json"] if json else ())]))


@asynccontextmanager
async def stop_signals(deadline: Deadline | None = None) -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; the deadline begins with it, and goes on until the process has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if deadline is not None:
            deadline.begin(loop)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def spare_the_collector() -> None:
    """Take what the start has made out of the garbage collector's rounds, and make them rarer.

    Modules, routes and statements live as long as the process; looked through with every few hundred new objects they
    cost a tenth of a webhook's time, and a fifth of a turn's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
