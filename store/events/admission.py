"""Admission of events: the runs they open and the lanes they reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.entry import (
    EarlierSignal,
    EntryAllowed,
    EntryRefused,
    EventTimes,
    PastRun,
    case_of,
    may_enter,
    reentry_refusal,
)
from journeys.events.inbound import InboundEvent, StoredEvent
from journeys.language.actions import Priority
from journeys.protocol import wire
from store.database import Connection
from store.definitions.registry import SignalIndex
from store.outbox import queue as outbox
from store.outbox.copies import copies_for, pending_rows
from store.outbox.for_members import for_members
from store.outbox.rows import OutboxRow, most_urgent, urgency_of
from store.outbox.undecided import run_as_of
from store.people.subjects import Subject
from store.runs.earlier_signals import EarlierSignals, read_earlier_signals
from store.runs.lanes import LaneRun, NewRun, insert_runs, runs_of_lanes


class Admission:
    """Decides in memory about one locked batch; writes runs and outbox rows at the end, in two statements."""

    def __init__(self, connection: Connection, index: SignalIndex, locked: Mapping[str, Subject]) -> None:
        self.connection, self.index, self.locked = connection, index, locked
        self.runs: dict[str, dict[tuple[str, str], list[LaneRun]]] = {}
        self.earlier = EarlierSignals()
        self.opened: list[NewRun] = []
        self.waiting: list[OutboxRow] = []
        self.pending: dict[str, list[OutboxRow]] = {}
        """By account, its rows that some locked person's lane may lack, once they were read."""

    async def load(self) -> None:
        """The runs of the locked subjects: a merge may leave several open of one journey and case."""
        self.runs = await runs_of_lanes(self.connection, self.locked)

    async def look_back(self, stored: Iterable[StoredEvent]) -> None:
        """Read what the entries of a batch look back at."""
        self.earlier = await read_earlier_signals(self.connection, self.index.opening, stored, self.locked)

    async def catch_up(self, person: Subject) -> None:
        """Copy what a person's lane lacks of their account's, before anything that they do or become (record 0015)."""
        account = self.locked.get(person.account_key or "")
        if account is None or person.copied_seq is None or account.members_seq <= person.copied_seq:
            return
        if account.key not in self.pending:
            await self.write()
            members = (other for other in self.locked.values() if other.account_key == account.key)
            copied = min(member.copied_seq for member in members if member.copied_seq is not None)
            self.pending |= await pending_rows(self.connection, {account.key: copied})
        definitions = {run.chart_hash for run in self.open_runs(person)}
        self.waiting += copies_for(person, self.pending[account.key], account.members_seq, definitions)

    def _follow_account(self, person: Subject) -> None:
        """From now on copy the rows of a person's account into their lane, if they have an open run."""
        account = self.locked.get(person.account_key or "")
        copied_seq = account.members_seq if account is not None and self.open_runs(person) else None
        person.dirty = person.dirty or copied_seq != person.copied_seq
        person.copied_seq = copied_seq

    async def admit(self, item: StoredEvent, subject: Subject, account: Subject | None) -> Mapping[str, frozenset[str]]:
        """Put an event into its person's lane and their account's, each only if it can change something there.

        Returns the fields that have changed since the event before, by subject. This is their only reader.
        """
        changes = {subject.key: subject.take_changes()}
        if account is not None and account is not subject:
            changes[account.key] = account.take_changes()
        await self._offer(item, subject, account, changes[subject.key])
        if account is not None and account is not subject:
            await self._offer(item, account, account, changes[account.key])
        if subject.kind == "user" and (subject.copied_seq is None or "account" in changes[subject.key]):
            self._follow_account(subject)
        return changes

    async def _offer(self, item: StoredEvent, to: Subject, account: Subject | None, changed: frozenset[str]) -> None:
        event, facts = item.event, self._facts(to, changed)
        # Who belongs to no account enters with what is known of the one that the event names.
        facts_at_entry = {**self._account_facts(account), **facts}
        entering = await self._entering(item, to, facts_at_entry)
        members_get = for_members(self.index, event, changed) if to.kind == "account" else None
        is_signal = bool(entering) or (not event.historical and self._reacts(event, to))
        if not is_signal and members_get is None and not self._reads(to, changed):
            return
        is_signal = is_signal or (members_get is not None and members_get.kind == "signal")
        row = OutboxRow(
            to.key,
            to.next_seq(),
            "signal" if is_signal else "facts",
            event.name if is_signal else "",
            event.message_id,
            item.at,
            (event.data if self._is_unread(to) else self.index.kept(event.name, event.data)) if is_signal else {},
            facts_at_entry if entering else facts,
            trace=item.trace,
            urgency=urgency_of(self._priority(event, to, entering) if is_signal else "lifecycle"),
            for_members=members_get,
            occurred_at=item.happened_at if item.is_old else None,
        )
        self.waiting.append(row)
        if members_get is not None:
            to.members_seq = row.seq
            self.pending.pop(to.key, None)
        for chart, enter in entering:
            self._open(chart, enter, to, row.seq, item.at)

    async def _entering(
        self, item: StoredEvent, to: Subject, facts: Mapping[str, Mapping[str, Any]]
    ) -> list[tuple[Chart, EntryAllowed]]:
        entering = []
        for chart in self.index.opening.get(item.event.name, ()):
            if chart.spec.subject != to.kind:
                continue
            times = EventTimes(item.happened_at, item.accepted_at or item.at, item.event.historical)
            earlier = self.earlier.before(to.key, item.number)
            verdict = await self.may_enter(chart, item.event, item.at, to, facts, times, earlier)
            if isinstance(verdict, EntryAllowed):
                entering.append((chart, verdict))
        return entering

    async def may_enter(
        self,
        chart: Chart,
        event: InboundEvent,
        at: datetime,
        to: Subject,
        facts: Mapping[str, Mapping[str, Any]],
        times: EventTimes | None = None,
        earlier: Sequence[EarlierSignal] = (),
    ) -> EntryAllowed | EntryRefused:
        """Whether an event opens a run of this locked subject, by everything that was accepted before it."""
        before = self.runs[to.key].get((chart.key, case_of(chart, event.data) or ""), ())
        previous = [await self._past(chart, run, at) for run in before]
        return may_enter(chart, event.name, event.data, facts, previous, at, times=times, earlier=earlier)

    async def _past(self, chart: Chart, last: LaneRun, at: datetime) -> PastRun:
        """The last run as of this event: one that the projection still has as open may have ended."""
        own = self.index.charts.get(last.chart_hash)
        if not last.open or own is None or chart.spec.entry.again == "never":
            return PastRun(last.epoch, last.open, last.ended_at)
        return await run_as_of(self.connection, own, last.id, self.waiting, at)

    def _open(self, chart: Chart, enter: EntryAllowed, to: Subject, seq: int, at: datetime) -> None:
        run_id = wire.run_id(chart.key, to.key, enter.case, enter.epoch)
        self.opened.append(NewRun(run_id, chart, to.key, enter.case, enter.epoch, seq, to.clock, at))
        run = LaneRun(run_id, chart.hash, enter.case, enter.epoch, True, None)
        self.runs[to.key].setdefault((chart.key, enter.case), []).append(run)

    def _reacts(self, event: InboundEvent, to: Subject) -> bool:
        """Whether an open run of this lane reacts to the signal; one with a definition that cannot be read here may."""
        for run in self.open_runs(to):
            chart = self.index.charts.get(run.chart_hash)
            if chart is None or (event.name in chart.signals and run.case == case_of(chart, event.data)):
                return True
        return False

    def _priority(self, event: InboundEvent, to: Subject, entering: Sequence[tuple[Chart, EntryAllowed]]) -> Priority:
        """The most urgent priority of the runs that an event opens or reaches in a lane."""
        charts = [self.index.charts.get(run.chart_hash) for run in self.open_runs(to)]
        reacting = [chart for chart in charts if chart is not None and event.name in chart.signals]
        return most_urgent([*(chart for chart, _ in entering), *reacting])

    def _reads(self, to: Subject, changed: frozenset[str]) -> bool:
        """Whether an open run reads a field that has changed, dates of anchors included."""
        if not changed:
            return False
        scope = "account" if to.kind == "account" else "profile"
        charts = (self.index.charts.get(run.chart_hash) for run in self.open_runs(to))
        return any(chart is None or chart.fields[scope] & changed or "account" in changed for chart in charts)

    def _is_unread(self, to: Subject) -> bool:
        """Whether an open run's definition cannot be read here: its row then has all data and fields."""
        return any(run.chart_hash not in self.index.charts for run in self.open_runs(to))

    def open_runs(self, to: Subject) -> list[LaneRun]:
        """The runs of a lane that have not ended, by their rows."""
        return [run for runs in self.runs[to.key].values() for run in runs if run.open]

    def follow_after_merge(self, gone: Subject, into: Subject) -> None:
        """A visitor's lane gets no more copies; the user's gets them for the runs that have moved there as well."""
        gone.copied_seq, gone.dirty = None, True
        self.earlier.join(gone.key, into.key)
        self._follow_account(into)

    async def end_duplicates(self, to: Subject, stay: Sequence[LaneRun], at: datetime, event_id: str) -> None:
        """End the open runs that come to this lane where `entry.again` forbids them beside the lane's own: as `merged`.

        These are `stay`, as far as they are really open, and those that have ended. So a person who has had a journey that
        may be entered once does not go on with it as the visitor that they were.
        """
        staying = {run.id for run in stay}
        for runs in self.runs[to.key].values():
            joining = [run for run in runs if run.open and run.id not in staying]
            chart = self.index.charts.get(joining[0].chart_hash) if joining else None
            if chart is None:
                continue
            before = [await self._as_of(run, at) for run in runs if not run.open or run.id in staying]
            if reentry_refusal(chart, before, at):
                for run in joining:
                    run.open = False
                    merge_id = f"{event_id}:{run.id}"
                    self.waiting.append(OutboxRow(to.key, to.next_seq(), "merged", "", merge_id, at, {}, target=run.id))

    async def _as_of(self, run: LaneRun, at: datetime) -> PastRun:
        """A run as of an instant: one that the projection still has as open may have ended."""
        own = self.index.charts.get(run.chart_hash)
        if not run.open or own is None:
            return PastRun(run.epoch, run.open, run.ended_at)
        return await run_as_of(self.connection, own, run.id, self.waiting, at)

    def _facts(self, to: Subject, changed: frozenset[str]) -> dict[str, dict[str, Any]]:
        """Every field that a chart reads, as of this commit; a person's account is the one they were put into last."""
        if to.kind == "account":
            return self._account_facts(to)
        reading = to.profile if self._is_unread(to) else self.index.reading.get("profile", ())
        facts = {"profile": {name: to.profile[name] for name in reading if name in to.profile}}
        if to.account_key is not None:
            facts |= self._account_facts(self.locked.get(to.account_key))
        elif "account" in changed:
            facts["account"] = {}  # they have left it: its fields apply no more
        return facts

    def _account_facts(self, account: Subject | None) -> dict[str, dict[str, Any]]:
        if account is None:
            return {}
        reading = self.index.reading.get("account", ())
        return {"account": {name: account.profile[name] for name in reading if name in account.profile}}

    async def write(self) -> None:
        """Insert the opened runs and the rows for runs, once."""
        await insert_runs(self.connection, self.opened)
        await outbox.enqueue(self.connection, self.waiting)
        self.opened, self.waiting = [], []
