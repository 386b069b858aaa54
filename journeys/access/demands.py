"""Demands of an event, each to be allowed by the rules of access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from journeys.access.callers import Caller
from journeys.access.refusals import REFUSAL_SENTENCES, AccessRefusal
from journeys.access.rules import (
    AliasOrGroup,
    Demand,
    NamedAccount,
    NamedPerson,
    SentSignal,
    StatedConsent,
    WrittenField,
    refusal_of,
)
from journeys.consent.rules import ConsentRules
from journeys.consent.statements import ADDRESS_FIELDS, TRAITS, statements_in, wording
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import Origin, PlannedField, TrackingPlan

ADDRESSES: Final = frozenset({*ADDRESS_FIELDS.values(), "chat_channel", "push_token", "push_subscription"})
"""Fields whose values messages are sent to."""
_UNDECLARED: Final = PlannedField(type="string")


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A part of an event that its sender may not write: the reason, and the name of the part."""

    reason: AccessRefusal
    part: str

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return REFUSAL_SENTENCES[self.reason]


def refused_parts(
    caller: Caller, event: InboundEvent, plan: TrackingPlan, rules: ConsentRules, *, proven: bool = False
) -> tuple[RefusedPart, ...]:
    """The parts of an event that its sender may not write; `proven`: its user id comes with its hash."""
    refused = []
    for part, demand in demands_of(event, plan, rules, proven=proven):
        reason = refusal_of(caller, demand)
        if reason is not None:
            refused.append(RefusedPart(reason, part))
    return tuple(refused)


def demands_of(
    event: InboundEvent, plan: TrackingPlan, rules: ConsentRules, *, proven: bool = False
) -> Iterator[tuple[str, Demand]]:
    """Everything that an event does, each with the name of its part."""
    if event.kind in {"alias", "group"}:
        yield event.kind, AliasOrGroup()
    if event.account_id is not None:
        yield "groupId", NamedAccount()
    if event.user_id is not None or event.anonymous_id is not None:
        yield "userId", NamedPerson(known=event.user_id is not None, proven=proven)
    if event.kind == "track" or event.name in plan.signals:
        signal = plan.signals.get(event.name)
        public, writers = (signal.public, signal.writers) if signal is not None else (False, ())
        yield "event", SentSignal(_origin(plan, rules, event.name), public, writers)
    yield from _fields(event, plan)
    for statement in statements_in(rules, event):
        waits = bool(statement.granted) and rules.needs_confirming(statement.channel, statement.topic)
        yield "consent", StatedConsent(statement.granted, waits=waits, proven=bool(wording(event) or _proof(event)))


def _origin(plan: TrackingPlan, rules: ConsentRules, name: str) -> Origin:
    """A signal that suppresses an address is a provider's, whatever its source is called."""
    origin = plan.origin(name)
    return Origin.PROVIDER if origin is Origin.COMPANY and name in rules.suppress else origin


def _fields(event: InboundEvent, plan: TrackingPlan) -> Iterator[tuple[str, Demand]]:
    if event.kind not in {"identify", "group"}:
        return
    declared = plan.profile if event.kind == "identify" else plan.account
    for name in event.traits:
        if event.kind == "identify" and name in TRAITS:
            continue
        field = declared.get(name, _UNDECLARED)
        yield (
            f"traits/{name}",
            WrittenField(
                "profile" if event.kind == "identify" else "account",
                field.public,
                field.writers,
                address=name in ADDRESSES,
                of_user=event.user_id is not None,
            ),
        )


def _proof(event: InboundEvent) -> Any:
    consent = (event.context or {}).get("consent")
    return consent.get("proof") if isinstance(consent, Mapping) else None


def addresses_in(event: InboundEvent) -> list[tuple[str, str]]:
    """The addresses that an event gives a person, each with its channel; of those that can be suppressed."""
    if event.kind != "identify":
        return []
    named = ((channel, event.traits.get(field)) for channel, field in ADDRESS_FIELDS.items())
    return [(channel, value) for channel, value in named if isinstance(value, str) and value]
