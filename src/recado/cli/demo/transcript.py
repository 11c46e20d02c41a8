"""The transcript: each conversation as its contact's business would see it, with ticks and times."""

from __future__ import annotations

from collections.abc import Sequence

from rich.align import Align
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.text import Text

from recado.cli.demo.check import Promise
from recado.cli.demo.play import Contact, Incident, Seen
from recado.simulator.views import Bubble

#: Of a long text this many characters are shown from its start and from its end.
ENDS_CHARS = 150
WIDTH = 62
TICKS = {
    "queued": "🕓",
    "accepted": "🕓",
    "sending": "🕓",
    "sent": "✓",
    "delivered": "✓✓",
    "read": "[bright_blue]✓✓[/bright_blue]",
    "failed": "[red]✗[/red]",
    "undelivered": "[red]✗[/red]",
}


def show(console: Console, seen: Seen) -> None:
    """Print the conversations, one after the other, in the order in which things happened in each."""
    for contact, thread in seen.threads.items():
        if not thread:
            continue
        began = thread[0].created_at
        console.rule(f"[bold]{contact.name}[/bold] [dim]{contact.address}[/dim]", align="left")
        lines: list[tuple[float, RenderableType]] = [
            (bubble.created_at, _bubble(bubble, began, _heard_at(thread, bubble), seen.transcript)) for bubble in thread
        ]
        lines += [(incident.at, _incident(incident, began)) for incident in _of(seen.incidents, contact)]
        for _, line in sorted(lines, key=lambda item: item[0]):
            console.print(line)
        console.print()


def show_promises(console: Console, promises: Sequence[Promise], wrong: Sequence[str]) -> None:
    """Print each promise with a mark, and what was found against it."""
    console.rule("[bold]promises[/bold]" if not wrong else "[bold red]promises[/bold red]", align="left")
    for promise in promises:
        mark = "[red]✗[/red]" if promise.broken_by else "[green]✓[/green]"
        console.print(f"{mark} {promise.says}")
        for problem in promise.broken_by:
            console.print(Text(f"    {problem}", style="red"))


def _of(incidents: Sequence[Incident], contact: Contact) -> list[Incident]:
    return [incident for incident in incidents if incident.contact == contact]


def _heard_at(thread: Sequence[Bubble], bubble: Bubble) -> float | None:
    """When the contact's last message before this reply came."""
    heard = [before.created_at for before in thread if before.inbound and before.seq < bubble.seq]
    return None if bubble.inbound or not heard else heard[-1]


def _bubble(bubble: Bubble, began: float, heard_at: float | None, transcript: str | None) -> RenderableType:
    foot = f"{bubble.created_at - began:.2f} s"
    if heard_at is not None:
        foot += f" · answered in {bubble.created_at - heard_at:.2f} s"
        if bubble.read_at is not None:
            foot += f" · read {bubble.read_at - bubble.created_at:.2f} s later"
        foot += f" {TICKS.get(bubble.status, bubble.status)}"
    text = f"🎤 {transcript}" if bubble.kind == "audio" else _abridged(bubble.body)
    widest = max((cell_len(line) for line in text.splitlines()), default=0)
    panel = Panel(
        Text(text),
        width=min(WIDTH, max(cell_len(Text.from_markup(foot).plain) + 6, widest + 4)),
        subtitle=f"[dim]{foot}[/dim]",
        subtitle_align="right",
        border_style="bright_black" if bubble.inbound else "green",
        padding=(0, 1),
    )
    return Align(panel, "left" if bubble.inbound else "right")


def _incident(incident: Incident, began: float) -> RenderableType:
    return Align(Text(f"⚡ {incident.at - began:.2f} s · {incident.text}", style="yellow"), "center")


def _abridged(body: str) -> str:
    if len(body) <= 3 * ENDS_CHARS:
        return body.strip()
    # Whole words, but for one that is longer than the end itself.
    start = body[:ENDS_CHARS].rsplit(maxsplit=1)[0].rstrip()
    end = body[-ENDS_CHARS:].split(maxsplit=1)[-1].strip()
    left_out = len(body) - len(start) - len(end)
    return f"{start}\n… {left_out} characters more …\n{end}"
