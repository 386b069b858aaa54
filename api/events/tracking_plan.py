"""The tracking plan's check: a raw event becomes its signal's, or is rejected with its faults."""

from __future__ import annotations

from api.events.reader import PlanCheck
from journeys.consent import statements
from journeys.consent.rules import ConsentRules
from journeys.events.inbound import RawEvent, ReceivedEvent, RejectedEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import InvalidEvent, ValidEvent

_MAY_MEAN_A_SIGNAL = frozenset({"page", "screen"})


def check_against_plan(plan: TrackingPlan) -> PlanCheck:
    """A check by this plan. Only tracks must be planned; a page view may be a signal and mostly is none."""
    table = plan.events

    def check(raw: RawEvent) -> ReceivedEvent:
        if raw.kind != "track" and (raw.kind not in _MAY_MEAN_A_SIGNAL or raw.kind not in table.rules):
            return raw.named(raw.name, raw.data)
        match table.check(raw.name, raw.data):
            case ValidEvent(signal, properties):
                return raw.named(signal, properties)
            case InvalidEvent(faults, signal):
                if raw.kind == "track" or signal is not None:
                    return raw.rejected(tuple(fault.what for fault in faults))
                return raw.named(raw.name, raw.data)

    return check


def check_consent_fields(rules: ConsentRules, planned: PlanCheck) -> PlanCheck:
    """The plan's check, and whether what an event says of consent can be understood: nothing is guessed."""

    def check(raw: RawEvent) -> ReceivedEvent:
        event = planned(raw)
        if isinstance(event, RejectedEvent):
            return event
        faults = statements.statement_faults(rules, event)
        return raw.rejected(tuple(faults), event.name) if faults else event

    return check
