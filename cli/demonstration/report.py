"""The tables at the end: what happened, and whether it is what the backtest says. Every figure is counted from a record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from rich.console import Console
from rich.table import Table

from cli.demonstration import shop
from cli.demonstration.evidence import DecisionLine, Evidence, SinkComparison, backtested
from cli.demonstration.live import Played
from journeys.simulation.backtest import Stream
from journeys.simulation.timeline import Scenario
from store.database import Connection
from store.reads import demonstration as reads
from store.reads.demonstration import count_lines, count_messages, count_sent_after


@dataclass
class DemoVerdict:
    """Whether the demonstration holds; `faults` say what does not."""

    faults: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


async def show_shop(
    console: Console, evidence: Evidence, world: Scenario, streams: Sequence[Stream], played: Played, until: datetime
) -> DemoVerdict:
    """The shop's half: totals, the comparison person by person, the ledger against the sink, the murder."""
    verdict = DemoVerdict()
    people = list(shop.customers(streams))
    live, live_fates = await evidence.lines(shop.JOURNEY, people), await evidence.verdicts(shop.JOURNEY, people)
    told, told_fates = backtested(world, streams, until)
    sunk = await evidence.sunk()
    table = Table("what", "number", title=f"Half a year of {len(streams)} customers, live")
    table.columns[1].justify = "right"
    for what, number in await _totals(evidence, live):
        table.add_row(what, f"{number:,}")
    table.add_row("decided lines, live and in the backtest", f"{_count(live):,} and {_count(told):,}")
    _compare(verdict, live, told)
    _compare_fates(verdict, live_fates, told_fates)
    table.add_row(
        "people whose decisions differ", str(sum(1 for fault in verdict.faults if fault.startswith("customer")))
    )
    table.add_row("gate verdicts that differ (real time entered)", str(len(verdict.differing)))
    console.print(table)
    for row in verdict.differing[:10]:
        console.print(f"  gate differs: {row}", markup=False, highlight=False)
    _show_murder(console, verdict, sunk, played)
    return verdict


async def _totals(evidence: Evidence, live: Mapping[str, list[DecisionLine]]) -> list[tuple[str, int]]:
    moved = [line for lines in live.values() for line in lines if line[2] == "moved"]
    connection = evidence.connection
    rows: list[tuple[str, int]] = [
        ("events in", await reads.count_events(connection)),
        ("journeys started", await reads.count_runs(connection)),
        ("of them the shop's", await reads.count_runs(connection, shop.JOURNEY)),
        ("silences noticed", sum(1 for line in moved if line[3] == "silent")),
        ("win-backs: silences ended by an order", sum(1 for line in moved if line[4].endswith("from silent"))),
    ]
    by_status = await reads.count_by_status(connection, shop.JOURNEY)
    rows += [(f"messages {row['status']}", row["n"]) for row in by_status]
    by_reason = await reads.count_unsent_by_reason(connection, shop.JOURNEY)
    rows += [(f"  not sent because {row['code']}", row["n"]) for row in by_reason]
    return rows


def _count(lines: Mapping[str, list[DecisionLine]]) -> int:
    return sum(len(told) for told in lines.values())


def _compare(
    verdict: DemoVerdict, live: Mapping[str, list[DecisionLine]], told: Mapping[str, list[DecisionLine]]
) -> None:
    for person, lines in told.items():
        if live.get(person) != lines:
            seen = live.get(person, [])
            first = next(
                (i for i, (a, b) in enumerate(zip(seen, lines, strict=False)) if a != b), min(len(seen), len(lines))
            )
            here, there = seen[first : first + 1], lines[first : first + 1]
            verdict.faults.append(f"{person} differs at line {first}: live {here}, backtest {there}")


def _compare_fates(
    verdict: DemoVerdict, live: Mapping[tuple[str, str, str], str], told: Mapping[tuple[str, str, str], str]
) -> None:
    for key in sorted(live.keys() | told.keys()):
        if live.get(key) != told.get(key):
            verdict.differing.append(f"{' '.join(key)}: live {live.get(key)}, backtest {told.get(key)}")


def _show_murder(console: Console, verdict: DemoVerdict, sunk: SinkComparison, played: Played) -> None:
    table = Table(
        "counted in the sink",
        "number",
        title=f"After SIGKILL of worker {played.killed_pid} on day {played.killed_on_day}",
    )
    table.columns[1].justify = "right"
    for what, number in (
        ("ledger rows sent by e-mail", sunk.rows),
        ("mails in the sink", sunk.mails),
        ("lost (a row, no mail)", sunk.missing),
        ("doubled (one row, several mails)", sunk.doubled),
        ("unexpected (a mail, no row)", sunk.unexpected),
    ):
        table.add_row(what, str(number))
    console.print(table)
    verdict.expect(sunk.rows > 0 and sunk.exact, "the ledger and the sink do not agree")
    verdict.expect(played.killed_pid > 0, "the worker was not killed")


async def show_saas(console: Console, evidence: Evidence, played: Played) -> DemoVerdict:
    """The software company's half: each thing a retention journey must be able to do, with how often it was seen."""
    verdict = DemoVerdict()
    table = Table("what was seen", "times", title="20 users and accounts of a software company")
    table.columns[1].justify = "right"
    for what, count in _SHAPE:
        number = await count(evidence.connection)
        table.add_row(what, str(number))
        verdict.expect(number > 0, f"never seen: {what}")
    table.add_row("tasks closed over the API", str(played.tasks_closed))
    verdict.expect(played.tasks_closed > 0, "no task was closed over the API")
    console.print(table)
    return verdict


_SHAPE: Sequence[tuple[str, Callable[[Connection], Awaitable[int]]]] = (
    (
        "users whose set-up help stopped at set-up done",
        partial(count_lines, text="%now in activating, from setting_up"),
    ),
    ("users educated until activation", partial(count_lines, kind="finished", about="reached")),
    ("messages held back by a cooldown", partial(count_lines, kind="gate", text="deferred%cooldown%")),
    ("of them sent when it ended", partial(count_sent_after, text="deferred%cooldown%")),
    ("messages silenced by an urgent ticket", partial(count_lines, kind="gate", text="deferred%urgent ticket%")),
    ("of them sent after it was resolved", partial(count_sent_after, text="deferred%urgent ticket%")),
    ("follow-ups after a resolved ticket", partial(count_messages, template="support/follow-up")),
    ("renewal windows at 180 days", partial(count_lines, kind="moved", about="proving_value")),
    ("renewal windows at 120 days", partial(count_lines, kind="moved", about="planning")),
    ("renewal windows at 90 days", partial(count_lines, kind="moved", about="securing")),
    ("windows that moved with their date", partial(count_lines, kind="armed", text="%moved to%")),
    ("runs that went on when a task was closed", partial(count_lines, kind="moved", text="on %.closed:%")),
)
