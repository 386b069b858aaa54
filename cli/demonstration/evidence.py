"""What happened, read from the two records there are: the database and the sink. Nothing here is taken from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from journeys.decision.effects import LogLine
from journeys.gate.status import MEANINGS, Status
from journeys.simulation.backtest import Stream
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.timeline import MessageOutcome, Scenario
from store.database import Connection
from store.reads import demonstration as reads
from worker.stack.maildir import Maildir

GATE_KINDS: Final = ("gate", "withdrawn")
DecisionLine = tuple[str, str, str, str, str]
"""run, instant, kind, about, text: one decided line, live or in the backtest."""


@dataclass(frozen=True, slots=True)
class SinkComparison:
    """The ledger against the sink: mails that are missing, doubled, or there without a row."""

    rows: int
    mails: int
    missing: int
    doubled: int
    unexpected: int

    @property
    def exact(self) -> bool:
        return self.missing == self.doubled == self.unexpected == 0 and self.rows == self.mails


class Evidence:
    """Reads the record of one stack."""

    def __init__(self, connection: Connection, maildir: Path) -> None:
        self.connection, self.maildir = connection, maildir

    async def unsettled(self, until: datetime) -> int:
        """What is accepted or due and not decided, or on its way and not settled."""
        return await reads.count_unsettled(self.connection, until)

    async def lines(self, journey: str, people: Sequence[str]) -> dict[str, list[DecisionLine]]:
        """Every decided line of every person, in the order of the steps."""
        lines: dict[str, list[DecisionLine]] = {person: [] for person in people}
        for row in await reads.decided_lines(self.connection, journey, people, without=GATE_KINDS):
            lines[row["person"]].append((row["run"], row["at"].isoformat(), row["kind"], row["about"], row["text"]))
        return lines

    async def verdicts(self, journey: str, people: Sequence[str]) -> dict[tuple[str, str, str], str]:
        """By person, action and the instant it was asked for: what became of each message."""
        rows = await reads.message_statuses(self.connection, journey, people)
        return {(row["person"], row["action"], row["at"].isoformat()): _settled(row["status"]) for row in rows}

    async def sunk(self) -> SinkComparison:
        """Every ledger row `sent` by e-mail is in the sink exactly once, and nothing else is."""
        references = await reads.references_sent_by_mail(self.connection)
        expected = set(references)
        mails = Maildir(self.maildir).message_ids()
        return SinkComparison(
            rows=len(references),
            mails=sum(mails.values()),
            missing=len(expected - set(mails)),
            doubled=sum(1 for count in mails.values() if count > 1),
            unexpected=len(set(mails) - expected),
        )


def backtested(
    world: Scenario, streams: Sequence[Stream], until: datetime
) -> tuple[dict[str, list[DecisionLine]], dict[tuple[str, str, str], str]]:
    """The same people in memory: their decided lines, and what became of each message."""
    lines: dict[str, list[DecisionLine]] = {}
    verdicts: dict[tuple[str, str, str], str] = {}
    for who, events in streams:
        person = SimulatedPerson(world)
        for event in events:
            person.happen(event)
        person.until(until)
        name = f"customer-{who}"
        lines[name] = []
        for run, item in person.story:
            if run is None:
                continue
            if isinstance(item, MessageOutcome):
                verdicts[name, item.message.action, item.message.at.isoformat()] = item.kind
            elif isinstance(item, LogLine):
                lines[name].append((run.name, item.at.isoformat(), item.kind, item.about, item.text))
    return lines, verdicts


def _settled(status: str) -> str:
    return MEANINGS[Status(status)].outcome or status
