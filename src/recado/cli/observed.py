"""What a running process shows of itself: its metrics, on a port of their own or to the process beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recado.metrics import Role
    from recado.metrics.endpoint import Beside
    from recado.settings import Settings


@contextmanager
def observed(settings: Settings, role: Role, *, beside: Beside | None = None) -> Iterator[bool]:
    """Show this process's metrics while it is open, and send its traces, where they are asked for; answers the former.

    `beside` is the worker that this process starts. Raises RecadoError when the port is taken.
    """
    from recado.tracing import sending

    with sending(role), _page(settings, role, beside) as shown:
        yield shown


@contextmanager
def _page(settings: Settings, role: Role, beside: Beside | None) -> Iterator[bool]:
    from recado import __version__
    from recado.db.schema import HEAD
    from recado.metrics import endpoint, process

    asked = endpoint.is_beside()
    if settings.metrics_port is None and not asked:
        yield False
        return
    process.begin(role, version=__version__, workflows=_workflows(role), schema=HEAD)
    own = endpoint.page_of(role)
    if asked:
        endpoint.answer_beside(own)
        yield True
        return
    assert settings.metrics_port is not None  # noqa: S101 - or it would be asked
    page = own if beside is None else lambda: endpoint.together({role: own(), "worker": beside.page()})
    with endpoint.serving(page, settings.metrics_host, settings.metrics_port):
        yield True


def _workflows(role: Role) -> str:
    """The version of the workflows' code; a process without a worker's part has none."""
    if role != "worker":
        return "none"
    from recado.ops.engine.process import WORKFLOWS_VERSION

    return WORKFLOWS_VERSION
