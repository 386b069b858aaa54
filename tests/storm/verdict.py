"""The verdict of a storm, with the terms of Jepsen's total-queue checker.

lost: acknowledged but not delivered. Losses that the ledger explains are counted separately.
duplicated: delivered more than once.
unexpected: delivered but never attempted.
recovered: delivered although never acknowledged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from store.database import Database, fetch_all, sql
from tests.storm.plan import SUBJECT
from worker.stack.maildir import message_id_of

EXPLAINED = ("withheld", "withdrawn", "expired", "failed")
TOKEN = re.compile(rb"^subject: *" + SUBJECT.strip().encode() + rb" +(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Queue:
    """Counts of events by token, for each verdict."""

    lost: Counter[str]
    duplicated: Counter[str]
    unexpected: Counter[str]
    recovered: Counter[str]


def total_queue(attempted: Counter[str], acknowledged: Counter[str], delivered: Counter[str]) -> Queue:
    """Compare the counts as Jepsen does: an operation without acknowledgement may or may not have happened."""
    once = Counter(set(delivered))
    return Queue(
        lost=acknowledged - once,
        duplicated=delivered - once,
        unexpected=Counter({token: times for token, times in delivered.items() if token not in attempted}),
        recovered=(once - acknowledged) & attempted,
    )


@dataclass(frozen=True, slots=True)
class Sink:
    """Mails that the sink accepted, counted by the event's token and by Message-ID."""

    tokens: Counter[str]
    references: Counter[str]


def read_sink(maildir: Path) -> Sink:
    """Read every accepted mail."""
    tokens: Counter[str] = Counter()
    references: Counter[str] = Counter()
    for path in (maildir / "by-id").glob("*/*"):
        content = path.read_bytes()
        match = TOKEN.search(content)
        tokens[match[1].decode() if match else path.name] += 1
        references[message_id_of(content)] += 1
    return Sink(tokens, references)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Tokens of messages by status, and the references of those with status `sent`."""

    by_status: Mapping[str, Counter[str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    out_of_order: tuple[str, ...] = ()
    """Events and instants of messages asked for at another instant than their event's, or decided or sent too early."""

    def tokens(self, *statuses: str) -> Counter[str]:
        """The events whose message has one of these statuses."""
        return sum((self.by_status.get(status, Counter()) for status in statuses), Counter())


_OUT_OF_ORDER = sql(
    """
    SELECT e.message_id, e.at AS accepted, m.at AS asked, m.decided_at AS decided, m.sent_at AS sent
    FROM messages m JOIN events e ON e.message_id = m.data->>'token', CAST(:most AS interval) AS most
    WHERE m.at NOT BETWEEN e.at - most AND e.at + most OR m.decided_at < e.at - most OR m.sent_at < m.decided_at - most
    """
)
MOST_APART = timedelta(seconds=0.5)
"""By how much clocks may be measured wrongly on a busy machine; the clocks of a storm are ten seconds wrong."""


async def read_ledger(database: Database) -> Ledger:
    """Read every row of the ledger."""
    by_status: dict[str, Counter[str]] = {}
    sent: Counter[str] = Counter()
    async with database.reading() as connection:
        rows = await fetch_all(connection, sql("SELECT status, data->>'token' AS token, reference FROM messages"))
        wrong = await fetch_all(connection, _OUT_OF_ORDER, most=MOST_APART)
    for row in rows:
        by_status.setdefault(row["status"], Counter())[row["token"]] += 1
        if row["status"] == "sent":
            sent[row["reference"]] += 1
    return Ledger(by_status, sent, tuple(", ".join(f"{name} {value}" for name, value in row.items()) for row in wrong))
