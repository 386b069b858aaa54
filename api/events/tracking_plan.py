"""Checks of arriving events: by the tracking plan and by the rules of consent."""

from __future__ import annotations

from typing import Any

from journeys.consent import statements
from journeys.consent.rules import ConsentRules
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import ValidatedEvent, ValidEvent

_MAY_MEAN_A_SIGNAL = frozenset({"page", "screen"})


class EventCheck:
    """Checks events by the tracking plan and the consent rules: a signal, or faults."""

    def __init__(self, plan: TrackingPlan, rules: ConsentRules) -> None:
        self._table, self._rules = plan.events, rules

    def planned(self, kind: str, name: str, data: dict[str, Any]) -> ValidatedEvent:
        """Check by the plan. Only track calls must be planned; a page or screen call may be a signal."""
        if kind == "track":
            return self._table.check(name, data)
        if kind in _MAY_MEAN_A_SIGNAL and kind in self._table.rules:
            planned = self._table.check(name, data)
            if isinstance(planned, ValidEvent) or planned.signal is not None:
                return planned
        return ValidEvent(name, data)

    def consent_faults(self, event: InboundEvent) -> tuple[str, ...]:
        """Faults of the event's consent statements. Nothing is guessed: an unclear statement is a fault."""
        return tuple(statements.statement_faults(self._rules, event))
