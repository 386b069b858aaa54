"""The tracking plan at the front door: a call gets its signal's name and typed properties, or faults for the quarantine."""

from __future__ import annotations

from api.events.reader import PlanCheck
from journeys.consent import statements
from journeys.consent.rules import ConsentRules
from journeys.events.segment import InboundEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import InvalidEvent, ValidEvent

_MAY_MEAN_A_SIGNAL = frozenset({"page", "screen"})


def check_against_plan(plan: TrackingPlan) -> PlanCheck:
    """A check by this plan. Only tracks must be planned; a page view may be a signal and mostly is none."""
    table = plan.events

    def check(call: InboundEvent) -> None:
        if call.kind != "track" and (call.kind not in _MAY_MEAN_A_SIGNAL or call.kind not in table.rules):
            return
        match table.check(call.name, call.data):
            case ValidEvent(signal, properties):
                call.name, call.data = signal, properties
            case InvalidEvent(faults, signal):
                if call.kind == "track" or signal is not None:
                    call.faults = [fault.what for fault in faults]

    return check


def check_consent_fields(rules: ConsentRules, planned: PlanCheck) -> PlanCheck:
    """The plan's check, and whether what a call says of consent can be understood: nothing about a yes or no is guessed."""

    def check(call: InboundEvent) -> None:
        planned(call)
        if not call.faults:
            call.faults = statements.statement_faults(rules, call)

    return check
