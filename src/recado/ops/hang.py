"""A worker whose event loop hangs does nothing and holds its work: it ends itself, and another goes on.

Python can't interrupt what holds the interpreter, such as a search of `re` without an end. `faulthandler` can: its
timer is a thread of C that needs nothing of the interpreter. It writes where every thread stood, files and lines and
nothing else, to standard error, and ends the process at once, as `kill -9` would.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: A loop that has not come round for so long hangs: webhooks of `recado serve` would wait for it, too.
HANG_S = 30.0


@asynccontextmanager
async def ending_hangs() -> AsyncIterator[None]:
    """While it is open, end this process with exit code 1 when its event loop hangs. For entry points only."""
    if sys.stderr is None:
        yield
        return

    async def wind() -> None:
        while True:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            await asyncio.sleep(HANG_S / 10)

    winding = asyncio.create_task(wind(), name="hang")
    try:
        yield
    finally:
        winding.cancel()
        faulthandler.cancel_dump_traceback_later()
