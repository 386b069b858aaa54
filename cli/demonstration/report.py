"""Tables of the demonstration's results."""

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
    """Result of the demonstration: any fault fails it."""

    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


async def show_shop(
    console: Console, evidence: Evidence, scenario: Scenario, streams: Sequence[Stream], played: Played, until: datetime
) -> DemoVerdict:
    """The shop's part: totals, comparison person by person, ledger against sink after the kill."""
    verdict = DemoVerdict()
    people = list(shop.customers(streams))
    live, live_outcomes = await evidence.lines(shop.JOURNEY, people), await evidence.verdicts(shop.JOURNEY, people)
    expected, expected_outcomes = backtested(scenario, streams, until)
    mails = await evidence.compare_with_sink()
    table = Table("count of", "number", title=f"Half a year of {len(streams)} customers, live")
    table.columns[1].justify = "right"
    for noun, number in await _totals(evidence, live):
        table.add_row(noun, f"{number:,}")
    table.add_row("decided lines, live and in the backtest", f"{_count(live):,} and {_count(expected):,}")
    decisions, outcomes = _differing_lines(live, expected), _differing_outcomes(live_outcomes, expected_outcomes)
    table.add_row("people whose decisions differ", str(len(decisions)))
    table.add_row("gate verdicts that differ", str(len(outcomes)))
    console.print(table)
    verdict.faults += [*decisions, *outcomes]
    _show_kill(console, verdict, mails, played)
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
    return sum(len(of_person) for of_person in lines.values())


def _differing_lines(live: Mapping[str, list[DecisionLine]], expected: Mapping[str, list[DecisionLine]]) -> list[str]:
    differing = []
    for person, lines in expected.items():
        if live.get(person) != lines:
            live_lines = live.get(person, [])
            first = next(
                (i for i, (a, b) in enumerate(zip(live_lines, lines, strict=False)) if a != b),
                min(len(live_lines), len(lines)),
            )
            live_line, expected_line = live_lines[first : first + 1], lines[first : first + 1]
            differing.append(f"{person} differs at line {first}: live {live_line}, backtest {expected_line}")
    return differing


def _differing_outcomes(
    live: Mapping[tuple[str, str, str], str], expected: Mapping[tuple[str, str, str], str]
) -> list[str]:
    return [
        f"{' '.join(key)}: live {live.get(key)}, backtest {expected.get(key)}"
        for key in sorted(live.keys() | expected.keys())
        if live.get(key) != expected.get(key)
    ]


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
