"""Schemas of API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.http.pagination import ShortText
from journeys.access.callers import NAME

KeyKindName = Literal["public", "secret", "operator"]
ScopeName = Literal["read", "operate", "publish", "admin"]
KeyName = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
DEFAULT_OVERLAP = timedelta(days=1)
LONGEST_OVERLAP = timedelta(days=90)


class KeyIn(BaseModel):
    """A key to make.

    `name` is recorded as `by` of what is done with it. `source` (by default the name) is the namespace of its message ids;
    of an operator's key `scopes` are what it may do.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "website", "kind": "public", "source": "website"}}
    )

    name: KeyName
    kind: KeyKindName
    scopes: Annotated[list[ScopeName], Field(max_length=4)] = []
    source: KeyName | None = None

    @model_validator(mode="after")
    def _has_its_scopes(self) -> KeyIn:
        if (self.kind == "operator") != bool(self.scopes):
            raise ValueError("an operator's key needs one or more `scopes`; other kinds have none")
        return self


class RotationIn(BaseModel):
    """Hours for which the old secret stays valid: 0 ends it at once, for a secret that others have seen."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap_hours": 24}})

    overlap_hours: Annotated[float, Field(ge=0, le=LONGEST_OVERLAP / timedelta(hours=1))] = DEFAULT_OVERLAP / timedelta(
        hours=1
    )


class KeyView(BaseModel):
    """A key without its secret. In an overlap the secret before the last rotation is valid `previous_until`."""

    id: ShortText
    name: str
    kind: KeyKindName
    scopes: list[ScopeName]
    source: str
    generation: int
    previous_until: datetime | None
    made_at: datetime
    made_by: str
    rotated_at: datetime | None
    rotated_by: str | None
    revoked_at: datetime | None
    revoked_by: str | None


class IssuedKeyView(KeyView):
    """A key with its `secret`, shown this once.

    Of a public key, `identity_secret` is for your server: it computes `userHash` with it and never sends it to a browser.
    """

    secret: str
    identity_secret: str | None
