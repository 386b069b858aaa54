"""Postponement of an occurrence whose step was refused."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.decision.occurrences import Occurrence, TimerDue
    from journeys.protocol import wire
    from journeys.protocol.step_outcome import Behind, TooEarly
    from workflows.inbox import Inbox, OperatorOccurrence
    from workflows.timer import DurableTimer


def put_behind_accepted(
    start: wire.RunInput, inbox: Inbox, timer: DurableTimer, occurrence: Occurrence, refused: Behind | TooEarly
) -> None:
    """Put what was accepted before the occurrence first. A tick for a deadline to come is forgotten."""
    if isinstance(occurrence, TimerDue) and start.clock is None:
        timer.not_before = refused.until if isinstance(refused, TooEarly) else None
    elif isinstance(occurrence, TimerDue) and isinstance(refused, Behind):
        inbox.put_first(wire.SIGNAL_TICK, [{"due": occurrence.at.isoformat()}])
    elif isinstance(occurrence, OperatorOccurrence):
        inbox.put_back_command(occurrence)
    if isinstance(refused, Behind):
        inbox.put_first(wire.SIGNAL_EVENT, refused.occurrences)
