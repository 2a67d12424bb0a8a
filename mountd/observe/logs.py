"""Structured logs: pretty on a terminal, one JSON object per line otherwise, never a secret.

`configure` is called once by a program; modules take a logger from `get_logger` at any time. What libraries log through
the standard library joins the same stream from WARNING on. Writing a line never raises: a terminal that went away must
not end a mount.
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from mountd.errors import UsageError
from mountd.observe.redaction import redact, redact_value

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def get_logger(name: str, **context: object) -> FilteringBoundLogger:
    """Return a logger whose events carry `component=name` and `context`."""
    return cast("FilteringBoundLogger", structlog.get_logger(component=name, **context))


def level_from(environ: Mapping[str, str]) -> str:
    """Return the level that `MOUNTD_LOG_LEVEL` names; `info` if it names none.

    Raises:
        UsageError: it names something else.
    """
    level = environ.get("MOUNTD_LOG_LEVEL", "").strip().lower() or "info"
    if level not in LEVELS:
        raise UsageError(f"MOUNTD_LOG_LEVEL={level!r} is not a level; use one of {', '.join(LEVELS)}")
    return level


def configure(*, stream: TextIO | None = None, level: str | None = None) -> None:
    """Send logs to `stream` (standard error) from `level` (`MOUNTD_LOG_LEVEL`, or info) on.

    Raises:
        UsageError: `MOUNTD_LOG_LEVEL` names no level.
    """
    stream = sys.stderr if stream is None else stream
    threshold = LEVELS[level_from(os.environ) if level is None else level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted,
            _renderer(stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_LineLoggerFactory(stream),
        cache_logger_on_first_use=False,  # a logger made before this call follows it too
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Remove secrets from every string of the event, nested values and exception text included."""
    return cast("dict[str, Any]", redact_value(event))


def _renderer(stream: TextIO) -> Processor:
    if stream.isatty():
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(serializer=_as_json)


def _as_json(event: object, **_options: object) -> str:
    return msgspec.json.encode(event, enc_hook=lambda value: redact(str(value))).decode()


class _LineLogger:
    """Writes one line per event, in one write: supervisor and worker share a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody is left to tell

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg


class _LineLoggerFactory:
    def __init__(self, stream: TextIO) -> None:
        self._logger = _LineLogger(stream)

    def __call__(self, *_args: object) -> _LineLogger:
        return self._logger


class _Bridge(logging.Handler):
    """Hands what libraries log to the same processors."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(record.name)
        try:
            log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a library's broken log call must not reach its caller
            self.handleError(record)
