"""Checks of arriving events: tracking plan, rules of consent, published journeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.consent import statements
from journeys.consent.rejected_events import opt_out_in
from journeys.consent.rules import ConsentRules
from journeys.events.id_rule import id_faults
from journeys.events.ids.placeholder_ids import with_placeholders
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import ValidatedEvent, ValidEvent

CaseCheck = Callable[[str, Mapping[str, Any]], Sequence[str]]
"""Reasons why the case in a signal's data can never be one, by the published journeys."""
_MAY_MEAN_A_SIGNAL = frozenset({"page", "screen"})


class EventCheck:
    """Checks events by the tracking plan, the consent rules and the published journeys: a signal, or faults."""

    def __init__(
        self, plan: TrackingPlan, rules: ConsentRules, unusable_cases: CaseCheck = lambda _name, _data: []
    ) -> None:
        self._table, self._rules, self._unusable_cases = plan.events, rules, unusable_cases
        self._refuses_lookalikes = plan.ids == "refuse"
        self.traits = plan.traits
        self.placeholders = with_placeholders(plan.placeholder_ids)

    def planned(self, kind: str, name: str, data: dict[str, Any]) -> ValidatedEvent:
        """Check by the plan. Only track calls must be planned; a page or screen call may be a signal."""
        if kind == "track":
            return self._table.check(name, data)
        if kind in _MAY_MEAN_A_SIGNAL and kind in self._table.rules:
            planned = self._table.check(name, data)
            if isinstance(planned, ValidEvent) or planned.signal is not None:
                return planned
        return ValidEvent(name, data)

    def opt_out(
        self, raw: Mapping[str, Any], kind: str, name: str, message_id: str, sent_at: datetime | None = None
    ) -> InboundEvent | None:
        """The opt-outs of a call that is rejected, as an event of their own; `name` is its sender's."""
        rules = self._table.rules.get(name, ())
        signal = rules[0].signal if rules else name
        return opt_out_in(self._rules, raw, kind, signal, message_id, sent_at, self.placeholders)

    def faults(self, event: InboundEvent) -> tuple[str, ...]:
        """Faults of the event's ids, its consent statements, and of a case that can never be the id of a run.

        No grant is guessed: an unclear one is a fault.
        """
        ids = id_faults(event) if self._refuses_lookalikes else ()
        return (*ids, *statements.statement_faults(self._rules, event), *self._unusable_cases(event.name, event.data))
