"""Schemas of people and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class IdentityView(BaseModel):
    """An id by which senders name a subject."""

    kind: str
    value: str


class HeldEventsView(BaseModel):
    """Held events of one name: how many, and the first fault of the latest."""

    name: str
    count: int
    fault: str


class HeldView(BaseModel):
    """The quarantined events that name a subject: how many, the most frequent names, and all of it as a sentence."""

    count: int
    names: list[HeldEventsView]
    text: str


class FieldOriginView(BaseModel):
    """When the value of a field was sent, by the sender's corrected time, and accepted, and by which source.

    `is_implied`: by the context of a call, such as a browser's time zone; any trait replaces it.
    """

    occurred_at: datetime
    accepted_at: datetime
    source: str
    is_implied: bool


class SubjectView(BaseModel):
    """A person or an account, as known from events. `key` is Tenure's own id: random, and stable over merges."""

    key: str
    kind: Literal["user", "account"]
    identities: list[IdentityView]
    account: str | None
    profile: dict[str, Any]
    origins: dict[str, FieldOriginView]
    clock: str | None
    held: HeldView
    created_at: datetime
    updated_at: datetime


class SentMessageView(BaseModel):
    """A message that has left, or may have. `digest` is the key of the digest in which it went out."""

    id: int
    sent_at: datetime
    status: str
    channel: str | None
    address: str | None
    template: str
    digest: str | None
    subject: str | None
    text: str | None


class PersonExportView(BaseModel):
    """Everything known of a person.

    `tables` has, by table, every row about the person and the visitors merged into them, with all columns; `without` says of
    all other tables what they contain. `held` is the sentence about the person's quarantined events, empty without any.
    """

    key: str
    exported_at: datetime
    sent: list[SentMessageView]
    tables: dict[str, list[dict[str, Any]]]
    without: dict[str, str]
    held: str
