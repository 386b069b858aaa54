"""Fields of the tracking plan that no journey, template or gate rule reads (H5).

Personal data that nothing reads should not be collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.tickets import UrgentTicket
from journeys.language.actions import Send
from journeys.language.definition import Journey
from journeys.language.traversal import actions_of
from worker.catalogue.files import CatalogFiles

ADDRESS: Final = "profile.email"
ROLE: Final = "profile.role"
TICKET: Final = ("ticket_id", "priority")
"""Fields of a ticket's signals that the gate reads, with any journeys."""


def unread_fields(files: CatalogFiles, plan: TrackingPlan) -> list[str]:
    """Unread fields in the plan's order, as `profile.x` and `event.<signal>.x`."""
    read = set(_read_by_gate(plan, files.policy.urgent_ticket if files.policy else UrgentTicket()))
    for template in files.templates.values():
        read |= template.fields
    for journey, _ in files.journeys.values():
        read |= set(_read_by_journey(journey, plan))
    return [name for name in plan.vocabulary if name not in read]


def _read_by_gate(plan: TrackingPlan, tickets: UrgentTicket) -> Iterator[str]:
    yield ADDRESS
    for signal in (*tickets.opened_by, *tickets.resolved_by):
        if signal in plan.signals:
            yield from (f"event.{signal}.{name}" for name in TICKET)


def _read_by_journey(journey: Journey, plan: TrackingPlan) -> Iterator[str]:
    chart = load_chart(artifact_of(journey, plan.types(journey)))
    yield from (name for name in chart.types if not name.startswith("event."))
    for signal, fields in chart.event_fields.items():
        yield from (f"event.{signal}.{name}" for name in fields)
    if journey.case is not None:
        signals = {*journey.entry.on, *chart.signals}
        yield from (f"event.{signal}.{journey.case}" for signal in signals)
    if any(isinstance(use.action, Send) and use.action.for_ for use in actions_of(journey)):
        yield ROLE


def as_lines(names: list[str], plan: TrackingPlan) -> Iterator[str]:
    """Each field with its source and whether it is personal; personal ones first."""
    for name in sorted(names, key=lambda field: not _is_personal(field, plan)):
        mark = "personal, " if _is_personal(name, plan) else ""
        yield f"{name}  ({mark}from {_source(name, plan) or 'an unnamed source'})"


def _is_personal(name: str, plan: TrackingPlan) -> bool:
    scope, _, field = name.partition(".")
    return scope != "event" and getattr(plan, scope)[field].personal


def _source(name: str, plan: TrackingPlan) -> str | None:
    scope, _, field = name.partition(".")
    if scope == "event":
        return plan.signals[field.partition(".")[0]].source
    source: str | None = getattr(plan, scope)[field].source
    return source
