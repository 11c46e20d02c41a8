"""`recado demo`: four conversations through the real path on this machine, with a duplicate, a 429 and a `kill -9`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recado import telemetry
from recado.cli.app import app
from recado.errors import RecadoError

if TYPE_CHECKING:
    from rich.console import Console

    from recado.cli.demo.stage import Stage

#: The embedded database stops when the last process has left it; this is how long the demo waits for that.
STOPPED_S = 30.0


@app.command()
def demo(
    stay: Annotated[bool, typer.Option("--stay", help="Leave everything running until Ctrl-C; print where.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's folder: database and logs.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65000, help="Port of the API's metrics; the workers' are on those after it."),
    ] = None,
) -> None:
    """Play four conversations on this machine and check that every reply arrived exactly once.

    Needs no key, no account and no model. Starts a local Twilio, the API and two workers in a folder of its own, and
    leaves nothing behind. Exit code 0 only when every promise was kept.
    """
    import uvloop
    from rich.console import Console

    # What goes wrong on purpose is warned of by the product, and told by the transcript.
    telemetry.configure(format="console", level="ERROR")
    console = Console(highlight=False)
    home = Path(os.environ.get("RECADO_HOME") or ".recado").resolve() / f"demo-{secrets.token_hex(4)}"
    with _folder(home, keep=keep, console=console), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_show(home, console, stay=stay, metrics_port=metrics_port))
    if code:
        raise typer.Exit(code)


async def _show(home: Path, console: Console, *, stay: bool, metrics_port: int | None) -> int:
    async with _stop_signals() as stop:
        shown = asyncio.Event()
        playing = _all_of_it(home, console, stop, shown, stay=stay, metrics_port=metrics_port)
        showing = asyncio.create_task(playing)
        return await _unless(stop, showing, shown)


async def _all_of_it(
    home: Path,
    console: Console,
    stop: asyncio.Event,
    shown: asyncio.Event,
    *,
    stay: bool,
    metrics_port: int | None,
) -> int:
    from recado.cli.demo.stage import staged

    began = time.monotonic()
    with _progress(console) as tell:
        async with staged(home, tell, metrics_port=metrics_port) as stage:
            tell("")
            console.print(f"[dim]ready after {time.monotonic() - began:.1f} s: {stage.where}[/dim]\n")
            code = await _play(stage, console, tell)
            shown.set()
            if stay:
                tell("")
                await _stay(stage, console, stop)
            tell("stopping")
    return code


async def _play(stage: Stage, console: Console, tell: Tell) -> int:
    from recado.cli.demo.check import problems, promises
    from recado.cli.demo.play import play
    from recado.cli.demo.transcript import show, show_promises

    began = time.monotonic()
    seen = await play(stage, tell)
    tell("")
    show(console, seen)
    wrong = problems(seen)
    show_promises(console, promises(seen), wrong)
    took = time.monotonic() - began
    if wrong:
        console.print(f"\n[bold red]{len(wrong)} promise(s) broken[/bold red] in {took:.1f} s")
        return 1
    console.print(f"\n[bold green]Every reply was delivered exactly once[/bold green], in {took:.1f} s.")
    return 0


async def _stay(stage: Stage, console: Console, stop: asyncio.Event) -> None:
    """Leave it running until told to stop, with two workers again."""
    await stage.processes.start("worker-3", "worker")
    metrics = "".join(
        f"  metrics    http://127.0.0.1:{port}/metrics  ({name})\n" for name, port in stage.processes.metrics.items()
    )
    console.print(
        f"\n[bold]Running.[/bold] Ctrl-C stops it and removes what it made.\n"
        f"  phone      {stage.phone.base_url}/\n"
        f"  API        {stage.api_url}/docs\n"
        f"  readiness  {stage.api_url}/readyz\n"
        f"{metrics}"
        f"  logs       {stage.home}/*.log\n"
    )
    while not stop.is_set():
        stage.processes.check()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


async def _unless(stop: asyncio.Event, showing: asyncio.Task[int], shown: asyncio.Event) -> int:
    """The exit code of the show. A stop before its end cancels it, and it cleans up; after it nothing is left to break.

    Raises RecadoError when it was stopped before its end.
    """
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([showing, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not showing.done() and not shown.is_set():
        showing.cancel()
    try:
        return await showing
    except asyncio.CancelledError:
        raise RecadoError("the demo was stopped") from None


@asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set; a second one can't cut the cleaning up short."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Tell:
    """Says what is being done: one line each with its time, and a spinner where the terminal can show one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")
        self._doing = ""
        self._since = 0.0

    def __call__(self, doing: str) -> None:
        """What is done from now on; the empty text ends it."""
        if self._doing:
            took = time.monotonic() - self._since
            self._status.stop()
            self._console.print(f"[green]✓[/green] {self._doing} [dim]{took:.1f} s[/dim]")
        self._doing, self._since = doing, time.monotonic()
        if doing:
            self._status.update(f"{doing} ...")
            self._status.start()

    def stop(self) -> None:
        """Take the spinner away, without a word."""
        self._status.stop()


@contextmanager
def _progress(console: Console) -> Iterator[Tell]:
    tell = Tell(console)
    try:
        yield tell
        tell("")
    finally:
        tell.stop()


@contextmanager
def _folder(home: Path, *, keep: bool, console: Console) -> Iterator[None]:
    """The demo's own folder; at the end it goes with all that is in it, unless it is to be kept."""
    from recado.db import embedded

    home.mkdir(parents=True, mode=0o700)
    try:
        yield
    finally:
        stopped = embedded.wait_until_stopped(home, timeout_s=STOPPED_S)
        if keep:
            console.print(f"[dim]kept: {home}[/dim]")
        else:
            if not stopped:
                console.print("[yellow]the database did not stop in time; it ends now that its folder goes[/yellow]")
            _remove(home)


def _remove(home: Path) -> None:
    """Remove the folder; a process on its last breath may write into it meanwhile, so look again."""
    deadline = time.monotonic() + 5.0
    while home.exists() and time.monotonic() < deadline:
        shutil.rmtree(home, ignore_errors=True)
        time.sleep(0.02)
    with contextlib.suppress(OSError):
        home.parent.rmdir()  # only when nothing else is in it
