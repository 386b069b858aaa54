"""Intake in memory: accepted events change fields and memberships, open runs, write rows.

The order is that of `store/events/ingest.py`: each event of a transaction is admitted; then replies, consents and bounces
take effect. The entry rule and the routing of rows are the live system's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.consent.statements import TRAITS
from journeys.decision.chart import Chart
from journeys.decision.entry import (
    EarlierSignal,
    EntryAllowed,
    EventTimes,
    PastRun,
    case_of,
    may_enter,
    past_run_as_of,
)
from journeys.events.history import HISTORICAL
from journeys.events.inbound import CallKind, InboundEvent
from journeys.language.signal_names import CONVERSATION_CLOSED, MESSAGE_REPLIED
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.lanes import Lanes
from journeys.simulation.reactions.consents import CausedSignal, ConsentReactions
from journeys.simulation.reactions.replies import Replies
from journeys.simulation.subjects import (
    ACCOUNT,
    AcceptedEvent,
    RowFacts,
    SimulatedRun,
    SimulatedSubject,
    change_fields,
    recorded_origin,
)
from journeys.simulation.timeline import NotEntered, Scenario, Timeline

HOURS: Final = frozenset({"quiet_hours", "send_window", "cap_reached"})
"""Codes of waits that depend on the person's time zone."""
TICKET: Final = frozenset({"urgent_ticket"})
CLOCK: Final = TIMEZONE_FIELDS | {ACCOUNT}
CALLS: Final[Mapping[str, CallKind]] = {"profile": "identify", "account": "group", "signal": "track"}


class EventIntake:
    """Accepts events; `gate_of` gives a person's gate."""

    def __init__(
        self,
        scenario: Scenario,
        timeline: Timeline,
        lanes: Lanes,
        replies: Replies,
        consents: ConsentReactions,
        gates: Mapping[SimulatedSubject, InMemoryGate],
        gate_of: Callable[[SimulatedSubject], InMemoryGate],
    ) -> None:
        self.scenario, self.timeline, self.lanes = scenario, timeline, lanes
        self.replies, self.consents, self.gates, self.gate_of = replies, consents, gates, gate_of
        self.runs = 0

    def accept(self, events: Sequence[AcceptedEvent], at: datetime) -> None:
        """Accept events in one transaction."""
        for event in events:
            self._admit(event, at)
        for event in events:
            if self._is_reaction(event):
                self._react(event, at)

    def accept_caused(self, signals: Iterable[CausedSignal], at: datetime) -> None:
        """Accept signals that a change has caused, in its transaction."""
        if caused := [AcceptedEvent(person, None, "signal", name, data) for person, name, data in signals]:
            self.accept(caused, at)

    # -- reactions -------------------------------------------------------------------------------------------------

    def _is_reaction(self, event: AcceptedEvent) -> bool:
        if event.kind == "signal":
            return event.name in self.scenario.reaction_signals and event.subject.kind == "user"
        return event.kind == "profile" and not TRAITS.isdisjoint(event.data)

    def _react(self, event: AcceptedEvent, at: datetime) -> None:
        gate = self.gate_of(event.subject)
        traits, data = ({}, event.data) if event.kind == "signal" else (event.data, {})
        context = {HISTORICAL: event.historical}
        inbound = InboundEvent(CALLS[event.kind], "", event.name, data=data, traits=traits, context=context)
        if event.name == MESSAGE_REPLIED and not event.historical:
            self.replies.reply(gate, inbound, at)
        if changes := self.consents.changes_in(gate, inbound, at):
            self.accept_caused(self.consents.change(gate, changes, at), at)
        self.consents.suppress(gate, inbound, at)

    # -- admission -------------------------------------------------------------------------------------------------

    def _admit(self, event: AcceptedEvent, at: datetime) -> None:
        """Change what an event says of its subject and their account, and give it to both lanes, the subject's first."""
        subject = event.subject
        account = subject if subject.kind == "account" else event.account or subject.account
        if event.name == CONVERSATION_CLOSED and self._closes_conversation(event, at):
            return
        changed, of_account = change_fields(event, account, recorded_origin(at))
        self._offer(event, subject, account, changed, at)
        if account is not None and account is not subject:
            self._offer(event, account, account, of_account, at)
        if changed:
            self._reevaluate_hours(subject, changed, at)
        if account is not None and of_account:
            self._reevaluate_hours(account, of_account, at)
        if event.kind == "signal" and event.name in self.scenario.looked_back:
            signal = EarlierSignal(event.name, event.data, at, at)
            subject.remember(signal, self.scenario.longest_lookback)
        if event.name in self.scenario.ticket_signals:
            self._change_tickets(event, dict.fromkeys(item for item in (subject, account) if item is not None), at)

    def _closes_conversation(self, event: AcceptedEvent, at: datetime) -> bool:
        """Close the conversation that an event is about: then its own run receives it, and no lane."""
        subject = event.subject
        return subject.kind == "user" and self.replies.close_conversation(self.gate_of(subject), event.data, at)

    def _offer(
        self,
        event: AcceptedEvent,
        to: SimulatedSubject,
        account: SimulatedSubject | None,
        changed: frozenset[str],
        at: datetime,
    ) -> None:
        """Write the event's row into a lane, if it can change something there, and open runs."""
        scenario, name = self.scenario, event.name
        opening = scenario.opening.get(name, ())
        if not (opening or name in scenario.hearing or (changed and self._is_read(to, changed))):
            return
        facts, at_entry = to.row_facts(account, changed)
        entering = [
            (chart, entry) for chart in opening if (entry := self._enters(chart, to, event, at_entry, at)) is not None
        ]
        is_own = to is event.subject and to.kind == "account"
        is_signal = bool(entering) or self._is_heard(event, to, is_own=is_own)
        if not is_signal and not self._is_read(to, changed):
            return
        if not is_signal and not self.lanes.rows and not self._has_readers_at_once(to):
            to.receive(facts, at)
            return
        kind: Literal["signal", "facts"] = "signal" if is_signal else "facts"
        row = self.lanes.add(to, kind, name if is_signal else "", at, event.data, at_entry if entering else facts)
        for chart, entry in entering:
            self.runs += 1
            run = SimulatedRun(chart, entry.case, entry.epoch, to, self.runs, row.number)
            to.runs.setdefault((chart.key, entry.case), []).append(run)
            to.open.append(run)
        if to.followers:
            if is_own and not event.historical and name in scenario.member_signals:
                self.lanes.copy(row, "signal")
            elif not scenario.member_fields.isdisjoint(changed):
                self.lanes.copy(row, "facts")

    def _enters(
        self, chart: Chart, to: SimulatedSubject, event: AcceptedEvent, facts: RowFacts, at: datetime
    ) -> EntryAllowed | None:
        """Whether an event opens a run; the reason why not goes to the timeline, unless an open run reads the event."""
        if chart.spec.subject != to.kind:
            return None
        case = case_of(chart, event.data)
        if case is None:
            return None
        previous = [self.past(run, at) for run in to.runs.get((chart.key, case), ())]
        if event.name in chart.signals and any(run.open for run in previous):
            return None
        times, earlier = EventTimes(at, at, event.historical), to.earlier_signals() if chart.looked_back else ()
        verdict = may_enter(chart, event.name, event.data, facts, previous, at, times=times, earlier=earlier)
        if isinstance(verdict, EntryAllowed):
            return verdict
        self.timeline.append((None, NotEntered(at, chart.key, event.name, verdict.reason, to.name)))
        return None

    def past(self, run: SimulatedRun, at: datetime) -> PastRun:
        """A run as of `at`, by the rows and timers that it has not decided yet."""
        is_settled = not self.lanes.rows and (run.due is None or run.due > at)
        if is_settled or not run.is_open or run.chart.spec.entry.again == "never":
            return PastRun(run.epoch, run.is_open, run.ended_at)
        return past_run_as_of(run.chart, run.state, run.epoch, self.lanes.waiting_for(run), at)

    def _is_heard(self, event: AcceptedEvent, to: SimulatedSubject, *, is_own: bool) -> bool:
        """Whether an open run of the lane reads the signal, or, of an account's own, some journey of its members.

        Nobody hears history.
        """
        name = event.name
        if event.historical:
            return False
        for run in to.open:
            chart = run.chart
            if name in chart.signals and run.case == case_of(chart, event.data):
                return True
        return is_own and name in self.scenario.member_signals

    def _has_readers_at_once(self, to: SimulatedSubject) -> bool:
        """Whether fields alone may decide something: they move dates, and an account's are copied to its members."""
        if to.kind == "account":
            return True
        anchored = self.scenario.anchored
        return bool(anchored) and any(run.chart.key in anchored for run in to.open)

    def _is_read(self, to: SimulatedSubject, changed: frozenset[str]) -> bool:
        """Whether a journey in the lane, or one of an account's members, reads a field that changed."""
        if to.kind == "account" and not self.scenario.member_fields.isdisjoint(changed):
            return True
        if ACCOUNT in changed:
            return bool(to.open)
        return any(not changed.isdisjoint(run.chart.fields[to.scope]) for run in to.open)

    # -- what ends a wait ------------------------------------------------------------------------------------------

    def _reevaluate_hours(self, subject: SimulatedSubject, changed: frozenset[str], at: datetime) -> None:
        """Decide again what waits for hours that have moved, of a person or of an account's members."""
        if self.gates and not CLOCK.isdisjoint(changed):
            self.reevaluate((subject, *subject.members), HOURS, at)

    def _change_tickets(self, event: AcceptedEvent, subjects: Iterable[SimulatedSubject], at: datetime) -> None:
        """Open or resolve an urgent ticket of a person and their account (C6)."""
        rules = self.scenario.policy.urgent_ticket
        resolved = False
        for subject in subjects:
            before = frozenset(rules.open_of(subject.tickets, at))
            subject.tickets = rules.after(subject.tickets, event.name, event.data, at)
            after = frozenset(rules.open_of(subject.tickets, at))
            resolved |= not before <= after
            for ticket in after - before:
                if subject.kind == "user":
                    self.gate_of(subject).recipient.since.setdefault(("ticket", ticket), at)
        if resolved:
            self.reevaluate([person for subject in subjects for person in (subject, *subject.members)], TICKET, at)

    def reevaluate(self, people: Iterable[SimulatedSubject], codes: frozenset[str], at: datetime) -> None:
        """Make messages of these people due that wait for one of these reasons."""
        for person in people:
            if (gate := self.gates.get(person)) is not None and gate.queue:
                gate.reevaluate(codes, at)
