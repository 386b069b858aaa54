"""Urgent tickets: their policy, and the instants of each, in any order (C6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from journeys.calendar.durations import Duration
from journeys.calendar.lengths import Length
from journeys.frozen import frozen
from journeys.language.actions import CALM, Model, Priority, SignalName


@frozen
class TicketTimes:
    """A ticket was opened last at `opened_at`; `resolved_at` is None while it is open.

    One that was resolved before its opening arrives has been opened, as far as is known, when it was resolved.
    """

    opened_at: datetime
    resolved_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None


def opened(before: TicketTimes | None, at: datetime) -> TicketTimes:
    """The ticket after an opening at `at`, which a resolution of the same instant or a later one ends."""
    if before is None:
        return TicketTimes(at)
    if before.resolved_at is not None and at <= before.resolved_at:
        return before
    return TicketTimes(max(before.opened_at, at))


def resolved(before: TicketTimes | None, at: datetime) -> TicketTimes:
    """The ticket after a resolution at `at`, which ends nothing that was opened later."""
    if before is None:
        return TicketTimes(at, at)
    if before.resolved_at is None:
        return TicketTimes(before.opened_at, at) if at >= before.opened_at else before
    return TicketTimes(before.opened_at, max(before.resolved_at, at))


def merged(one: TicketTimes, other: TicketTimes) -> TicketTimes:
    """A ticket of two subjects that become one: of their latest opening, which a resolution of then or later ends."""
    opened_at = max(one.opened_at, other.opened_at)
    resolutions = [times.resolved_at for times in (one, other) if times.resolved_at is not None]
    resolved_at = max(resolutions, default=None)
    return TicketTimes(opened_at, resolved_at if resolved_at is not None and resolved_at >= opened_at else None)


class UrgentTicket(Model):
    """While an urgent ticket of the person or their account is open, these priorities wait (C6).

    They are decided again every `recheck`. A signal names its ticket in `ticket_id`; `priority` says whether it is
    urgent. A ticket that is open for longer than `longest` counts no more: its end was lost.
    """

    defers: tuple[Priority, ...] = CALM
    recheck: Length = Duration(0, timedelta(hours=1))
    longest: Length = Duration(0, timedelta(days=30))
    opened_by: tuple[SignalName, ...] = ("ticket_opened", "ticket_reopened")
    resolved_by: tuple[SignalName, ...] = ("ticket_resolved", "ticket_closed")
    urgent: tuple[str, ...] = ("urgent",)

    def after(
        self, before: Mapping[str, TicketTimes], name: str, data: Mapping[str, Any], at: datetime
    ) -> Mapping[str, TicketTimes]:
        """The tickets after a signal that happened at `at`; `before` itself if it changes none."""
        ticket = self.ticket_in(data)
        is_opening = name in self.opened_by and data.get("priority") in self.urgent
        if ticket is None or not (is_opening or name in self.resolved_by):
            return before
        times = (opened if is_opening else resolved)(before.get(ticket), at)
        return before if times == before.get(ticket) else {**before, ticket: times}

    def ticket_in(self, data: Mapping[str, Any]) -> str | None:
        """The id of the ticket that a signal names; None if it names none."""
        ticket = data.get("ticket_id")
        return str(ticket) if isinstance(ticket, str | int) else None

    def open_of(self, tickets: Mapping[str, TicketTimes], now: datetime) -> list[str]:
        """The ids of tickets that are open and not older than `longest`."""
        return [name for name, times in tickets.items() if times.is_open and self.longest.after(times.opened_at) > now]
