"""Schemas of templates: list, use, governance, previews and test sends."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.http.pagination import ShortText

TestRecipient = Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^\x00]*$")]


class PreviewIn(BaseModel):
    """For whom: a `user` that events have named, or a sample `profile`; fields given here win over the user's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"profile": {"first_name": "Ada"}, "data": {}, "channel": "email", "locale": "de-AT"}
        },
    )

    user: ShortText | None = None
    profile: dict[str, Any] = Field(default_factory=dict)
    account: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    channel: ShortText = "email"
    locale: ShortText | None = None
    variant: ShortText | None = Field(None, description="Show this one, whoever it is for; a draft too.")


class TestSendIn(PreviewIn):
    """As a preview, and where it goes."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"to": "me@example.com", "profile": {"first_name": "Ada"}}}
    )

    to: TestRecipient


class PreviewView(BaseModel):
    """A message as this person would get it. With `fault` it could not be made, and nothing would be sent."""

    template: str
    channel: str
    variant: str
    status: str
    subject: str | None
    html: str | None
    text: str | None
    sender: dict[str, Any] | None
    missing: list[str]
    warnings: list[str]
    fault: str | None


class TestSent(BaseModel):
    """The test mail is handed over. It stands in no ledger and counts for no cap."""

    sent: bool
    detail: str
    variant: str
    subject: str | None
    reference: str | None


class TemplateGovernance(BaseModel):
    """Who answers for it, and until when."""

    name: str
    owner: str
    status: str
    review_date: date
    overdue: bool


class TemplateUseView(BaseModel):
    """A journey that sends it, by which actions, and how often it has."""

    journey: str
    actions: list[str]
    sent: int
    last_at: datetime | None


class TemplateView(TemplateGovernance):
    """A template. `reuse` are the live journeys that send it and the messages that came of it (C9)."""

    kind: str
    title: str | None
    topic: str
    stage: str
    role: str | None
    channels: list[str]
    page: str | None
    subject: str
    action: dict[str, str] | None
    variables: dict[str, str]
    fields: list[str]
    variants: list[TemplateGovernance]
    used_by: list[TemplateUseView]
    reuse: dict[str, int]


class TemplateList(BaseModel):
    """All of them, by name."""

    items: list[TemplateView]
