"""Evidence of a live run: database rows and mails of the sink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from journeys.decision.effects import LogLine
from journeys.gate.status import MEANINGS, Status
from journeys.simulation.backtest import Stream
from journeys.simulation.simulator import play_group
from journeys.simulation.timeline import MessageOutcome, Scenario
from store.database import Connection
from store.reads import demonstration as reads
from worker.stack.maildir import Maildir

GATE_KINDS: Final = ("gate", "withdrawn")
DecisionLine = tuple[str, str, str, str, str]
"""One line of a run's log: run, instant, kind, about, text."""


@dataclass(frozen=True, slots=True)
class SinkComparison:
    """The ledger compared with the sink: mails that are missing, duplicated, or without a row."""

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

    async def lines(self, journey: str, people: Sequence[str]) -> dict[str, list[DecisionLine]]:
        """Log lines by person, in the order of steps, without the gate's."""
        lines: dict[str, list[DecisionLine]] = {person: [] for person in people}
        for row in await reads.decided_lines(self.connection, journey, people, without=GATE_KINDS):
            lines[row["person"]].append((row["run"], row["at"].isoformat(), row["kind"], row["about"], row["text"]))
        return lines

    async def verdicts(self, journey: str, people: Sequence[str]) -> dict[tuple[str, str, str], str]:
        """Outcome of each message, by person, action and instant of its request."""
        rows = await reads.message_statuses(self.connection, journey, people)
        return {(row["person"], row["action"], row["at"].isoformat()): _settled(row["status"]) for row in rows}

    async def compare_with_sink(self) -> SinkComparison:
        """Compare ledger rows `sent` by e-mail with the mails in the sink."""
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
    scenario: Scenario, streams: Sequence[Stream], until: datetime
) -> tuple[dict[str, list[DecisionLine]], dict[tuple[str, str, str], str]]:
    """The same people in memory: log lines by person, and outcome of each message."""
    lines: dict[str, list[DecisionLine]] = {}
    verdicts: dict[tuple[str, str, str], str] = {}
    for customer, events in streams:
        world = play_group(scenario, events, until)
        name = f"customer-{customer}"
        lines[name] = []
        for run, item in world.timeline:
            if run is None:
                continue
            if isinstance(item, MessageOutcome):
                verdicts[name, item.message.action, item.message.at.isoformat()] = item.kind
            elif isinstance(item, LogLine):
                lines[name].append((run.name, item.at.isoformat(), item.kind, item.about, item.text))
    return lines, verdicts


def _settled(status: str) -> str:
    return MEANINGS[Status(status)].outcome or status
