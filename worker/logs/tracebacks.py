"""Tracebacks: places and causes, without local variables and without values in messages."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import Any, Final

from pydantic import ValidationError

from worker.logs.redaction import redacted_text

MAX_FRAMES: Final = 25
"""Frames of one exception; the innermost are kept."""
MAX_CAUSES: Final = 6
MAX_MESSAGE: Final = 400
_QUOTED: Final = re.compile(r"'[^'\n]{1,2000}'|\"[^\"\n]{1,2000}\"")
_NAME: Final = re.compile(r"['\"][\w.]{1,64}['\"]")
_OF_CODE: Final = (AttributeError, ImportError, NameError, TypeError)
"""Exceptions whose messages quote names of the code. In other messages a quoted text may be anybody's value."""


def render_exceptions(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace `exc_info` by the rendered traceback, as `exception`: a processor of structlog."""
    error = logged_exception(fields.pop("exc_info", None))
    if error is not None:
        fields["exception"] = render_traceback(error)
    return fields


def render_traceback(error: BaseException) -> str:
    """The exception with its causes, the first cause first. Members of a group follow it, indented."""
    chain = [error]
    while len(chain) < MAX_CAUSES and (cause := _cause_of(chain[-1])) is not None and cause not in chain:
        chain.append(cause)
    return "\n\n".join("\n".join(_lines(link)) for link in reversed(chain))


def message_of(error: BaseException) -> str:
    """The message of an exception in one line, without values: quoted texts are left out unless they name code."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults)[:MAX_MESSAGE]
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 -- a message that cannot be made must not hide the error
        return ""
    # PostgreSQL puts the values of a row into the lines after the first one.
    line = text.partition("\n")[0]
    keeps_names = isinstance(error, _OF_CODE)
    return redacted_text(_QUOTED.sub(lambda quoted: _shown(quoted[0], keeps_names), line)[:MAX_MESSAGE])


def logged_exception(exc_info: Any) -> BaseException | None:
    """The exception that `exc_info` of a log call names: itself, in a tuple, or by True the one being handled."""
    if exc_info is True:
        return sys.exception()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None


def innermost_place(error: BaseException) -> str:
    """File and line at which an exception was raised; empty if it was not raised."""
    at: TracebackType | None = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else ""


def _lines(error: BaseException) -> Iterator[str]:
    yield "Traceback (most recent call last):"
    for frame in traceback.extract_tb(error.__traceback__, limit=-MAX_FRAMES):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
        if frame.line:
            yield f"    {frame.line}"
    yield f"{type(error).__module__}.{type(error).__qualname__}: {message_of(error)}"
    for member in error.exceptions[:3] if isinstance(error, BaseExceptionGroup) else ():
        yield from (f"  | {line}" for line in render_traceback(member).splitlines())


def _cause_of(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _shown(quoted: str, keeps_names: bool) -> str:
    return quoted if keeps_names and _NAME.fullmatch(quoted) else "'…'"
