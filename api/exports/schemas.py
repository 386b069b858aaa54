"""Schemas of the feed: its lines, its pages and the state of its push."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel


class FeedLine(BaseModel, extra="allow"):
    """A verdict of the gate, the result of an attempt, or a reaction; `docs/feed.md` has every field."""

    id: int
    at: datetime
    type: Literal["decision", "delivery", "reaction"]
    trace: str | None = None
    message: dict[str, Any]


class FeedPage(BaseModel):
    """Lines in order. Pass `next` as `after`; with `more`, further lines exist already."""

    schema_: Annotated[int, "schema"] = 1
    after: int
    next: int
    more: bool
    items: list[FeedLine]


class PushView(BaseModel):
    """Position up to which the receiver has every line, and the lag behind the newest one."""

    position: int
    newest: int
    oldest_waiting_at: datetime | None
    lag_seconds: float
    attempts: int
    due_at: datetime | None
    last_error: str | None
    pushed_at: datetime | None
