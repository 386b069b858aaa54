"""Schemas of the in-app inbox: items, survey answers and inbox tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from journeys.content.surveys import MAX_COMMENT
from journeys.tokens.inbox_tokens import DEFAULT_LIFETIME, MAX_LIFETIME


class InboxItem(BaseModel):
    """An in-app message. Its `id` is random: nobody can guess another's."""

    id: str
    content: dict[str, Any]
    created_at: datetime
    seen_at: datetime | None
    acted_at: datetime | None
    dismissed_at: datetime | None


class SurveyAnswer(BaseModel):
    """`value` is a whole number of the survey's scale or the `value` of a choice; `comment` where the survey asks for one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"value": 9, "comment": "It saves me an hour"}}
    )

    value: int | Annotated[str, StringConstraints(max_length=64)]
    comment: Annotated[str, StringConstraints(max_length=MAX_COMMENT, pattern=r"^[^\x00]*$")] | None = None


class InboxTokenIn(BaseModel):
    """Lifetime of the token in minutes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"minutes": 15}})

    minutes: Annotated[int, Field(ge=1, le=MAX_LIFETIME // timedelta(minutes=1))] = DEFAULT_LIFETIME // timedelta(
        minutes=1
    )


class InboxTokenView(BaseModel):
    """A token for this person's browser only."""

    token: str
    expires_at: datetime


class PreflightResponse(BaseModel):
    """Response to a CORS preflight; the permissions are in the headers."""

    origins: Literal["*"]
