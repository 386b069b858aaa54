"""Configuration of logging: lines for people or JSON lines, on standard error.

Records are filtered first and rendered last, so that an error that is not logged costs nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Literal

import structlog

from worker.logs.redaction import redact_fields
from worker.logs.repetition import RepeatedErrors
from worker.logs.tracebacks import render_exceptions

_QUIET: Mapping[str, int] = {"httpx": logging.WARNING, "apprise": logging.CRITICAL, "urllib3": logging.ERROR}
"""Lowest level that is logged of a library. `apprise` logs recipients even in errors, and `urllib3` the called URL; the ledger
records what became of a message without personal data."""


def configure_logging(format: Literal["console", "json"] = "console", level: int = logging.INFO) -> None:
    """Log to standard error, so that standard output holds only a command's result."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatedErrors())
    handler.setFormatter(_formatter(format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    sys.excepthook = _log_end
    logging.raiseExceptions = False  # a record that cannot be written would be printed with its values


def _formatter(format: Literal["console", "json"]) -> logging.Formatter:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact_fields,
            render_exceptions,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
    )


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends the process, as the interpreter would print it with its values."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().critical("process.failed", exc_info=error)
