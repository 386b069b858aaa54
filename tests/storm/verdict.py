"""The verdict, in the words of Jepsen's total-queue checker: what was sent, what was acknowledged, what came out.

lost: acknowledged and not delivered, and the ledger does not say why. duplicated: delivered more than once.
unexpected: delivered and never attempted. recovered: never acknowledged, and delivered all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from store.database import Database, fetch_all, sql
from tests.storm.plan import SUBJECT
from worker.stack.maildir import message_id_of

EXPLAINED = ("withheld", "withdrawn", "expired", "failed")
TOKEN = re.compile(rb"^subject: *" + SUBJECT.strip().encode() + rb" +(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Queue:
    """Multisets compared."""

    lost: Counter[str]
    duplicated: Counter[str]
    unexpected: Counter[str]
    recovered: Counter[str]


def total_queue(attempted: Counter[str], acknowledged: Counter[str], delivered: Counter[str]) -> Queue:
    """Jepsen's arithmetic: an operation that was not acknowledged may or may not have happened."""
    once = Counter(set(delivered))
    return Queue(
        lost=acknowledged - once,
        duplicated=delivered - once,
        unexpected=Counter({token: times for token, times in delivered.items() if token not in attempted}),
        recovered=(once - acknowledged) & attempted,
    )


@dataclass(frozen=True, slots=True)
class Sink:
    """What the mail sink accepted, by event's token and by Message-ID."""

    tokens: Counter[str]
    references: Counter[str]


def read_sink(maildir: Path) -> Sink:
    """Every mail that was accepted. Reads them all."""
    tokens: Counter[str] = Counter()
    references: Counter[str] = Counter()
    for path in (maildir / "by-id").glob("*/*"):
        content = path.read_bytes()
        found = TOKEN.search(content)
        tokens[found[1].decode() if found else path.name] += 1
        references[message_id_of(content)] += 1
    return Sink(tokens, references)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows by status, each with its token, and the references of those that say `sent`."""

    by_status: Mapping[str, Counter[str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)

    def tokens(self, *statuses: str) -> Counter[str]:
        """The events whose message has one of these statuses."""
        return sum((self.by_status.get(status, Counter()) for status in statuses), Counter())


async def read_ledger(database: Database) -> Ledger:
    """The whole ledger."""
    by_status: dict[str, Counter[str]] = {}
    sent: Counter[str] = Counter()
    async with database.reading() as connection:
        found = await fetch_all(connection, sql("SELECT status, data->>'token' AS token, reference FROM messages"))
    for row in found:
        by_status.setdefault(row["status"], Counter())[row["token"]] += 1
        if row["status"] == "sent":
            sent[row["reference"]] += 1
    return Ledger(by_status, sent)
