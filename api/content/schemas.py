"""Schemas of templates: list, use, governance, previews and test sends."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.http.pagination import ShortText

TestRecipient = Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^\x00]*$")]


class PreviewIn(BaseModel):
    """The recipient: a known `user`, or a sample `profile`. Fields given here replace the user's."""

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
    variant: ShortText | None = Field(None, description="Show this variant whatever its conditions, even a draft.")


class TestSendIn(PreviewIn):
    """A preview request, with the address to send it to."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"to": "me@example.com", "profile": {"first_name": "Ada"}}}
    )

    to: TestRecipient


class PreviewView(BaseModel):
    """A message as this person would get it. With a `fault` it cannot be rendered and would not be sent."""

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
    """The provider accepted the test mail. It is not in the ledger and counts for no cap."""

    sent: bool
    detail: str
    variant: str
    subject: str | None
    reference: str | None


class TemplateGovernance(BaseModel):
    """Owner, status and review date of a template or variant."""

    name: str
    owner: str
    status: str
    review_date: date
    overdue: bool


class TemplateUseView(BaseModel):
    """A journey that sends the template, the actions that do so, and how often it was sent."""

    journey: str
    actions: list[str]
    sent: int
    last_at: datetime | None


class TemplateView(TemplateGovernance):
    """A template. `reuse` counts the live journeys that send it and the messages sent (C9)."""

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
    """All templates, by name."""

    items: list[TemplateView]
