"""Tables of the demonstration's results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import zip_longest

from rich.console import Console
from rich.table import Table

from cli.demonstration import shop
from cli.demonstration.evidence import Evidence, GroupLines, SinkComparison, backtested
from cli.demonstration.live import Played
from journeys.simulation.backtest import Stream
from journeys.simulation.simulator import ComparableLine
from journeys.simulation.timeline import Scenario
from store.database import Connection
from store.reads import demonstration as reads
from store.reads.demonstration import count_lines, count_messages, count_sent_after


@dataclass
class DemoVerdict:
    """Result of the demonstration: any fault fails it."""

    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


async def show_decisions(
    console: Console, evidence: Evidence, scenario: Scenario, streams: Sequence[Stream], played: Played, until: datetime
) -> DemoVerdict:
    """Totals of the live run, its comparison with the backtest group by group, and ledger against sink after the kill."""
    verdict = DemoVerdict()
    live, expected = await evidence.decided(streams), backtested(scenario, streams, until)
    mails = await evidence.compare_with_sink()
    table = Table("count of", "number", title="Half a year of a shop's customers and a software company, live")
    table.columns[1].justify = "right"
    for noun, number in await _totals(evidence, live):
        table.add_row(noun, f"{number:,}")
    for noun, of_messages in (("decisions", False), ("verdicts of the gate", True)):
        ours, theirs = _count(live, of_messages=of_messages), _count(expected, of_messages=of_messages)
        table.add_row(f"{noun}, live and in the backtest", f"{ours:,} and {theirs:,}")
        table.add_row(f"{noun} that differ", str(_differing(live, expected, of_messages=of_messages)))
    console.print(table)
    verdict.faults += _first_differences(live, expected)
    _show_kill(console, verdict, mails, played)
    return verdict


async def _totals(evidence: Evidence, live: GroupLines) -> list[tuple[str, int]]:
    moved = [line for lines in live.values() for line in lines if line.what == "moved"]
    connection = evidence.connection
    rows: list[tuple[str, int]] = [
        ("events in", await reads.count_events(connection)),
        ("journeys started", await reads.count_runs(connection)),
        ("of them the shop's", await reads.count_runs(connection, shop.JOURNEY)),
        ("silences noticed", sum(1 for line in moved if line.about == "silent")),
        ("win-backs: silences ended by an order", sum(1 for line in moved if line.text.endswith("from silent"))),
    ]
    by_status = await reads.count_by_status(connection, shop.JOURNEY)
    rows += [(f"messages {row['status']}", row["n"]) for row in by_status]
    by_reason = await reads.count_unsent_by_reason(connection, shop.JOURNEY)
    rows += [(f"  not sent because {row['code']}", row["n"]) for row in by_reason]
    return rows


def _of_kind(lines: Sequence[ComparableLine], *, of_messages: bool) -> list[ComparableLine]:
    """Verdicts on messages, or decisions of runs."""
    return [line for line in lines if ("#" in line.name) is of_messages]


def _count(lines: GroupLines, *, of_messages: bool) -> int:
    return sum(len(_of_kind(of_group, of_messages=of_messages)) for of_group in lines.values())


def _differing(live: GroupLines, expected: GroupLines, *, of_messages: bool) -> int:
    """The number of lines that are not the same, in the same place of their group."""
    return sum(
        ours != theirs
        for group, lines in expected.items()
        for ours, theirs in zip_longest(
            _of_kind(live[group], of_messages=of_messages), _of_kind(lines, of_messages=of_messages)
        )
    )


def _first_differences(live: GroupLines, expected: GroupLines) -> list[str]:
    """The first line of each group that differs, also where the same lines come in another order."""
    faults = []
    for group, lines in expected.items():
        pairs = enumerate(zip_longest(live[group], lines))
        first = next(((number, ours, theirs) for number, (ours, theirs) in pairs if ours != theirs), None)
        if first is not None:
            faults.append(f"{group} differs at line {first[0]}: live {first[1]}, backtest {first[2]}")
    return faults


def _show_kill(console: Console, verdict: DemoVerdict, mails: SinkComparison, played: Played) -> None:
    table = Table(
        "counted in the sink",
        "number",
        title=f"After SIGKILL of worker {played.killed_pid} on day {played.killed_on_day}",
    )
    table.columns[1].justify = "right"
    for noun, number in (
        ("ledger rows sent by e-mail", mails.rows),
        ("mails in the sink", mails.mails),
        ("lost: a row without a mail", mails.missing),
        ("duplicated: several mails of one row", mails.doubled),
        ("unexpected: a mail without a row", mails.unexpected),
    ):
        table.add_row(noun, str(number))
    console.print(table)
    verdict.expect(mails.rows > 0 and mails.exact, "ledger and sink do not agree")
    verdict.expect(played.killed_pid > 0, "the worker was not killed")


async def show_saas(console: Console, evidence: Evidence, played: Played) -> DemoVerdict:
    """The software company's part: how often each behaviour of a retention journey was seen."""
    verdict = DemoVerdict()
    table = Table("behaviour", "times", title="20 users and accounts of a software company")
    table.columns[1].justify = "right"
    for behaviour, count in _BEHAVIOURS:
        number = await count(evidence.connection)
        table.add_row(behaviour, str(number))
        verdict.expect(number > 0, f"never seen: {behaviour}")
    table.add_row("tasks closed over the API", str(played.tasks_closed))
    verdict.expect(played.tasks_closed > 0, "no task was closed over the API")
    console.print(table)
    return verdict


_BEHAVIOURS: Sequence[tuple[str, Callable[[Connection], Awaitable[int]]]] = (
    (
        "users whose set-up help stopped at set-up done",
        partial(count_lines, text="%now in activating, from setting_up"),
    ),
    ("users educated until activation", partial(count_lines, kind="finished", about="reached")),
    ("messages deferred by a cooldown", partial(count_lines, kind="gate", text="deferred%cooldown%")),
    ("of them sent when it ended", partial(count_sent_after, text="deferred%cooldown%")),
    ("messages deferred by an urgent ticket", partial(count_lines, kind="gate", text="deferred%urgent ticket%")),
    ("of them sent after it was resolved", partial(count_sent_after, text="deferred%urgent ticket%")),
    ("follow-ups after a resolved ticket", partial(count_messages, template="support/follow-up")),
    ("renewal windows at 180 days", partial(count_lines, kind="moved", about="proving_value")),
    ("renewal windows at 120 days", partial(count_lines, kind="moved", about="planning")),
    ("renewal windows at 90 days", partial(count_lines, kind="moved", about="securing")),
    ("windows that moved with their date", partial(count_lines, kind="armed", text="%moved to%")),
    ("runs that continued when a task was closed", partial(count_lines, kind="moved", text="on %.closed:%")),
)
