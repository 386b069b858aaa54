"""One person in memory: recorded events through entry, `decide` and `judge`, in the order in which they were accepted.

This is what the store, the relay, the workflow and the gate do together, without any of them: whatever is decided here
is decided by the same functions, so the simulator and the backtest cannot drift from the live system. `now` of the
gate is the instant of what happens, since here nothing lags.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from journeys.consenting import has_opted_out
from journeys.decide import decide
from journeys.effects import (
    ChangedAudience,
    ClosedTask,
    Effect,
    EmittedSignal,
    EscalatedTask,
    Finished,
    LogLine,
    OpenedTask,
    SendMessage,
    WithdrawnMessages,
    message_key,
)
from journeys.entry import Enter, PastRun, case_of, enters_on, may_enter
from journeys.judge import judge
from journeys.messages import ask_of, outcome_signal, withdraws
from journeys.occurrences import Entered, Facts, FactsRead, Occurrence, OptedOut, Signal, TimerDue
from journeys.parts import Chart
from journeys.policy import Policy, horizon
from journeys.recorded import Recorded
from journeys.state import RunState
from journeys.verdicts import DeferUntil, MergeInto, Queued, Reason, Replace, SendNow, Sent, Standing, Withhold
from journeys.wire import play_signal
from journeys.zones import zone_of

MOST_AT_ONCE = 1_000
"""Signals that signals may cause at one instant; journeys that answer each other for ever are stopped there."""


_OF_STANDING = frozenset({"email", "phone", "timezone"})
"""The fields by which a person is reached, and their clock told."""


class World:
    """What is the same for everyone: journeys, policy, and the channels on which everyone is assumed to be reached."""

    def __init__(
        self, charts: tuple[Chart, ...], policy: Policy, reachable: frozenset[str] = frozenset({"in_app"})
    ) -> None:
        self.charts, self.policy, self.reachable = charts, policy, reachable
        self.horizon = horizon(policy)
        names = {n for chart in charts for n in (*chart.signals, *chart.spec.entry.on, play_signal(chart.key))}
        self.hearing = {
            name: tuple(chart for chart in charts if name in chart.signals or enters_on(chart, name)) for name in names
        }
        self.anchored = frozenset(chart.key for chart in charts if chart.has_anchors)
        tickets = policy.urgent_ticket
        self.of_tickets = frozenset({*tickets.opened_by, *tickets.resolved_by})


class Run:
    """One run: where it is, and when it wants to be woken."""

    __slots__ = ("case", "chart", "due", "ended_at", "epoch", "name", "place", "state", "untold")

    def __init__(self, chart: Chart, case: str, epoch: int) -> None:
        self.chart, self.case, self.epoch = chart, case, epoch
        self.name = f"{chart.key}/{case or '-'}/{epoch}"
        self.state = RunState()
        self.place = ""
        self.due: datetime | None = None
        self.ended_at: datetime | None = None
        self.untold: FactsRead | None = None


class Line(NamedTuple):
    """One line of a person's timeline, comparable with the live one's."""

    run: str
    at: datetime
    kind: str
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What the gate said to a message at `at`; `to` is the role it was for, if any."""

    at: datetime
    kind: Literal["sent", "merged", "deferred", "withheld", "replaced"]
    message: SendMessage
    to: str
    reasons: tuple[Reason, ...]
    channel: str = ""
    until: datetime | None = None

    @property
    def text(self) -> str:
        """The verdict in words."""
        why = "; ".join(reason.text for reason in self.reasons)
        what = self.message.template + (f" for {self.to}" if self.to else "")
        match self.kind:
            case "sent":
                return f"{what} by {self.channel}" + (f" ({why})" if why else "")
            case "deferred":
                return f"{what} waits, because {why}"
            case "merged":
                return f"{what} by {self.channel}: {why}"
            case "withheld" | "replaced":
                return f"{what}, because {why}"


@dataclass(frozen=True, slots=True)
class NotEntered:
    """An event that could have opened a run, and why it did not."""

    at: datetime
    journey: str
    name: str
    reason: str


@dataclass(slots=True)
class _Queued:
    run: Run
    message: SendMessage
    to: str
    due: datetime
    codes: tuple[str, ...]
    waiting: Queued
    ready_at: datetime | None = None


@dataclass(slots=True)
class Person:
    """A subject's runs, what is known of them, what is queued for them; `story` is all that was decided, in order."""

    world: World
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    open: list[Run] = field(default_factory=list)
    story: list[tuple[Run | None, LogLine | Fate | NotEntered]] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"profile": {}, "account": {}})
    standings: dict[str, Standing] = field(default_factory=dict)
    tickets: frozenset[str] = frozenset()
    consents: dict[tuple[str, str], bool] = field(default_factory=dict)
    queue: list[_Queued] = field(default_factory=list)
    fed: deque[tuple[Run | None, str, Mapping[str, Any]]] = field(default_factory=deque)
    tasks: int = 0

    # -- time ----------------------------------------------------------------------------------------------------

    def until(self, at: datetime) -> None:
        """Let time pass: everything due at or before `at`, each at its own instant, timers before messages."""
        while (due := self.next_due()) is not None and due <= at:
            for run in self.open:
                if run.due == due:
                    self.step(run, TimerDue(due))
                    break
            else:
                message = next(queued for queued in self.queue if queued.due == due)
                self.queue.remove(message)
                self.ask(message.run, message.message, message.to, due, message)
            self.drain(due)

    def next_due(self) -> datetime | None:
        """The instant at which something is due next."""
        earliest: datetime | None = None
        for run in self.open:
            if run.due is not None and (earliest is None or run.due < earliest):
                earliest = run.due
        for queued in self.queue:
            if earliest is None or queued.due < earliest:
                earliest = queued.due
        return earliest

    # -- events --------------------------------------------------------------------------------------------------

    def happen(self, event: Recorded) -> None:
        """Take in one accepted event, after everything that was due by then."""
        self.until(event.at)
        match event.kind:
            case "signal":
                self.hear(event.name, event.data, event.at)
            case "profile" | "account":
                self.learn(event.kind, event.data, event.at)
            case "consent":
                self.consent(event.data, event.at)
        self.drain(event.at)
        self.until(event.at)

    def learn(self, scope: Literal["profile", "account"], traits: Mapping[str, Any], at: datetime) -> None:
        """Fields have changed: runs that read one of them are told."""
        known = self.facts[scope]
        changed = {name for name, value in traits.items() if known.get(name) != value}
        if not changed:
            return
        self.facts = {**self.facts, scope: {**known, **traits}}
        if changed & _OF_STANDING:
            addresses, zone = self.addresses(), self.zone()
            self.standings = {to: replace(each, addresses=addresses, zone=zone) for to, each in self.standings.items()}
        for run in tuple(self.open):
            if not changed.isdisjoint(run.chart.fields[scope]):
                self.tell(run, FactsRead(at, self.facts))

    def tell(self, run: Run, facts: FactsRead) -> None:
        """Dates move at once; other fields decide nothing by themselves, so they are told with what comes next."""
        if run.chart.key in self.world.anchored:
            self.step(run, facts)
        else:
            run.untold = facts

    def hear(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """A signal reaches the open run of its case in each journey, or opens one."""
        if name in self.world.of_tickets:
            self.tickets = self.world.policy.urgent_ticket.open_after(self.tickets, name, data)
            urgent = bool(self.tickets)
            self.standings = {to: replace(each, urgent_open=urgent) for to, each in self.standings.items()}
            if name in self.world.policy.urgent_ticket.resolved_by:
                self.wake(at)
        for chart in self.world.hearing.get(name, ()):
            case = case_of(chart, data)
            if case is None:
                continue
            run = self.runs.get((chart.key, case))
            if run is not None and run.state.is_open and name in chart.signals:
                self.step(run, Signal(at, name, chart.kept(name, data), self.facts))
            elif enters_on(chart, name):
                self.enter(chart, run, name, data, at)

    def wake(self, at: datetime) -> None:
        """A ticket was resolved: what waited for that is judged again at once."""
        for queued in self.queue:
            if "urgent_ticket" in queued.codes:
                queued.due = min(queued.due, at)

    def enter(self, chart: Chart, last: Run | None, name: str, data: Mapping[str, Any], at: datetime) -> None:
        previous = (PastRun(last.epoch, last.state.is_open, last.ended_at),) if last is not None else ()
        verdict = may_enter(chart, name, data, self.facts, previous, at)
        if not isinstance(verdict, Enter):
            self.story.append((None, NotEntered(at, chart.key, name, verdict.reason)))
            return
        run = Run(chart, verdict.case, verdict.epoch)
        self.runs[chart.key, verdict.case] = run
        self.open.append(run)
        self.step(run, Entered(at, name, chart.kept(name, data), self.facts))

    def consent(self, data: Mapping[str, Any], at: datetime) -> None:
        """They said yes or no; a no that leaves a journey no channel ends its runs (C5)."""
        granted = data.get("granted") is True
        place = (str(data.get("channel") or "*"), str(data.get("topic") or "*"))
        self.consents = {**self.consents, place: granted}
        self.standings = {to: replace(each, consents=self.consents) for to, each in self.standings.items()}
        for run in tuple(self.open):
            if not granted and has_opted_out(self.world.policy, run.chart, self.consents):
                self.step(run, OptedOut(at))

    def drain(self, at: datetime) -> None:
        """Signals that journeys caused come in by the front door, like all others."""
        for _ in range(MOST_AT_ONCE):
            if not self.fed:
                return
            run, name, data = self.fed.popleft()
            if run is None:
                self.hear(name, data, at)
            elif run.state.is_open:
                self.step(run, Signal(at, name, data, self.facts))
        self.fed.clear()

    # -- decisions -----------------------------------------------------------------------------------------------

    def step(self, run: Run, occurrence: Occurrence) -> None:
        """One decision and what it asks of the world."""
        if run.untold is not None:
            if not isinstance(occurrence, Signal):
                run.state = decide(run.chart, run.state, run.untold).state
            run.untold = None
        decision = decide(run.chart, run.state, occurrence)
        run.state = decision.state
        run.due = decision.state.next_due()
        for line in decision.log:
            self.story.append((run, line))
        for effect in decision.effects:
            self.apply(run, effect, occurrence.at)

    def apply(self, run: Run, effect: Effect, now: datetime) -> None:
        match effect:
            case SendMessage():
                for to in effect.roles or ("",):
                    self.ask(run, effect, to, now)
            case WithdrawnMessages():
                self.withdraw(run, effect)
            case EmittedSignal():
                self.fed.append((None, effect.name, effect.data))
            case Finished():
                run.ended_at = effect.at
                self.open.remove(run)
            case OpenedTask():
                self.tasks += 1
            case ClosedTask() | EscalatedTask() | ChangedAudience():
                pass  # a person's work and other tools' lists change nothing here

    def ask(self, run: Run, message: SendMessage, to: str, now: datetime, waited: _Queued | None = None) -> None:
        """The gate's verdict, and what follows from it; a wait for the same reasons is told once."""
        standing = self.standing(to, now)
        key = message_key(run.name, message, to)
        missing = run.chart.missing(message.action, self.facts["profile"], self.facts["account"])
        asked = ask_of(message, run.state, key=key, journey=run.chart.key, missing=missing)
        ready = waited.ready_at if waited is not None else None
        verdict = judge(self.world.policy, replace(asked, ready_at=ready), standing, now)
        match verdict:
            case SendNow(channel, reasons, replaces):
                self.count(to, message, run, channel, key, now)
                self.give_way(replaces, message, now)
                self.settle(run, Fate(now, "sent", message, to, reasons, channel))
            case MergeInto(_, channel, reasons):
                self.count(to, message, run, channel, key, now, is_part=True)
                self.settle(run, Fate(now, "merged", message, to, reasons, channel))
            case DeferUntil(replaces=replaces):
                self.give_way(replaces, message, now)
                self.wait(run, message, to, key, verdict, now, waited)
            case Replace(_, reasons):
                self.settle(run, Fate(now, "replaced", message, to, reasons))
            case Withhold(reasons):
                self.settle(run, Fate(now, "withheld", message, to, reasons))

    def count(
        self, to: str, message: SendMessage, run: Run, channel: str, key: str, now: datetime, *, is_part: bool = False
    ) -> None:
        """It has gone out: what comes after has to know."""
        sent = Sent(
            now, channel, message.topic, message.priority, message.action, run.chart.key, message.template,
            key=key, is_part=is_part,
        )  # fmt: skip
        standing = self.standings[to]
        recent = [each for each in standing.sent if each.at + self.world.horizon > now]
        self.standings[to] = replace(standing, sent=(*recent, sent))

    def wait(
        self,
        run: Run,
        message: SendMessage,
        to: str,
        key: str,
        verdict: DeferUntil,
        now: datetime,
        waited: _Queued | None,
    ) -> None:
        codes = tuple(reason.code for reason in verdict.reasons)
        rules = frozenset(reason.rule for reason in verdict.reasons if reason.rule)
        waiting = Queued(
            key, verdict.until, message.via, message.topic, message.priority, message.action, run.chart.key, rules,
            message.expires_at,
        )  # fmt: skip
        since = waited.ready_at if waited is not None else None
        ready = (since or now) if "consolidating" in codes else None
        self.queue.append(_Queued(run, message, to, verdict.until, codes, waiting, ready))
        if waited is None or waited.codes != codes:
            self.story.append((run, Fate(now, "deferred", message, to, verdict.reasons, until=verdict.until)))

    def give_way(self, keys: tuple[str, ...], message: SendMessage, now: datetime) -> None:
        """Those that matter less go, and say why."""
        for queued in [each for each in self.queue if each.waiting.key in keys]:
            self.queue.remove(queued)
            reason = Reason("replaced", f"{message.action} matters more")
            self.settle(queued.run, Fate(now, "replaced", queued.message, queued.to, (reason,)))

    def settle(self, run: Run, fate: Fate) -> None:
        self.story.append((run, fate))
        goes = fate.kind in {"sent", "merged"}
        name = outcome_signal(fate.message, "sent" if goes else "withheld")
        if name in run.chart.signals and run.state.is_open:
            carries = {"channel": fate.channel} if goes else {"reason": fate.reasons[0].code}
            self.fed.append((run, name, {**carries, "template": fate.message.template}))

    def withdraw(self, run: Run, effect: WithdrawnMessages) -> None:
        """What is queued and no longer true goes, and says why."""
        kept = []
        for queued in self.queue:
            if queued.run is run and withdraws(effect, queued.message):
                reason = Reason("state_left", effect.reason)
                self.story.append((run, Fate(effect.at, "withheld", queued.message, queued.to, (reason,))))
            else:
                kept.append(queued)
        self.queue = kept

    # -- what is known ---------------------------------------------------------------------------------------------

    def standing(self, to: str, now: datetime) -> Standing:
        """What the gate knows of the person in this role; the queue and this instant's heads only where a rule asks."""
        found = self.standings.get(to)
        if found is None:
            found = Standing(self.addresses(), self.consents, (), bool(self.tickets), zone=self.zone())
            self.standings[to] = found
        if self.queue:
            found = replace(found, queue=tuple(each.waiting for each in self.queue if each.to == to))
        if self.world.policy.consolidate:
            heads = frozenset(sent.key for sent in found.sent if sent.at == now and not sent.is_part)
            found = replace(found, heads=heads)
        return found

    def zone(self) -> str:
        """By whose clock quiet hours are told."""
        return zone_of(self.facts["profile"], self.facts["account"], self.world.policy.timezone)

    def addresses(self) -> dict[str, bool]:
        reachable = dict.fromkeys(self.world.reachable, True)
        return {**reachable, "email": True} if self.facts["profile"].get("email") else reachable

    def lines(self) -> list[Line]:
        """The timeline of every run, in the order in which it was decided."""
        return [
            Line(run.name, item.at, item.kind, item.about, item.text)
            if isinstance(item, LogLine)
            else Line(run.name, item.at, item.kind, item.message.action, item.text)
            for run, item in self.story
            if run is not None and not isinstance(item, NotEntered)
        ]


__all__ = ["Facts", "Fate", "Line", "NotEntered", "Person", "Run", "World"]
