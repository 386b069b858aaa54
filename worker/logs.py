"""One formatter for structlog and the standard library: for people on a terminal, as JSON lines for machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Literal

import structlog

_QUIET: Mapping[str, int] = {"httpx": logging.WARNING, "apprise": logging.CRITICAL, "urllib3": logging.ERROR}
"""Libraries that tell more than is wanted. `apprise` names who was written to, in its warnings and errors too, and those of
`urllib3` hold the address that was called: what became of a message is in the ledger, without a person in it."""


def configure_logging(format: Literal["console", "json"] = "console", level: int = logging.INFO) -> None:
    """Send everything to standard error, so that standard output carries only what was asked for."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.typing.Processor
    if format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
