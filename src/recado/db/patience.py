"""Connections that give up a server which does not answer: a host or proxy that vanished without a word.

TCP says nothing where the other side's kernel, or a proxy, goes on acknowledging. So the wait for an answer has an end:
the connection is closed and its user hears an `OperationalError`, as of any connection that broke.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

T = TypeVar("T")

#: The longest that an answer is waited for. Longer than any statement of the product takes.
PATIENCE_S = 60.0
#: So long a server may take to end a statement whose caller has left.
CANCEL_S = 1.0
_INTERVAL_S = 0.1


class Silent(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed, the statement's outcome unknown."""


class PatientConnection(psycopg.AsyncConnection[Row]):
    """A connection whose answers are waited for `patience_s` at most.

    `uses` and `renewals` are those of `pool.renew_plans`.
    """

    patience_s = PATIENCE_S
    uses = renewals = 0

    async def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:  # noqa: ASYNC109 - psycopg's parameter
        """Do a piece of the protocol. Raises Silent when the server does not answer."""
        if timeout is not None:  # its caller means to go on afterwards
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.patience_s)
        except _WaitTimeout:
            self.pgconn.finish()
            raise Silent("the server does not answer") from None

    async def cancel_safe(self, *, timeout: float = CANCEL_S) -> None:  # noqa: ASYNC109 - psycopg's parameter
        """End what the server does for us; when it does not hear that either, close the connection."""
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_S))
        except (psycopg.Error, OSError):
            self.pgconn.finish()
            raise


class PatientThread(psycopg.Connection[Row]):
    """The same for threads, which may also listen: a wait for what nobody was asked for has no end."""

    patience_s = PATIENCE_S

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:
        """Do a piece of the protocol. Raises Silent when the server does not answer."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        while True:
            try:
                return super().wait(gen, interval, self.patience_s)
            except _WaitTimeout:
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.pgconn.finish()
                    raise Silent("the server does not answer") from None


def connect_thread(*given: Any, **options: Any) -> PatientThread[Any]:
    """What `psycopg.connect` does, for threads that must not hang."""
    return PatientThread.connect(*given, **options)
