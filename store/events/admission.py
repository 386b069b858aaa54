"""Which runs an accepted event opens and which it must reach: the index applied to one batch under its locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.entry import EntryAllowed, EntryRefused, PastRun, case_of, may_enter
from journeys.events.segment import InboundEvent
from journeys.protocol import wire
from journeys.protocol.routing import MOVED, PERSONAL, SEEN
from store.database import Connection, execute, fetch_all, sql
from store.definitions.registry import SignalIndex
from store.outbox import queue as outbox
from store.outbox.undecided import run_as_of
from store.people.subjects import Subject

_RUNS = sql(
    """
    SELECT lane, id, journey, definition, case_key, epoch, true AS open, ended_at
    FROM runs WHERE lane = ANY(CAST(:lanes AS text[])) AND status = 'open'
    UNION ALL
    SELECT lane, '', journey, '', case_key, max(epoch), false, max(ended_at)
    FROM runs WHERE lane = ANY(CAST(:lanes AS text[])) AND status <> 'open' GROUP BY lane, journey, case_key
    """
)
_OPEN = sql(
    """
    INSERT INTO runs (id, journey, definition, subject_key, case_key, epoch, lane, entered_seq, clock, started_at)
    SELECT * FROM unnest(
      CAST(:ids AS text[]), CAST(:journeys AS text[]), CAST(:definitions AS text[]), CAST(:subjects AS text[]),
      CAST(:cases AS text[]), CAST(:epochs AS int[]), CAST(:lanes AS text[]), CAST(:seqs AS bigint[]),
      CAST(:clocks AS text[]), CAST(:ats AS timestamptz[]))
    """
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


def is_accounts_own(call: InboundEvent) -> bool:
    """Whether something happened to an account itself, and was not done by one of its people."""
    if call.subject_key is not None:
        return call.subject_key.startswith("a_")
    return call.account_id is not None and call.user_id is None and call.anonymous_id is None


class Admission:
    """Decides in memory over what one batch locked; writes runs and outbox rows at the end, two statements."""

    def __init__(
        self, connection: Connection, index: SignalIndex, locked: Mapping[str, Subject], source: str = wire.SOURCE_SELF
    ) -> None:
        self.connection, self.index, self.locked, self.source = connection, index, locked, source
        self.runs: dict[str, dict[tuple[str, str], list[_Run]]] = {}
        self.opened: list[_Opened] = []
        self.waiting: list[outbox.OutboxRow] = []

    async def load(self) -> None:
        """The runs of the locked subjects: a merge may leave several open of one journey and case."""
        self.runs = {key: {} for key in self.locked}
        if not self.locked:
            return
        for item in await fetch_all(self.connection, _RUNS, lanes=sorted(self.locked)):
            found = _Run(*(item[name] for name in ("id", "definition", "case_key", "epoch", "open", "ended_at")))
            self.runs[item["lane"]].setdefault((item["journey"], item["case_key"]), []).append(found)

    async def admit(self, call: InboundEvent, at: datetime, subject: Subject, account: Subject | None) -> None:
        """Give one event to its person's lane and to their account's, each only if it can change something there."""
        await self._offer(call, at, subject, account)
        if account is not None and account is not subject:
            await self._offer(call, at, account, account)
        subject.changed.clear()
        if account is not None:
            account.changed.clear()

    async def _offer(self, call: InboundEvent, at: datetime, to: Subject, account: Subject | None) -> None:
        name = call.name
        facts = self._facts(to, account)
        if to.kind == "account" and not is_accounts_own(call):
            facts[PERSONAL] = {}
        entering = await self._entering(call, at, to, facts)
        heard = self._is_heard(call, to)
        if not entering and not heard and not self._is_read(to):
            return
        seq = to.next_seq()
        known = bool(entering or heard)
        data = self._kept(name, call.data) if known else {}
        self.waiting.append(
            outbox.OutboxRow(
                to.key,
                seq,
                "signal" if known else "facts",
                name if known else "",
                call.message_id,
                at,
                data,
                facts,
                trace=call.traced(self.source),
            )
        )
        for chart, enter in entering:
            self._open(chart, enter, to, seq, at)

    async def _entering(
        self, call: InboundEvent, at: datetime, to: Subject, facts: Mapping[str, Mapping[str, Any]]
    ) -> list[tuple[Chart, EntryAllowed]]:
        entering = []
        for chart in self.index.opening.get(call.name, ()):
            if chart.spec.subject != to.kind:
                continue
            verdict = await self.may_enter(chart, call, at, to, facts)
            if isinstance(verdict, EntryAllowed):
                entering.append((chart, verdict))
        return entering

    async def may_enter(
        self, chart: Chart, call: InboundEvent, at: datetime, to: Subject, facts: Mapping[str, Mapping[str, Any]]
    ) -> EntryAllowed | EntryRefused:
        """Whether an event opens a run of this locked subject, by all that was accepted until then."""
        before = self.runs[to.key].get((chart.key, case_of(chart, call.data) or ""), ())
        previous = [await self._past(chart, each, at) for each in before]
        return may_enter(chart, call.name, call.data, facts, previous, at)

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

    def _is_heard(self, call: InboundEvent, to: Subject) -> bool:
        """Whether an open run of this lane reacts to the signal; members' runs hear their account's own signals."""
        for item in self.open_runs(to):
            chart = self.index.charts.get(item.chart_hash)
            if chart is not None and call.name in chart.signals and item.case == case_of(chart, call.data):
                return True
        return is_accounts_own(call) and any(
            chart.spec.subject == "user" for chart in self.index.hearing.get(call.name, ())
        )

    def _is_read(self, to: Subject) -> bool:
        """Whether a field that changed is one that an open run reads, dates of anchors among them."""
        if not to.changed:
            return False
        scope = "account" if to.kind == "account" else "profile"
        if scope == "account" and any(
            chart.spec.subject == "user" and chart.fields["account"] & to.changed
            for chart in self.index.charts.values()
        ):
            return True
        charts = (self.index.charts.get(item.chart_hash) for item in self.open_runs(to))
        return any(
            chart is not None and (chart.fields[scope] & to.changed or "account" in to.changed) for chart in charts
        )

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
                    self.waiting.append(
                        outbox.OutboxRow(to.key, to.next_seq(), "merged", "", told, at, {}, target=item.id)
                    )

    async def _is_open(self, item: _Run, at: datetime) -> bool:
        own = self.index.charts.get(item.chart_hash)
        return own is None or (await run_as_of(self.connection, own, item.id, self.waiting, at)).open

    def _facts(self, to: Subject, account: Subject | None) -> dict[str, dict[str, Any]]:
        """Every field that some chart reads, as of this commit; `@seen` is how far the account's own lane was then."""
        reading = self.index.reading
        facts: dict[str, dict[str, Any]] = {}
        if to.kind == "user" and to.account_key is None and "account" in to.changed:
            facts, account = {MOVED: {}, "account": {}}, None  # they have left it: nothing of it is known of them
        if account is not None and account is not to:
            facts[SEEN] = {account.key: account.seq}
            facts |= {MOVED: {}} if "account" in to.changed else {}
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
