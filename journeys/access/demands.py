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
from journeys.fields.origins import ADDRESSES

_JOINS: Final = AliasOrGroup()
_ACCOUNT: Final = NamedAccount()
_PERSONS: Final = {(known, proven): NamedPerson(known, proven) for known in (False, True) for proven in (False, True)}


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A part of an event that its sender may not write: the reason, and the name of the part."""

    reason: AccessRefusal
    part: str

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return REFUSAL_SENTENCES[self.reason]


class EventDemands:
    """The demands of events by one tracking plan and its consent rules, prepared once: thousands a second pass here."""

    def __init__(self, plan: TrackingPlan, rules: ConsentRules) -> None:
        self._rules = rules
        self._signals = {
            name: SentSignal(_origin(plan, rules, name), signal.public, signal.writers)
            for name, signal in plan.signals.items()
        }
        self._plan = plan
        self._known: dict[Caller, dict[Demand, AccessRefusal | None]] = {}
        fields = {"identify": plan.profile, "group": plan.account}
        self._fields = {
            (kind, name, of_user): _written(kind, name, field, of_user=of_user)
            for kind, declared in fields.items()
            for name, field in declared.items()
            for of_user in (False, True)
        }

    def refused(self, caller: Caller, event: InboundEvent, *, proven: bool = False) -> tuple[RefusedPart, ...]:
        """The parts of an event that its sender may not write; `proven`: its user id comes with its hash."""
        known = self._known.setdefault(caller, {})
        refused = []
        for part, demand in self.of(event, proven=proven):
            try:
                reason = known[demand]
            except KeyError:
                reason = known[demand] = refusal_of(caller, demand)
            if reason is not None:
                refused.append(RefusedPart(reason, part))
        return tuple(refused)

    def refused_signal(self, caller: Caller, name: str) -> tuple[RefusedPart, ...]:
        """The refusal of a signal by its name alone, of an event that fails the plan."""
        reason = refusal_of(caller, self._signal(name))
        return (RefusedPart(reason, "event"),) if reason is not None else ()

    def of(self, event: InboundEvent, *, proven: bool = False) -> Iterator[tuple[str, Demand]]:
        """Everything that an event does, each with the name of its part."""
        if event.kind in {"alias", "group"}:
            yield event.kind, _JOINS
        if event.account_id is not None:
            yield "groupId", _ACCOUNT
        if event.user_id is not None or event.anonymous_id is not None:
            yield "userId", _PERSONS[event.user_id is not None, proven]
        if event.kind == "track" or event.name in self._signals:
            yield "event", self._signal(event.name)
        for name in event.traits:
            if name not in TRAITS or event.kind == "group":
                yield f"traits/{name}", self._field(event, name)
        for statement in statements_in(self._rules, event):
            waits = bool(statement.granted) and self._rules.needs_confirming(statement.channel, statement.topic)
            yield "consent", StatedConsent(statement.granted, waits=waits, proven=bool(wording(event) or _proof(event)))

    def _signal(self, name: str) -> SentSignal:
        return self._signals.get(name) or SentSignal(_origin(self._plan, self._rules, name))

    def _field(self, event: InboundEvent, name: str) -> WrittenField:
        of_user = event.user_id is not None
        return self._fields.get((event.kind, name, of_user)) or _written(event.kind, name, None, of_user=of_user)


def _origin(plan: TrackingPlan, rules: ConsentRules, name: str) -> Origin:
    """A signal that suppresses an address is a provider's, whatever its source is called."""
    origin = plan.origin(name)
    return Origin.PROVIDER if origin is Origin.COMPANY and name in rules.suppress else origin


def _written(kind: str, name: str, field: PlannedField | None, *, of_user: bool) -> WrittenField:
    """A field that is not declared is closed to public keys, and open to all others."""
    return WrittenField(
        "account" if kind == "group" else "profile",
        public=field is not None and field.public,
        writers=field.writers if field is not None else (),
        address=name in ADDRESSES,
        of_user=of_user,
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
