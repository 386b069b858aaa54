"""The gate for one person in memory: what it says to a message, and what follows for those that wait.

As live, messages are judged in passes: all that one step asks for, or all that is due at one instant. Only what goes out in a
pass takes others of that pass along; what went out a moment before, in another one, is on its way already (C4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from journeys.calendar.timezones import zone_of
from journeys.decision.effects import LogLine, SendMessage, WithdrawnMessages, message_key
from journeys.gate.consolidation import MAX_PARTS
from journeys.gate.judge import judge
from journeys.gate.requests import outcome_signal, request_of, withdraws
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    QueuedMessage,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SentMessage,
    Withhold,
)
from journeys.language.actions import PRESSING, PRIORITIES
from journeys.language.signal_names import CONVERSATION_CLOSED
from journeys.simulation.operations import OperatorState
from journeys.simulation.timeline import DeferredMessage, MessageOutcome, NotEntered, Scenario, SimulatedRun

MOST_AT_ONCE = 20
"""Messages that one pass over what is due judges; the rest are the next one's (`store/messages/due.py`)."""
OF_STANDING = frozenset({"email", "phone", "timezone"})
"""The fields by which a person is reached, and their clock told."""


@dataclass(slots=True)
class InMemoryGate:
    """What is known of a person where the gate looks, and what is queued for them."""

    world: Scenario
    story: list[tuple[SimulatedRun | None, LogLine | MessageOutcome | NotEntered]] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"profile": {}, "account": {}})
    standings: dict[str, RecipientContext] = field(default_factory=dict)
    tickets: frozenset[str] = frozenset()
    consents: dict[tuple[str, str], bool] = field(default_factory=dict)
    queue: list[DeferredMessage] = field(default_factory=list)
    outside: OperatorState = field(default_factory=OperatorState)
    fed: deque[tuple[SimulatedRun | None, str, Mapping[str, Any]]] = field(default_factory=deque)
    heads: dict[str, int] = field(default_factory=dict)
    """What went out in this pass, and how many messages each is made of."""
    waits: int = 0

    def begin_pass(self) -> None:
        """From here on nothing that was sent takes others along."""
        self.heads.clear()

    def settle_due(self, due: datetime) -> None:
        """One pass over what is due, the more pressing first (C6), then as it began to wait; as many at once as live."""
        self.begin_pass()
        waiting = sorted(
            (each for each in self.queue if each.due <= due),
            key=lambda each: (PRIORITIES.index(each.message.priority), each.due, each.number),
        )
        for each in waiting[:MOST_AT_ONCE]:
            if each in self.queue:  # one before it may have had its place
                self.queue.remove(each)
                self.ask(each.run, each.message, each.to, due, each)

    def ask(
        self, run: SimulatedRun, message: SendMessage, to: str, now: datetime, waited: DeferredMessage | None = None
    ) -> None:
        """The gate's verdict, and what follows from it; a wait for the same reasons is told once."""
        standing = self.standing(to, now)
        key = message_key(run.name, message, to)
        missing = run.chart.missing(message.action, self.facts["profile"], self.facts["account"])
        asked = request_of(message, run.state, key=key, journey=run.chart.key, missing=missing)
        ready = waited.ready_at if waited is not None else None
        verdict = judge(self.world.policy, replace(asked, ready_at=ready, run=run.name), standing, now)
        if isinstance(verdict, SendNow | MergeInto) and message.template in self.outside.unsendable:
            verdict = Withhold((Reason("template", self.outside.unsendable[message.template]),))
        match verdict:
            case SendNow(channel, reasons, replaces):
                self.count(to, message, run, channel, key, now)
                self.give_way(replaces, message, now)
                self.settle(run, MessageOutcome(now, "sent", message, to, reasons, channel))
            case MergeInto(head, channel, reasons):
                self.heads[head] += 1
                self.count(to, message, run, channel, key, now, is_part=True)
                self.settle(run, MessageOutcome(now, "merged", message, to, reasons, channel))
            case DeferUntil(replaces=replaces):
                if message.template not in self.outside.unsendable:
                    self.give_way(replaces, message, now)
                self.wait(run, message, to, key, verdict, now, waited)
            case Replace(_, reasons):
                self.settle(run, MessageOutcome(now, "replaced", message, to, reasons))
            case Withhold(reasons):
                self.settle(run, MessageOutcome(now, "withheld", message, to, reasons))

    def count(
        self,
        to: str,
        message: SendMessage,
        run: SimulatedRun,
        channel: str,
        key: str,
        now: datetime,
        *,
        is_part: bool = False,
    ) -> None:
        """It has gone out: what comes after has to know."""
        sent = SentMessage(
            now, channel, message.topic, message.priority, message.action, run.chart.key, message.template,
            key=key, is_part=is_part,
        )  # fmt: skip
        standing = self.standings[to]
        recent = [each for each in standing.sent if each.at + self.world.horizon > now]
        self.standings[to] = replace(standing, sent=(*recent, sent))
        if not is_part:
            self.heads[key] = 1

    def wait(
        self,
        run: SimulatedRun,
        message: SendMessage,
        to: str,
        key: str,
        verdict: DeferUntil,
        now: datetime,
        waited: DeferredMessage | None,
    ) -> None:
        codes = tuple(reason.code for reason in verdict.reasons)
        rules = frozenset(reason.rule for reason in verdict.reasons if reason.rule)
        waiting = QueuedMessage(
            key, verdict.until, message.via, message.topic, message.priority, message.action, run.chart.key, rules,
            message.expires_at,
        )  # fmt: skip
        since = waited.ready_at if waited is not None else None
        ready = (since or now) if "consolidating" in codes else None
        self.waits += waited is None
        number = self.waits if waited is None else waited.number
        self.queue.append(DeferredMessage(run, message, to, verdict.until, codes, waiting, number, ready))
        if waited is None or waited.codes != codes:
            self.story.append((run, MessageOutcome(now, "deferred", message, to, verdict.reasons, until=verdict.until)))

    def give_way(self, keys: tuple[str, ...], message: SendMessage, now: datetime) -> None:
        """Those that matter less go, and say why."""
        for queued in [each for each in self.queue if each.waiting.key in keys]:
            self.queue.remove(queued)
            reason = Reason("replaced", f"{message.action} matters more")
            self.settle(queued.run, MessageOutcome(now, "replaced", queued.message, queued.to, (reason,)))

    def settle(self, run: SimulatedRun, fate: MessageOutcome) -> None:
        self.story.append((run, fate))
        goes = fate.kind in {"sent", "merged"}
        name = outcome_signal(fate.message, "sent" if goes else "withheld")
        if name in run.chart.signals and run.state.is_open:
            carries = {"channel": fate.channel} if goes else {"reason": fate.reasons[0].code}
            self.fed.append((run, name, {**carries, "template": fate.message.template}))

    def withdraw(self, run: SimulatedRun, effect: WithdrawnMessages) -> None:
        """What is queued and no longer true goes, and says why."""
        kept = []
        for queued in self.queue:
            if queued.run is run and withdraws(effect, queued.message):
                reason = Reason("state_left", effect.reason)
                self.story.append((run, MessageOutcome(effect.at, "withheld", queued.message, queued.to, (reason,))))
            else:
                kept.append(queued)
        self.queue = kept

    def answer(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """They have answered a message, or a person has closed what came of it: the run that sent it last is meant."""
        if name == CONVERSATION_CLOSED and any(talk.run == data.get("run") for talk in self.outside.talks):
            self.outside.closed(str(data["run"]))
            return
        run, _ = self.last_sent(data)
        if run is None:
            return
        if name == CONVERSATION_CLOSED:
            self.outside.closed(run.name)
            return
        self.outside.answered(run.name, self.world.policy.answered.quiet.after(at), at)
        reason = Reason("in_conversation", "they have answered")
        for queued in [each for each in self.queue if each.run is run and each.message.priority not in PRESSING]:
            self.queue.remove(queued)
            self.settle(run, MessageOutcome(at, "withheld", queued.message, queued.to, (reason,)))

    def last_sent(self, data: Mapping[str, Any]) -> tuple[SimulatedRun | None, str]:
        """The run that sent last, of the template if one is named, and by which channel."""
        about = data.get("template")
        sent = (
            (run, item.channel) for run, item in reversed(self.story)
            if run is not None and isinstance(item, MessageOutcome) and item.kind in {"sent", "merged"}
            and about in (None, item.message.template)
        )  # fmt: skip
        return next(sent, (None, ""))

    # -- what is known ---------------------------------------------------------------------------------------------

    def standing(self, to: str, now: datetime) -> RecipientContext:
        """What the gate knows of the person in this role; the queue and this pass's heads only where a rule asks."""
        found = self.standings.get(to)
        if found is None:
            found = RecipientContext(self.addresses(), self.consents, (), bool(self.tickets), zone=self.zone())
            self.standings[to] = found
        if self.queue:
            found = replace(found, queue=tuple(each.waiting for each in self.queue if each.to == to))
        if self.world.policy.consolidate:
            found = replace(found, heads=frozenset(key for key, parts in self.heads.items() if parts < MAX_PARTS))
        return self.outside.known_to(found, now)

    def zone(self) -> str:
        """By whose clock quiet hours are told."""
        return zone_of(self.facts["profile"], self.facts["account"], self.world.policy.timezone)

    def addresses(self) -> dict[str, bool]:
        reachable = dict.fromkeys(self.world.reachable, True)
        return {**reachable, "email": True} if self.facts["profile"].get("email") else reachable
