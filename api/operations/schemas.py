"""Schemas of kill switches and of health checks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from api.http.pagination import ShortText
from journeys.consent.rules import CHANNELS

SwitchReason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
SwitchName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class KillSwitchIn(BaseModel):
    """What is to stop: everything, or what has this name; who says so and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"scope": "journey", "name": "win-back", "why": "the offer's link is broken", "by": "dana"}
        },
    )

    scope: Literal["all", "channel", "journey", "template"]
    name: SwitchName = ""
    why: SwitchReason
    by: ShortText

    @model_validator(mode="after")
    def _named(self) -> KillSwitchIn:
        """What is stopped need not be there yet, but for a channel: a word that is none would stop nothing, for ever."""
        if (self.scope == "all") != (self.name == ""):
            raise ValueError("give the name of the channel, journey or template; `all` takes none")
        if self.scope == "channel" and self.name not in CHANNELS:
            raise ValueError(f"there is no channel {self.name}: it is one of {', '.join(CHANNELS)}")
        return self


class ReleaseIn(BaseModel):
    """Who lets it go on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText


class KillSwitchView(BaseModel):
    """A switch that is thrown, or was."""

    id: int
    scope: str
    name: str
    why: str
    by: str
    at: datetime
    released_at: datetime | None
    released_by: str | None


class HealthCheck(BaseModel):
    """One part of readiness. `degraded`: events are accepted, what needs this part waits."""

    status: Literal["ok", "degraded", "failing"]
    detail: str


class Readiness(BaseModel):
    """`failing` is answered with 503, `degraded` with 200: Temporal's absence stops no event."""

    status: Literal["ok", "degraded", "failing"]
    checks: dict[str, HealthCheck]


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
