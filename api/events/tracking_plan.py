"""Checks of arriving events: tracking plan, sender, consent, cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from journeys.consent import statements
from journeys.consent.rules import ConsentRules
from journeys.events.inbound import InboundEvent
from journeys.events.senders import SenderKind, sender_fault
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import InvalidEvent, PlanFault, ValidatedEvent, ValidEvent

CaseCheck = Callable[[str, Mapping[str, Any]], Sequence[str]]
"""Reasons why the case in a signal's data can never be one, by the published journeys."""
_MAY_MEAN_A_SIGNAL = frozenset({"page", "screen"})


class EventCheck:
    """Checks events by the tracking plan, their sender, the consent rules and the published journeys: a signal, or faults."""

    def __init__(
        self, plan: TrackingPlan, rules: ConsentRules, unusable_cases: CaseCheck = lambda _name, _data: []
    ) -> None:
        self._table, self._rules, self._unusable_cases = plan.events, rules, unusable_cases
        self._sources = {name: signal.source for name, signal in plan.signals.items()}

    def planned(self, kind: str, name: str, data: dict[str, Any], sender: SenderKind) -> ValidatedEvent:
        """Check by the plan and the sender. Only track calls must be planned; a page or screen call may be a signal."""
        if kind == "track":
            return self._permitted(self._table.check(name, data), sender)
        if kind in _MAY_MEAN_A_SIGNAL and kind in self._table.rules:
            planned = self._table.check(name, data)
            if isinstance(planned, ValidEvent) or planned.signal is not None:
                return self._permitted(planned, sender)
        return ValidEvent(name, data)

    def _permitted(self, planned: ValidatedEvent, sender: SenderKind) -> ValidatedEvent:
        """The checked event, or the fault that this sender may not send its signal."""
        if planned.signal is None:
            return planned
        source, suppresses = self._sources.get(planned.signal), planned.signal in self._rules.suppress
        fault = sender_fault(planned.signal, source, sender, suppresses=suppresses)
        return InvalidEvent((PlanFault("sender_not_allowed", "", fault),), planned.signal) if fault else planned

    def faults(self, event: InboundEvent) -> tuple[str, ...]:
        """Faults of the event's consent statements, and of a case that can never be the id of a run.

        Nothing is guessed: an unclear statement is a fault.
        """
        return (*statements.statement_faults(self._rules, event), *self._unusable_cases(event.name, event.data))
