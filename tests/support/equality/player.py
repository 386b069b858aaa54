"""Player of recorded events on a test clock: many groups side by side, with the responder's answers.

It stops the clock at each instant at which something is due, happens or is answered, in the order of `play_group`: what is
due, then recorded events, then answers, one at a time in each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journeys.events.history import HISTORICAL
from journeys.events.inbound import InboundEvent
from journeys.simulation.recording import RecordedEvent, recorded_consent
from journeys.simulation.responder import Answer, Answers, Responder
from journeys.simulation.simulator import ComparableLine
from journeys.tasks.assignment import Roster
from store.clocks.decided import ClockMoment, decided_lines, read_names
from store.clocks.due import next_instant
from store.database import Connection, fetch_all, sql
from store.events import changes
from store.people.identities import find_subjects
from store.tasks.tasks import TaskNotOpen
from tests.support.equality.received import ReceivedLive, read_received
from worker.testing.rehearsal import Rehearsal

_LAST = sql("SELECT coalesce(max(id), 0) AS id FROM feed")
Streams = Mapping[str, Sequence[RecordedEvent]]
"""By the name of a group, its events in the order in which they are accepted."""


@dataclass
class LivePlayer:
    """Plays the groups of one clock. `roster` has the outcomes of tasks; names of subjects are unique over all groups."""

    stage: Rehearsal
    roster: Roster
    streams: Streams
    group_of: Callable[[str], str]
    """The group of a person or account."""
    responder: Responder | None = None
    at_stop: Callable[[], None] = lambda: None
    """Called before the clock is advanced to each stop."""
    moments: list[ClockMoment] = field(default_factory=list)
    answers: dict[str, Answers] = field(default_factory=dict)
    received: ReceivedLive = field(default_factory=ReceivedLive)
    sent: int = 0

    async def play(self, until: datetime) -> Mapping[str, Sequence[ComparableLine]]:
        """All that was decided until then, inclusive, by the name of each person and account."""
        coming = {group: list(events) for group, events in self.streams.items()}
        while (at := await self._next(coming)) is not None and at <= until:
            self.at_stop()
            await self.stage.forward(at)
            await self._note()
            while heads := [events.pop(0) for events in coming.values() if events and events[0].at == at]:
                await self._accept(heads)
            while given := [answers.take() for answers in self.answers.values() if answers.next_at() == at]:
                await self._give(given)
        await self.stage.forward(until)
        await self._note()
        async with self.stage.database.reading() as connection:
            return await decided_lines(connection, self.stage.clock, self.moments)

    async def _next(self, coming: Mapping[str, Sequence[RecordedEvent]]) -> datetime | None:
        async with self.stage.database.reading() as connection:
            due = await next_instant(connection, self.stage.clock, self.stage.levels)
        instants = [due, *(events[0].at for events in coming.values() if events)]
        instants += [answers.next_at() for answers in self.answers.values()]
        return min((instant for instant in instants if instant is not None), default=None)

    async def _note(self) -> None:
        """Note the instant of what was decided, and ask the responder about what people and the team received."""
        async with self.stage.database.reading() as connection:
            self.moments.append((await _last_of_feed(connection), self.stage.now))
            if self.responder is None:
                return
            names = await read_names(connection, self.stage.clock)
            messages, tasks = await read_received(connection, self.stage, names, self.received, self.roster)
        for message in messages:
            self._coming(message.person).add(self.responder.answers_to_message(message))
        for subject, task in tasks:
            self._coming(subject).add(self.responder.answers_to_task(task))

    def _coming(self, name: str) -> Answers:
        return self.answers.setdefault(self.group_of(name), Answers())

    # -- input -----------------------------------------------------------------------------------------------------

    async def _accept(self, events: Iterable[RecordedEvent]) -> None:
        calls = []
        for event in events:
            if event.kind == "consent":
                await self._consent(event)
            else:
                self.sent += 1
                calls.append(call_of(event, f"played-{self.sent}", self.received.keys))
        await self.stage.accept_as_is(*calls)
        await self._note()

    async def _give(self, answers: Sequence[Answer]) -> None:
        """Give one answer of each group."""
        for answer in answers:
            if answer.kind == "closed":
                await self._close(answer)
        await self._accept([answer.as_event() for answer in answers if answer.kind != "closed"])

    async def _consent(self, event: RecordedEvent) -> None:
        stage = self.stage
        async with stage.database.reading() as connection:
            person = (await find_subjects(connection, [("user_id", event.who)]))["user_id", event.who].key
        await changes.change_consents(
            stage.database, stage.catalogue, stage.catalogue.consent.policy, person, [recorded_consent(event.data)]
        )

    async def _close(self, answer: Answer) -> None:
        """Close a task as the responder says, unless it has ended."""
        task = self.received.tasks.get((answer.about, answer.opened_at))
        if task is None:
            return
        outcome, by, note = (answer.data[name] for name in ("outcome", "by", "note"))
        try:
            await changes.close_task(
                self.stage.database, task, resolution=outcome, by=by, note=note, roster=self.roster, now=self.stage.now
            )
        except TaskNotOpen:
            return


def call_of(event: RecordedEvent, identity: str, keys: Mapping[str, str]) -> InboundEvent:
    """A recorded event as the API receives it; a message that it names by its key in the ledger."""
    data = dict(event.data)
    if "message" in data:
        data["message"] = keys.get(data["message"], data["message"])
    user = event.who if event.subject == "user" else None
    names: dict[str, Any] = {
        "user_id": user,
        "anonymous_id": event.who if event.subject == "visitor" else event.visitor or None,
        "account_id": event.who if event.subject == "account" else event.account or None,
        "context": {HISTORICAL: True} if event.historical else None,
    }
    match event.kind:
        case "profile":
            return InboundEvent("identify", identity, "identify", traits=data, **names)
        case "account":
            return InboundEvent("group", identity, "group", traits=data, **names)
        case _:
            return InboundEvent("track", identity, event.name, data=data, **names)


async def _last_of_feed(connection: Connection) -> int:
    """The number of the feed's last line."""
    (row,) = await fetch_all(connection, _LAST)
    return int(row["id"])
