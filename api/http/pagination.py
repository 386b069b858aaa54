"""Cursor pages.

Nothing is skipped or shown twice.

Nothing is skipped or shown twice.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, StringConstraints
from starlette.responses import Response

from api.http.problems import ProblemError

T = TypeVar("T")
LONGEST = 100

Limit = Annotated[int, Query(ge=1, le=LONGEST, description="Items of a page.")]
Cursor = Annotated[str | None, Query(max_length=600, description="`next` of the page before.")]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
RecordId = Annotated[
    str, Path(min_length=1, max_length=255, description="As senders name them; a slash is written %2F.")
]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 instant such as 2026-05-03T10:00:00Z")  # noqa: TRY004 -- pydantic's protocol
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_text, json_schema_input_type=AwareDatetime)]
"""Pydantic would take a number for seconds since 1970; a caller who sends one means something else."""
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_BIGINT = 2**63


class Page(BaseModel, Generic[T]):
    """One page. `next` is the cursor of the page after it, or null when this is the last."""

    items: list[T]
    next: str | None = None


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON out; instants as RFC 3339."""
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, headers, "application/json")


def page_of(rows: Sequence[dict[str, Any]], limit: int, place: Callable[[dict[str, Any]], tuple[Any, ...]]) -> Response:
    """A page of `limit` items from `limit + 1` rows; `place` is what the cursor of an item holds."""
    items = list(rows[:limit])
    following = encode(place(items[-1])) if len(rows) > limit else None
    return json_response({"items": items, "next": following})


def encode(place: tuple[Any, ...]) -> str:
    """A cursor from the place of the last item."""
    return urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The place in a cursor. Raises ProblemError for one that did not come from us."""
    if cursor is None:
        return None
    try:
        values = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError
        return tuple(_value(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, binascii.Error, OverflowError) as error:
        fault = {"detail": "is not a cursor of this list", "pointer": "/query/cursor"}
        raise ProblemError("invalid-request", "Give `next` of the page before, or nothing.", [fault]) from error


def _value(value: Any, kind: type) -> Any:
    if kind is datetime and isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return at
    elif kind is int:
        if type(value) is int and abs(value) < _BIGINT:
            return value
    elif isinstance(value, str) and "\x00" not in value:
        return value
    raise ValueError
