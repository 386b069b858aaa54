"""Schemas of people and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class IdentityView(BaseModel):
    """A name under which senders know somebody."""

    kind: str
    value: str


class SubjectView(BaseModel):
    """A person or an account, as events have told. `key` is ours: random, and stable over merges."""

    key: str
    kind: Literal["user", "account"]
    identities: list[IdentityView]
    account: str | None
    profile: dict[str, Any]
    clock: str | None
    created_at: datetime
    updated_at: datetime
