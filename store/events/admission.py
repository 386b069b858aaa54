"""Admission of accepted events: the runs that they open, and the lanes that they must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import false, func, literal, select, true, union_all
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.chart import Chart
from journeys.decision.entry import EntryAllowed, EntryRefused, PastRun, case_of, may_enter
from journeys.events.inbound import InboundEvent, StoredEvent
from journeys.protocol import wire
from journeys.protocol.routing import MOVED, PERSONAL, SEEN
from store.database import Connection, execute, fetch_all, sql
from store.definitions.registry import SignalIndex
from store.expressions import any_of, unnest
from store.outbox import queue as outbox
from store.outbox.rows import OutboxRow
from store.outbox.undecided import run_as_of
from store.people.subjects import Subject
from store.schema import runs

_open_runs = select(
    runs.c.lane,
    runs.c.id,
    runs.c.journey,
    runs.c.definition,
    runs.c.case_key,
    runs.c.epoch,
    true().label("open"),
    runs.c.ended_at,
).where(any_of(runs.c.lane, "lanes"), runs.c.status == "open")
_ended_runs = (
    select(
        runs.c.lane,
        literal(""),
        runs.c.journey,
        literal(""),
        runs.c.case_key,
        func.max(runs.c.epoch),
        false(),
        func.max(runs.c.ended_at),
    )
    .where(any_of(runs.c.lane, "lanes"), runs.c.status != "open")
    .group_by(runs.c.lane, runs.c.journey, runs.c.case_key)
)
_RUNS = sql(union_all(_open_runs, _ended_runs))
_OPEN = sql(
    insert(runs).from_select(
        [
            "id",
            "journey",
            "definition",
            "subject_key",
            "case_key",
            "epoch",
            "lane",
            "entered_seq",
            "clock",
            "started_at",
        ],
        select(
            unnest(
                "given",
                ids=runs.c.id,
                journeys=runs.c.journey,
                definitions=runs.c.definition,
                subjects=runs.c.subject_key,
                cases=runs.c.case_key,
                epochs=runs.c.epoch,
                lanes=runs.c.lane,
                seqs=runs.c.entered_seq,
                clocks=runs.c.clock,
                ats=runs.c.started_at,
            )
        ),
    )
)


@dataclass(slots=True)
class _Run:
    """An open run of a lane, or what entry asks of all that have ended of its journey and case."""

    id: str
    chart_hash: str
    case: str
    epoch: int
    open: bool
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Opened:
    id: str
    chart: Chart
    subject: Subject
    case: str
    epoch: int
    seq: int
    at: datetime


def is_accounts_own(event: InboundEvent) -> bool:
    """Whether something happened to an account itself, and was not done by one of its people."""
    if event.subject_key is not None:
        return event.subject_key.startswith("a_")
    return event.account_id is not None and event.user_id is None and event.anonymous_id is None


class Admission:
    """Decides in memory over what one batch locked; writes runs and outbox rows at the end, two statements."""

    def __init__(self, connection: Connection, index: SignalIndex, locked: Mapping[str, Subject]) -> None:
        self.connection, self.index, self.locked = connection, index, locked
        self.runs: dict[str, dict[tuple[str, str], list[_Run]]] = {}
        self.opened: list[_Opened] = []
        self.waiting: list[OutboxRow] = []

    async def load(self) -> None:
        """The runs of the locked subjects: a merge may leave several open of one journey and case."""
        self.runs = {key: {} for key in self.locked}
        if not self.locked:
            return
        for item in await fetch_all(self.connection, _RUNS, lanes=sorted(self.locked)):
            found = _Run(*(item[name] for name in ("id", "definition", "case_key", "epoch", "open", "ended_at")))
            self.runs[item["lane"]].setdefault((item["journey"], item["case_key"]), []).append(found)

    async def admit(self, item: StoredEvent, subject: Subject, account: Subject | None) -> Mapping[str, frozenset[str]]:
        """Give one event to its person's lane and to their account's, each only if it can change something there.

        Answers with the fields that have changed since the event before, by subject: this is their one reader.
        """
        changes = {subject.key: subject.take_changes()}
        if account is not None and account is not subject:
            changes[account.key] = account.take_changes()
        await self._offer(item, subject, account, changes[subject.key])
        if account is not None and account is not subject:
            await self._offer(item, account, account, changes[account.key])
        return changes

    async def _offer(self, item: StoredEvent, to: Subject, account: Subject | None, changed: frozenset[str]) -> None:
        event = item.event
        facts = self._facts(to, account, changed)
        if to.kind == "account" and not is_accounts_own(event):
            facts[PERSONAL] = {}
        entering = await self._entering(item, to, facts)
        heard = self._is_heard(event, to)
        if not entering and not heard and not self._is_read(to, changed):
            return
        seq = to.next_seq()
        known = bool(entering or heard)
        self.waiting.append(
            OutboxRow(
                to.key,
                seq,
                "signal" if known else "facts",
                event.name if known else "",
                event.message_id,
                item.at,
                self._kept(event.name, event.data) if known else {},
                facts,
                trace=item.trace,
            )
        )
        for chart, enter in entering:
            self._open(chart, enter, to, seq, item.at)

    async def _entering(
        self, item: StoredEvent, to: Subject, facts: Mapping[str, Mapping[str, Any]]
    ) -> list[tuple[Chart, EntryAllowed]]:
        entering = []
        for chart in self.index.opening.get(item.event.name, ()):
            if chart.spec.subject != to.kind:
                continue
            verdict = await self.may_enter(chart, item.event, item.at, to, facts)
            if isinstance(verdict, EntryAllowed):
                entering.append((chart, verdict))
        return entering

    async def may_enter(
        self, chart: Chart, event: InboundEvent, at: datetime, to: Subject, facts: Mapping[str, Mapping[str, Any]]
    ) -> EntryAllowed | EntryRefused:
        """Whether an event opens a run of this locked subject, by all that was accepted until then."""
        before = self.runs[to.key].get((chart.key, case_of(chart, event.data) or ""), ())
        previous = [await self._past(chart, each, at) for each in before]
        return may_enter(chart, event.name, event.data, facts, previous, at)

    async def _past(self, chart: Chart, last: _Run, at: datetime) -> PastRun:
        """The last run as of this event: one that the projection still calls open may have ended by now."""
        own = self.index.charts.get(last.chart_hash)
        if not last.open or own is None or chart.spec.entry.again == "never":
            return PastRun(last.epoch, last.open, last.ended_at)
        return await run_as_of(self.connection, own, last.id, self.waiting, at)

    def _open(self, chart: Chart, enter: EntryAllowed, to: Subject, seq: int, at: datetime) -> None:
        identity = wire.run_id(chart.key, to.key, enter.case, enter.epoch)
        self.opened.append(_Opened(identity, chart, to, enter.case, enter.epoch, seq, at))
        found = _Run(identity, chart.hash, enter.case, enter.epoch, True, None)
        self.runs[to.key].setdefault((chart.key, enter.case), []).append(found)

    def _is_heard(self, event: InboundEvent, to: Subject) -> bool:
        """Whether an open run of this lane reacts to the signal; members' runs hear their account's own signals."""
        for item in self.open_runs(to):
            chart = self.index.charts.get(item.chart_hash)
            if chart is not None and event.name in chart.signals and item.case == case_of(chart, event.data):
                return True
        return is_accounts_own(event) and any(
            chart.spec.subject == "user" for chart in self.index.hearing.get(event.name, ())
        )

    def _is_read(self, to: Subject, changed: frozenset[str]) -> bool:
        """Whether a field that changed is one that an open run reads, dates of anchors among them."""
        if not changed:
            return False
        scope = "account" if to.kind == "account" else "profile"
        if scope == "account" and any(
            chart.spec.subject == "user" and chart.fields["account"] & changed for chart in self.index.charts.values()
        ):
            return True
        charts = (self.index.charts.get(item.chart_hash) for item in self.open_runs(to))
        return any(chart is not None and (chart.fields[scope] & changed or "account" in changed) for chart in charts)

    def open_runs(self, to: Subject) -> list[_Run]:
        """Every run of a lane that has not ended, as far as its row knows."""
        return [item for found in self.runs[to.key].values() for item in found if item.open]

    async def end_doubles(self, to: Subject, stay: Sequence[_Run], at: datetime, event_id: str) -> None:
        """Of a journey and case in which one of `stay` really is, tell every other run of this lane that it ends."""
        staying = {item.id for item in stay}
        for found in self.runs[to.key].values():
            came = [item for item in found if item.open and item.id not in staying]
            before = [item for item in found if item.id in staying]
            if came and any([await self._is_open(item, at) for item in before]):
                for item in came:
                    item.open = False
                    told = f"{event_id}:{item.id}"
                    self.waiting.append(OutboxRow(to.key, to.next_seq(), "merged", "", told, at, {}, target=item.id))

    async def _is_open(self, item: _Run, at: datetime) -> bool:
        own = self.index.charts.get(item.chart_hash)
        return own is None or (await run_as_of(self.connection, own, item.id, self.waiting, at)).open

    def _facts(self, to: Subject, account: Subject | None, changed: frozenset[str]) -> dict[str, dict[str, Any]]:
        """Every field that some chart reads, as of this commit; `@seen` is how far the account's own lane was then."""
        reading = self.index.reading
        facts: dict[str, dict[str, Any]] = {}
        if to.kind == "user" and to.account_key is None and "account" in changed:
            facts, account = {MOVED: {}, "account": {}}, None  # they have left it: nothing of it is known of them
        if account is not None and account is not to:
            facts[SEEN] = {account.key: account.seq}
            facts |= {MOVED: {}} if "account" in changed else {}
        if to.kind == "user":
            facts["profile"] = {k: to.profile[k] for k in reading.get("profile", ()) if k in to.profile}
        if account is not None:
            facts["account"] = {k: account.profile[k] for k in reading.get("account", ()) if k in account.profile}
        return facts

    def _kept(self, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of the event's data, what some chart reads, and the case keys."""
        kept: dict[str, Any] = {}
        for chart in (*self.index.hearing.get(name, ()), *self.index.opening.get(name, ())):
            kept |= chart.kept(name, data)
            if chart.spec.case and chart.spec.case in data:
                kept[chart.spec.case] = data[chart.spec.case]
        return kept

    async def write(self) -> None:
        """Insert the runs that were opened and the rows that must reach runs, once."""
        if self.opened:
            await execute(
                self.connection,
                _OPEN,
                ids=[o.id for o in self.opened],
                journeys=[o.chart.key for o in self.opened],
                definitions=[o.chart.hash for o in self.opened],
                subjects=[o.subject.key for o in self.opened],
                cases=[o.case for o in self.opened],
                epochs=[o.epoch for o in self.opened],
                lanes=[o.subject.key for o in self.opened],
                seqs=[o.seq for o in self.opened],
                clocks=[o.subject.clock for o in self.opened],
                ats=[o.at for o in self.opened],
            )
        await outbox.enqueue(self.connection, self.waiting)
        self.opened, self.waiting = [], []
