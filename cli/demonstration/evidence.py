"""What happened, read from the two records there are: the database and the sink. Nothing here is taken from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from journeys.decision.effects import LogLine
from journeys.gate.status import MEANINGS, Status
from journeys.simulation.backtest import Stream
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.timeline import MessageOutcome, Scenario
from worker.stack.maildir import Maildir

GATE_KINDS: Final = ("gate", "withdrawn")
DecisionLine = tuple[str, str, str, str, str]
"""run, instant, kind, about, text: one decided line, live or in the backtest."""

_LINES = """
    SELECT i.value AS person, r.journey || '/' || coalesce(nullif(r.case_key, ''), '-') || '/' || r.epoch AS run,
           t.at, t.kind, t.about, t.text
    FROM timeline t JOIN runs r ON r.id = t.run JOIN identities i ON i.subject_key = r.subject_key AND i.kind = 'user_id'
    WHERE r.journey = $1 AND NOT t.kind = ANY($2) AND i.value = ANY($3) ORDER BY i.value, t.run, t.step, t.n
"""
_VERDICTS = """
    SELECT i.value AS person, m.action, m.at, m.status, m.reasons, m.template
    FROM messages m JOIN identities i ON i.subject_key = m.recipient AND i.kind = 'user_id'
    WHERE m.journey = $1 AND i.value = ANY($2)
"""
_UNSETTLED = """
    SELECT (SELECT count(*) FROM outbox WHERE delivered_at IS NULL)
         + (SELECT count(*) FROM runs WHERE status = 'open' AND next_due_at <= $1)
         + (SELECT count(*) FROM messages WHERE status = 'sending' OR (status = 'deferred' AND due_at <= $1))
"""


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

    def __init__(self, connection: asyncpg.Connection, maildir: Path) -> None:
        self.connection, self.maildir = connection, maildir

    async def unsettled(self, until: datetime) -> int:
        """What is accepted or due and not decided, or on its way and not settled."""
        return int(await self.connection.fetchval(_UNSETTLED, until))

    async def counted(self, query: str, *values: Any) -> int:
        return int(await self.connection.fetchval(query, *values) or 0)

    async def table(self, query: str, *values: Any) -> Sequence[Mapping[str, Any]]:
        return list(await self.connection.fetch(query, *values))

    async def lines(self, journey: str, people: Sequence[str]) -> dict[str, list[DecisionLine]]:
        """Every decided line of every person, in the order of the steps."""
        found: dict[str, list[DecisionLine]] = {person: [] for person in people}
        for row in await self.connection.fetch(_LINES, journey, list(GATE_KINDS), list(people)):
            found[row["person"]].append((row["run"], row["at"].isoformat(), row["kind"], row["about"], row["text"]))
        return found

    async def verdicts(self, journey: str, people: Sequence[str]) -> dict[tuple[str, str, str], str]:
        """By person, action and the instant it was asked for: what became of each message."""
        rows = await self.connection.fetch(_VERDICTS, journey, list(people))
        return {(row["person"], row["action"], row["at"].isoformat()): _settled(row["status"]) for row in rows}

    async def sunk(self) -> SinkComparison:
        """Every ledger row `sent` by e-mail is in the sink exactly once, and nothing else is."""
        rows = await self.connection.fetch("SELECT reference FROM messages WHERE channel = 'email' AND status = 'sent'")
        expected = {row["reference"] for row in rows}
        mails = Maildir(self.maildir).message_ids()
        return SinkComparison(
            rows=len(rows),
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
