"""Commands about what happens at a time: `jobs`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, ago, answer, at_desk, table
from recado.errors import RecadoError, UsageError

if TYPE_CHECKING:
    from recado.ops.jobs import Job, State

jobs_commands = group("jobs", "What happens at a time, once over all workers.")
app.add_typer(jobs_commands)

#: How often it is looked whether a job has ended.
LOOK_S = 0.3


@jobs_commands.callback(invoke_without_command=True, no_args_is_help=False)
def jobs(context: typer.Context, json: Json = False) -> None:
    """List the jobs: what each does, how often, what its last run came to, and when the next is."""
    if context.invoked_subcommand is not None:
        return

    async def main(desk: Desk) -> list[dict[str, Any]]:
        from recado.clock import zone_of
        from recado.ops.jobs import JOBS, states

        zone = zone_of(desk.wiring.settings.time_zone)
        found = await states(desk.platform)
        return [{**_shown(job, found.get(job.name)), "every": job.schedule.shown(zone)} for job in JOBS]

    found = at_desk(main)
    rows = [
        (
            *(row["name"], row["every"], row["started_at"], _outcome(row)),
            None if row["duration_ms"] is None else f"{row['duration_ms']} ms",
            *(row["next_at"], row["what"]),
        )
        for row in found
    ]
    heads = ("NAME", "EVERY", "LAST RUN (UTC)", "OUTCOME", "TOOK", "NEXT (UTC)", "WHAT")
    answer(found, as_json=json, text=table(heads, rows, empty=""))


@jobs_commands.command("run")
def run_job(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job's name, of `recado jobs`.")],
    json: Json = False,
) -> None:
    """Have a worker run a job now, and wait for what it comes to. Exit code 1 unless it was done."""
    from recado.ops.jobs import GRACE_S, JOBS

    job = next((one for one in JOBS if one.name == name), None)
    if job is None:
        raise UsageError(f"there is no such job: {', '.join(one.name for one in JOBS)}")

    async def main(desk: Desk) -> State:
        from recado.ops import jobs

        before = (await jobs.states(desk.platform)).get(job.name)
        if before is None or not await jobs.somebody_works(desk.platform):
            raise RecadoError("no worker is alive: start `recado serve` or `recado worker`")
        await jobs.ask(desk.platform, job.name)
        try:
            async with asyncio.timeout(2 * (job.bound_s + GRACE_S)):
                while True:
                    now = (await jobs.states(desk.platform))[job.name]
                    # One that ran already when it was asked for runs once more.
                    if now.asked_at is None and now.running_since is None and now.started_at != before.started_at:
                        return now
                    if not await jobs.somebody_works(desk.platform):
                        raise RecadoError("the last worker has ended: the job is run by the next one")
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise RecadoError("it is not done yet: `recado jobs` shows how it stands") from None

    state = at_desk(main)
    shown = _shown(job, state)
    answer(shown, as_json=json, text=f"{job.name}  {_outcome(shown)}  in {ago((state.duration_ms or 0) / 1000)}")
    if state.outcome != "done":
        raise typer.Exit(1)


def _shown(job: Job, state: State | None) -> dict[str, Any]:
    """One that no worker has known yet has no times."""
    of = {
        name: None if state is None else getattr(state, name)
        for name in ("running_since", "started_at", "finished_at", "outcome", "error", "duration_ms", "next_at")
    }
    return {"name": job.name, "what": job.what, **of}


def _outcome(row: dict[str, Any]) -> str | None:
    if row["running_since"] is not None:
        return "running"
    if row["error"]:
        return f"{row['outcome']}: {row['error']}"
    return None if row["outcome"] is None else str(row["outcome"])
