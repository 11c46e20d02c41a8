"""The models that are open in an event loop, each with its HTTP client: so many at most, the one unused longest goes.

Owners name models as they like, and each name is a client with connections of its own. A client can't be used from
another event loop, and is closed only when nobody is using it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import structlog

from recado.errors import SettingsError
from recado.hidden import watch

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.models import Model
    from pydantic_ai.settings import ModelSettings

log = structlog.get_logger(__name__)

#: So many are kept open that nobody is using at this moment.
MOST: Final = 16


@dataclass(slots=True, eq=False)
class _Mind:
    """One model: `opened` gives its agent, `users` are at work with it."""

    opened: asyncio.Task[Agent[None, str]]
    stack: AsyncExitStack
    users: int = 0


@dataclass(slots=True)
class _Minds:
    """The models of one event loop by name, the one used last at the end."""

    by_name: dict[str, _Mind] = field(default_factory=dict)


_minds: WeakKeyDictionary[asyncio.AbstractEventLoop, _Minds] = WeakKeyDictionary()


@asynccontextmanager
async def agent_of(model: str, make: Callable[[str], Model]) -> AsyncIterator[Agent[None, str] | None]:
    """The one agent of a model in this event loop, opened on first need; None when it can't be made here."""
    minds = _minds.setdefault(asyncio.get_running_loop(), _Minds())
    mind = minds.by_name.pop(model, None)
    if mind is None:
        stack = AsyncExitStack()
        mind = _Mind(asyncio.ensure_future(_open(model, make, stack)), stack)
    minds.by_name[model] = mind
    mind.users += 1
    try:
        yield await _opened(model, mind, minds)
    finally:
        mind.users -= 1
        await _close_unused(minds)


async def _opened(model: str, mind: _Mind, minds: _Minds) -> Agent[None, str] | None:
    try:
        # One caller's end must not end it for the others.
        return await asyncio.shield(mind.opened)
    except Exception as error:
        problem = str(error) if isinstance(error, SettingsError) else type(error).__name__
        log.warning("model_not_configured", model=model, reason=problem)
        if minds.by_name.get(model) is mind:
            del minds.by_name[model]
        return None


async def _open(model: str, make: Callable[[str], Model], stack: AsyncExitStack) -> Agent[None, str]:
    opened = await asyncio.to_thread(make, model)
    from pydantic_ai import Agent

    settings: ModelSettings = {}
    if "max_retries" not in opened.unsupported_settings:
        # The provider's own retries know nothing of our bound.
        settings["max_retries"] = 0
    watch(getattr(opened, "client", None))
    await stack.enter_async_context(opened)
    return Agent(opened, model_settings=settings, retries=0)


async def _close_unused(minds: _Minds) -> None:
    """Close those unused longest, as long as more than `MOST` are open."""
    unused = [name for name, mind in minds.by_name.items() if mind.users == 0 and mind.opened.done()]
    for name in unused[: max(0, len(unused) - MOST)]:
        await _close(name, minds.by_name.pop(name))


async def _close(name: str, mind: _Mind) -> None:
    try:
        await mind.stack.aclose()
    except Exception as error:  # a connection that breaks while it closes is closed
        log.warning("model_not_closed", model=name, error=type(error).__name__)


async def aclose() -> None:
    """Close the models and HTTP clients of the running event loop; a later `agent_of` opens new ones."""
    minds = _minds.pop(asyncio.get_running_loop(), None)
    for name, mind in list(minds.by_name.items()) if minds is not None else ():
        await asyncio.wait([mind.opened])
        await _close(name, mind)
