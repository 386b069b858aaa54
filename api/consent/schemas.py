"""Schemas of consents, text messages, suppressions and preference links."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.http.pagination import Instant, ShortText
from api.http.schemas import InFlightView
from journeys.consent.precedence import StatedBy, StatementEffect
from journeys.consent.rules import ChannelOrAny
from journeys.consent.statements import MAX_WORDING
from journeys.language.actions import ChannelName


class ConsentView(BaseModel):
    """A person's statement about a channel and a topic; `*` is every one."""

    channel: str
    topic: str
    granted: bool
    source: str
    wording: str
    at: datetime


class ConsentLogEntry(BaseModel):
    """An entry of the append-only log. `granted` null retracted a statement; `pending` marks an unconfirmed grant.

    `at` is when it was said, `recorded_at` when it arrived. `effect`: `applied`, `waits` for its confirmation, or it
    changed nothing: `stale`, `late` or `protected`. `unreadable` says why an opt-out was taken in its widest meaning.
    """

    id: int
    channel: str
    topic: str
    granted: bool | None
    pending: bool
    source: str
    wording: str
    proof: dict[str, Any]
    at: datetime
    by: StatedBy
    effect: StatementEffect
    unreadable: str | None
    recorded_at: datetime


class ListedStatement(ConsentLogEntry):
    """An entry of the log, with the key of its person."""

    person: str


TopicParam = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]{0,63}|\*)$")]
ProofName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Wording = Annotated[str, StringConstraints(max_length=MAX_WORDING, pattern=r"^[^\x00]*$")]


class ConsentIn(BaseModel):
    """A person's statement about a channel (`*`: every one) and a topic (`*`: every one), and its source.

    `granted` null retracts an earlier statement. `wording` is the text that the person saw, `proof` the evidence; `ip` is
    stored as a keyed hash only. A grant with `confirmed` needs no confirmation link: `proof` names the confirmation.

    `by: person` says that the person made the statement themselves, on the company's own preference page: with `wording`
    and `proof`. An operator gives a `reason` to undo an opt-out of the person. `timestamp` is when it was said, now
    if it is left out, and `sent_at` corrects the clock of the caller.
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
    by: Literal["person"] | None = None
    reason: ShortText | None = None
    timestamp: Instant | None = None
    sent_at: Instant | None = None

    @model_validator(mode="after")
    def _proven(self) -> ConsentIn:
        if self.by is not None and not (self.wording and self.proof):
            raise ValueError("`by: person` needs the `wording` that they saw and a `proof` of what they did")
        if self.confirmed and not (self.granted and self.proof):
            raise ValueError("`confirmed` needs `granted: true` and a `proof` that names the confirmation")
        return self


class ConsentRecorded(BaseModel):
    """The statement is recorded, with what it changed. `pending`: a grant that is not in force until it is confirmed.

    `effect` is `applied` or `waits`, or says why it changed nothing: `stale`, `late` or `protected`.
    """

    at: datetime
    effect: StatementEffect
    withdrawn_messages: int
    ended_runs: int
    pending: bool = False
    in_flight: list[InFlightView] = []


class EffectiveConsentView(BaseModel):
    """Whether messages of a topic may be sent by a channel, with the reason as the person reads it."""

    channel: str
    topic: str
    allowed: bool
    why: str


class PendingView(BaseModel):
    """A grant that is not confirmed yet."""

    channel: str
    topic: str
    asked_at: datetime


class ConsentResultView(BaseModel):
    """Statements (`items`), effective consents (`holds`), and grants that are not confirmed yet (`pending`)."""

    items: list[ConsentView]
    holds: list[EffectiveConsentView]
    pending: list[PendingView]


class TextMessageIn(BaseModel):
    """A text message from a person. `id` is the provider's, kept as proof; the same `id` again changes nothing."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"phone": "+4366412345678", "text": "STOP", "id": "SM1"}}
    )

    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()/.-]{3,30}$")]
    text: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
    id: ShortText | None = None


class TextMessageResult(BaseModel):
    """The keyword of the text, null if it has none. `people` counts the people whose consent changed."""

    wish: Literal["stop", "start"] | None
    people: int
    withdrawn_messages: int
    ended_runs: int
    in_flight: list[InFlightView] = []


class AddressIn(BaseModel):
    """An address, in the body because URLs end up in logs."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"channel": "email", "address": "ada@example.com"}}
    )

    channel: ChannelName | Literal["sms"]
    address: ShortText


class SuppressIn(AddressIn):
    """An address to suppress, and the operator's name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"channel": "email", "address": "ada@example.com", "by": "dana"}},
    )

    by: ShortText | None = None


class LiftIn(BaseModel):
    """Name of the operator who lifts a suppression."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText | None = None


class SuppressionView(BaseModel):
    """A suppression; it is in force until `lifted_at`, or until `ends_at` if that is sooner."""

    id: int
    channel: str
    reason: Literal["hard_bounce", "soft_bounces", "complaint", "stop_word", "operator"]
    source: str
    at: datetime
    ends_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None


class AddressSuppressions(BaseModel):
    """Whether an address is suppressed, with all its suppressions, newest first."""

    suppressed: bool
    items: list[SuppressionView]


class SuppressionResult(AddressSuppressions):
    """The address after the change; messages `in_flight` left before it and may still arrive."""

    in_flight: list[InFlightView] = []


class PreferenceLink(BaseModel):
    """Link to a person's preference page. Anyone who has it can change the choices."""

    url: str
    expires_at: datetime
