"""Schemas of people and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class IdentityView(BaseModel):
    """An id by which senders name a subject."""

    kind: str
    value: str


class SubjectView(BaseModel):
    """A person or an account, as known from events. `key` is Tenure's own id: random, and stable over merges."""

    key: str
    kind: Literal["user", "account"]
    identities: list[IdentityView]
    account: str | None
    profile: dict[str, Any]
    clock: str | None
    created_at: datetime
    updated_at: datetime
