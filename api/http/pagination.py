"""Cursor pages.

No item is skipped or returned twice.
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

Limit = Annotated[int, Query(ge=1, le=LONGEST, description="Number of items in a page.")]
Cursor = Annotated[str | None, Query(max_length=600, description="`next` of the previous page.")]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
RecordId = Annotated[
    str, Path(min_length=1, max_length=255, description="Id as senders give it; a slash is written %2F.")
]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 instant such as 2026-05-03T10:00:00Z")  # noqa: TRY004 -- pydantic's protocol
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_text, json_schema_input_type=AwareDatetime)]
"""An ISO 8601 instant with a time zone. Numbers are rejected: pydantic would read them as seconds since 1970."""
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_BIGINT = 2**63


class Page(BaseModel, Generic[T]):
    """One page. `next` is the cursor of the following page, or null on the last one."""

    items: list[T]
    next: str | None = None


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; instants are RFC 3339."""
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, headers, "application/json")


def _by_id(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["id"],)


def page_of(
    rows: Sequence[dict[str, Any]], limit: int, position: Callable[[dict[str, Any]], tuple[Any, ...]] = _by_id
) -> Response:
    """A page of `limit` items from `limit + 1` rows; `position` returns the values in the cursor of an item, by default its id."""
    items = list(rows[:limit])
    following = encode(position(items[-1])) if len(rows) > limit else None
    return json_response({"items": items, "next": following})


def encode(position: tuple[Any, ...]) -> str:
    """A cursor with the position of the last item."""
    return urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def number_in(cursor: str | None) -> int | None:
    """The number in a cursor of a list by number; None for the first page. Raises ProblemError as `decode`."""
    position = decode(cursor, int)
    return position[0] if position else None


def decode(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The position in a cursor; `kinds` are the types of its values. Raises ProblemError for a cursor of another list."""
    if cursor is None:
        return None
    try:
        values = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError
        return tuple(_value(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, binascii.Error, OverflowError) as error:
        fault = {"detail": "is not a cursor of this list", "pointer": "/query/cursor"}
        raise ProblemError("invalid-request", "Send `next` of the previous page, or no cursor.", [fault]) from error


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
