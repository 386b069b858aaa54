"""Schemas of kill switches, parked rows and health checks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from api.http.pagination import ShortText
from journeys.consent.rules import CHANNELS

SwitchReason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
SwitchName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class KillSwitchIn(BaseModel):
    """What to stop: everything, or one channel, journey or template; by whom and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"scope": "journey", "name": "win-back", "why": "the offer's link is broken", "by": "dana"}
        },
    )

    scope: Literal["all", "channel", "journey", "template"]
    name: SwitchName = ""
    why: SwitchReason
    by: ShortText | None = None

    @model_validator(mode="after")
    def _named(self) -> KillSwitchIn:
        """A journey or template may be published later. A channel must exist: an unknown one would never stop anything."""
        if (self.scope == "all") != (self.name == ""):
            raise ValueError("give the name of the channel, journey or template; `all` takes none")
        if self.scope == "channel" and self.name not in CHANNELS:
            raise ValueError(f"there is no channel {self.name}: it is one of {', '.join(CHANNELS)}")
        return self


class ReleaseIn(BaseModel):
    """Name of the operator who releases the switch."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText | None = None


class KillSwitchView(BaseModel):
    """A kill switch, engaged or released."""

    id: int
    scope: str
    name: str
    why: str
    by: str
    at: datetime
    released_at: datetime | None
    released_by: str | None


class SenderRefusalView(BaseModel):
    """A provider that refuses us, by channel and code. `stopped_at`: when it engaged the channel's kill switch."""

    id: int
    channel: str
    code: str
    times: int
    opened_at: datetime
    last_at: datetime
    stopped_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None


class ParkedRow(BaseModel):
    """A row of a lane that can never be delivered to one run, with the reason; its lane has gone on.

    `recipient` and `seq` are its place in the lane, `replayed_seq` the place that a replay gave it. A row without a run is the
    wake of a person's outreach. `opens`: it is the row with which its run begins.
    """

    id: int
    recipient: str
    seq: int
    run: str
    kind: str
    name: str
    event_id: str
    at: datetime
    data: dict[str, Any]
    opens: bool
    code: Literal["refused", "unreadable", "definition", "version"]
    reason: str
    parked_at: datetime
    status: Literal["held", "replayed", "discarded"]
    settled_at: datetime | None
    settled_by: str | None
    replayed_seq: int | None


class ParkedRequest(BaseModel):
    """Name of the operator who replays or discards."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText | None = None


class HealthCheck(BaseModel):
    """Status of one component. `degraded`: the process serves, and work that needs the component waits."""

    status: Literal["ok", "degraded", "failing"]
    detail: str


class Readiness(BaseModel):
    """`failing` is answered with 503, `degraded` with 200: events are accepted without Temporal, and a backlog is no fault."""

    status: Literal["ok", "degraded", "failing"]
    checks: dict[str, HealthCheck] | None = None
    """Only for an operator's key with the scope `read`, and on the operations listener."""


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
