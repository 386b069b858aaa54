"""Schemas of consents, text messages, suppressions and preference links."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.http.pagination import ShortText
from api.http.schemas import InFlightView
from journeys.consent.rules import ChannelOrAny
from journeys.consent.statements import MAX_WORDING
from journeys.language.actions import ChannelName


class ConsentView(BaseModel):
    """What a person has said about a channel and a topic; `*` is every one."""

    channel: str
    topic: str
    granted: bool
    source: str
    wording: str
    at: datetime


class ConsentLogEntry(BaseModel):
    """One entry of the log, which only grows. `granted` null took back what was said; `pending` is no grant yet."""

    id: int
    channel: str
    topic: str
    granted: bool | None
    pending: bool
    source: str
    wording: str
    proof: dict[str, Any]
    at: datetime


TopicParam = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]{0,63}|\*)$")]
ProofName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Wording = Annotated[str, StringConstraints(max_length=MAX_WORDING, pattern=r"^[^\x00]*$")]


class ConsentIn(BaseModel):
    """What the person says to a channel (`*`: every one) and a topic (`*`: every one), and where they said it.

    `granted` null takes back what was said there: neither a yes nor a no. `wording` is what they were shown, `proof` what
    vouches for it, `ip` is kept as a keyed hash only. A yes with `confirmed` needs no confirmation of ours: `proof` says
    where theirs is.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"channel": "email", "topic": "onboarding", "granted": False, "source": "preference-centre"}
        },
    )

    channel: ChannelOrAny
    topic: TopicParam
    granted: bool | None
    source: ShortText
    wording: Wording = ""
    proof: Annotated[dict[ProofName, ShortText], Field(max_length=20)] = {}
    ip: ShortText | None = None
    confirmed: bool = False

    @model_validator(mode="after")
    def _proven(self) -> ConsentIn:
        if self.confirmed and not (self.granted and self.proof):
            raise ValueError("what was confirmed elsewhere is a yes, and needs a proof that says where")
        return self


class ConsentRecorded(BaseModel):
    """Recorded, with what it changed at once. `pending`: a yes that is none before its link is confirmed."""

    at: datetime
    withdrawn_messages: int
    ended_runs: int
    pending: bool = False
    in_flight: list[InFlightView] = []


class EffectiveConsentView(BaseModel):
    """Whether messages of a topic may come by a channel, and why, as the person is told."""

    channel: str
    topic: str
    allowed: bool
    why: str


class PendingView(BaseModel):
    """A yes that waits for its link."""

    channel: str
    topic: str
    asked_at: datetime


class ConsentResultView(BaseModel):
    """What was said (`items`), what holds by it (`holds`), and what still waits to be confirmed (`pending`)."""

    items: list[ConsentView]
    holds: list[EffectiveConsentView]
    pending: list[PendingView]


class TextMessageIn(BaseModel):
    """A text message that somebody sent: `id` is the provider's, as proof; handed in again with it, it changes nothing."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"phone": "+4366412345678", "text": "STOP", "id": "SM1"}}
    )

    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()/.-]{3,30}$")]
    text: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
    id: ShortText | None = None


class TextMessageResult(BaseModel):
    """What it was taken for; null: for a person to read. `people` is whose consent it changed: all who have that number."""

    wish: Literal["stop", "start"] | None
    people: int
    withdrawn_messages: int
    ended_runs: int
    in_flight: list[InFlightView] = []


class AddressIn(BaseModel):
    """An address, in a body: addresses in URLs end up in logs."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"channel": "email", "address": "ada@example.com"}}
    )

    channel: ChannelName | Literal["sms"]
    address: ShortText


class SuppressIn(AddressIn):
    """An address that nothing shall be sent to, and who says so."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"channel": "email", "address": "ada@example.com", "by": "dana"}},
    )

    by: ShortText


class LiftIn(BaseModel):
    """Who lets an address be sent to again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText


class SuppressionView(BaseModel):
    """One suppression; it holds until `lifted_at`."""

    id: int
    channel: str
    reason: Literal["hard_bounce", "soft_bounces", "complaint", "stop_word", "operator"]
    source: str
    at: datetime
    lifted_at: datetime | None
    lifted_by: str | None


class AddressSuppressions(BaseModel):
    """What holds of one address, with its history, the newest first."""

    suppressed: bool
    items: list[SuppressionView]


class SuppressionResult(AddressSuppressions):
    """As it stands now; `in_flight` had left before, and may still arrive."""

    in_flight: list[InFlightView] = []


class PreferenceLink(BaseModel):
    """Where a person sees and changes what they get. Whoever has the link may."""

    url: str
    expires_at: datetime
