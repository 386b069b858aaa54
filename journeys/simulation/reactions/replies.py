"""Replies in memory: the messages that they answer, conversations, and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.events.inbound import InboundEvent
from journeys.gate.status import Status
from journeys.gate.verdicts import OpenConversation, Reason
from journeys.language.actions import PRESSING
from journeys.language.signal_names import CONVERSATION_CLOSED
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.lanes import TASK, Agenda, Lanes
from journeys.simulation.messages import DeferredMessage
from journeys.simulation.subjects import SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import MessageOutcome, Scenario, TaskChange, Timeline
from journeys.tasks.board import BoardTask, TaskBoard
from journeys.tasks.requests import reply_owner


@dataclass(slots=True, eq=False)
class Conversation:
    """A conversation of a person with the run whose message they have answered, and its task."""

    gate: InMemoryGate
    run: SimulatedRun
    about: MessageOutcome
    task: BoardTask
    until: datetime
    owner: str
    """The owner of its task when it was opened, whom the gate names."""


def keyword_in(event: InboundEvent) -> OptKeyword | None:
    """The opt-out keyword that a reply consists of, or None."""
    return keyword_of(str(event.data.get("text") or ""))


def messages_answered_by(gate: InMemoryGate, data: Mapping[str, Any]) -> list[tuple[SimulatedRun, MessageOutcome]]:
    """The message that a reply names by its key or its template, else the last one; of a digest, one for each run."""
    key, template = data.get("message"), data.get("template")
    by_key = gate.has_sent(key)
    for run, about in reversed(gate.sent):
        if about.key != key if by_key else template not in (None, about.message.template):
            continue
        if about.kind is not Status.MERGED:
            return [(run, about)]
        together = {
            part_run: (part_run, part)
            for part_run, part in reversed(gate.sent)
            if (part.kind, part.at, part.channel) == (about.kind, about.at, about.channel)
        }
        return sorted(together.values(), key=lambda part: part[0].number)
    return []


class Replies:
    """Conversations that replies open, and the tasks of people; each change is made in the commit that accepts it."""

    def __init__(self, scenario: Scenario, timeline: Timeline, lanes: Lanes, agenda: Agenda, board: TaskBoard) -> None:
        self.scenario, self.timeline, self.lanes, self.agenda, self.board = scenario, timeline, lanes, agenda, board
        self.conversations: list[Conversation] = []
        self._replies = 0

    def reply(self, gate: InMemoryGate, event: InboundEvent, at: datetime) -> None:
        """Open or continue a conversation with each run that is answered. A keyword opens none."""
        if keyword_in(event) is not None:
            return
        quiet = self.scenario.policy.answered.quiet.after(at)
        for run, about in messages_answered_by(gate, event.data):
            open_one = self._conversation(gate, run)
            if open_one is not None and open_one.until <= at:
                self._forget(open_one)
                open_one = None
            if open_one is None:
                open_one = self._begin(gate, run, about, at, quiet)
            open_one.until = max(open_one.until, quiet)
            gate.recipient.open_conversation(OpenConversation(run.identity, open_one.until, open_one.owner), at)
            self._withdraw_planned(gate, run, at)

    def _withdraw_planned(self, gate: InMemoryGate, run: SimulatedRun, at: datetime) -> None:
        """Withdraw this run's deferred messages to the person, except pressing ones."""

        def reasons(deferred: DeferredMessage) -> tuple[Reason, ...] | None:
            if deferred.run is not run or deferred.message.priority in PRESSING:
                return None
            return (Reason("in_conversation", f"the person has answered {run.chart.key}"),)

        gate.withdraw(reasons, at)

    def _begin(
        self, gate: InMemoryGate, run: SimulatedRun, about: MessageOutcome, at: datetime, until: datetime
    ) -> Conversation:
        rule, team = self.scenario.policy.answered, self.scenario.roster.team
        account = run.subject if run.subject.kind == "account" else gate.person.account
        owner = self.scenario.template_owners.get(about.message.template, "")
        named = reply_owner(team, account.profile if account is not None else {}, rule.owner, owner)
        self._replies += 1
        task = self.board.open(
            f"{about.key}=reply", rule.task, named, at, scope=account or gate.person, reason=f"reply/{self._replies}", account=account,
            within=rule.within,
        )  # fmt: skip
        if task.due_at is not None and rule.escalate:
            self.agenda.add(task.due_at, TASK, task.number, task)
        conversation = Conversation(gate, run, about, task, until, task.owner)
        self.conversations.append(conversation)
        self.note_task(task, "opened", at, run)
        return conversation

    def _conversation(self, gate: InMemoryGate, run: SimulatedRun) -> Conversation | None:
        return next((talk for talk in self.conversations if talk.gate is gate and talk.run is run), None)

    def _forget(self, conversation: Conversation) -> None:
        self.conversations.remove(conversation)
        conversation.gate.recipient.close_conversation(conversation.run.identity)

    def escalate_reply(self, task: BoardTask, at: datetime) -> None:
        """Give the late task of a reply to the next owner of the policy's chain."""
        chain = self.scenario.policy.answered.escalate
        if task.level >= len(chain):
            return
        self.board.hand_on(task, chain[task.level], at, level=task.level + 1)
        self.note_task(task, "escalated", at, None)
        if task.due_at is not None and task.level < len(chain):
            self.agenda.add(task.due_at, TASK, task.number, task)

    def close_task(self, task: BoardTask, outcome: str, by: str, note: str, at: datetime) -> bool:
        """Close an open task, and signal it to its runs; False for an outcome that its kind does not declare."""
        outcomes = self.scenario.roster.team.outcomes(task.task)
        if outcomes and outcome not in outcomes:
            return False
        self._close(task, outcome, by, note, at)
        return True

    def _close(self, task: BoardTask, outcome: str, by: str, note: str, at: datetime) -> None:
        requests = self.board.close(task)
        self.note_task(task, "closed", at, None, outcome)
        for conversation in [talk for talk in self.conversations if talk.task is task]:
            self._forget(conversation)
            about = conversation.about
            data = {"journey": conversation.run.chart.key, "template": about.message.template, "by": by,
                    "channel": about.channel, "message": about.key}  # fmt: skip
            self.lanes.derive(conversation.run, CONVERSATION_CLOSED, data, at)
        data = {"outcome": outcome, "by": by, "note": note, "resolution": outcome}
        for request in requests:
            assert isinstance(request.run, SimulatedRun)
            self.lanes.derive(request.run, f"{request.action}.closed", data, at)

    def close_conversation(self, gate: InMemoryGate, data: Mapping[str, Any], at: datetime) -> bool:
        """Close the conversation that an event names by its run, or by the message; whether there was one."""
        runs = [run for run, _ in messages_answered_by(gate, data)]
        named = data.get("run") or None
        for conversation in self.conversations:
            by_name = conversation.run.identity == named
            if conversation.gate is gate and (by_name or (named is None and conversation.run in runs)):
                self._close(conversation.task, "closed", str(data.get("by") or ""), "", at)
                return True
        return False

    def note_task(self, task: BoardTask, kind: Any, at: datetime, run: SimulatedRun | None, why: str = "") -> None:
        """Add a change of a task to the timeline."""
        assert isinstance(task.scope, SimulatedSubject)
        change = TaskChange(at, kind, task.name, task.task, task.owner, task.due_at, why or task.why, task.scope.name)
        self.timeline.append((run, change))
