"""Evidence of a live run: database rows and mails of the sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cli.demonstration.api_client import CLOCK
from journeys.simulation.backtest import Stream
from journeys.simulation.simulator import ComparableLine, comparable_lines, play_group, with_kept_instants
from journeys.simulation.timeline import Scenario
from store.clocks.decided import decided_lines
from store.database import Connection
from store.reads import demonstration as reads
from worker.stack.maildir import Maildir

GroupLines = Mapping[str, Sequence[ComparableLine]]
"""By the name of a group's first person or account, what was decided for it, in order."""


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

    async def decided(self, streams: Sequence[Stream]) -> GroupLines:
        """Every decision and verdict of the live run."""
        lines = await decided_lines(self.connection, CLOCK)
        return {name: lines.get(name, ()) for name, _ in streams}

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


def backtested(scenario: Scenario, streams: Sequence[Stream], until: datetime) -> GroupLines:
    """The same groups in memory."""
    return {name: with_kept_instants(comparable_lines(play_group(scenario, events, until))) for name, events in streams}
