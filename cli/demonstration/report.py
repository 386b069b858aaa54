"""The tables at the end: what happened, and whether it is what the backtest says. Every figure is counted from a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console
from rich.table import Table

from cli.demonstration import shop
from cli.demonstration.evidence import DecisionLine, Evidence, SinkComparison, backtested
from cli.demonstration.live import Played
from journeys.simulation.backtest import Stream
from journeys.simulation.timeline import Scenario


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
    rows: list[tuple[str, int]] = [
        ("events in", await evidence.counted("SELECT count(*) FROM events")),
        ("journeys started", await evidence.counted("SELECT count(*) FROM runs")),
        ("of them the shop's", await evidence.counted("SELECT count(*) FROM runs WHERE journey = $1", shop.JOURNEY)),
        ("silences noticed", sum(1 for line in moved if line[3] == "silent")),
        ("win-backs: silences ended by an order", sum(1 for line in moved if line[4].endswith("from silent"))),
    ]
    rows += [(f"messages {row['status']}", row["n"]) for row in await evidence.table(_BY_STATUS, shop.JOURNEY)]
    rows += [(f"  not sent because {row['code']}", row["n"]) for row in await evidence.table(_BY_REASON, shop.JOURNEY)]
    return rows


_BY_STATUS = "SELECT status, count(*) AS n FROM messages WHERE journey = $1 GROUP BY 1 ORDER BY 1"
_BY_REASON = """
    SELECT r->>'code' AS code, count(*) AS n FROM messages, jsonb_array_elements(reasons) AS r
    WHERE journey = $1 AND status IN ('withheld', 'withdrawn') GROUP BY 1 ORDER BY 1
"""


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
    for what, query in _SHAPE:
        number = await evidence.counted(query)
        table.add_row(what, str(number))
        verdict.expect(number > 0, f"never seen: {what}")
    table.add_row("tasks closed over the API", str(played.tasks_closed))
    verdict.expect(played.tasks_closed > 0, "no task was closed over the API")
    console.print(table)
    return verdict


_LINE = "SELECT count(*) FROM timeline WHERE "


def _sent_after(why: str) -> str:
    return (
        "SELECT count(*) FROM messages m WHERE status = 'sent' AND EXISTS (SELECT 1 FROM timeline t WHERE t.run = m.run "  # noqa: S608
        f"AND t.about = m.action AND t.kind = 'gate' AND t.text LIKE 'deferred%{why}%')"
    )


_SHAPE = (
    ("users whose set-up help stopped at set-up done", _LINE + "text LIKE '%now in activating, from setting_up'"),
    ("users educated until activation", _LINE + "kind = 'finished' AND about = 'reached'"),
    ("messages held back by a cooldown", _LINE + "kind = 'gate' AND text LIKE 'deferred%cooldown%'"),
    ("of them sent when it ended", _sent_after("cooldown")),
    ("messages silenced by an urgent ticket", _LINE + "kind = 'gate' AND text LIKE 'deferred%urgent ticket%'"),
    ("of them sent after it was resolved", _sent_after("urgent ticket")),
    ("follow-ups after a resolved ticket", "SELECT count(*) FROM messages WHERE template = 'support/follow-up'"),
    ("renewal windows at 180 days", _LINE + "kind = 'moved' AND about = 'proving_value'"),
    ("renewal windows at 120 days", _LINE + "kind = 'moved' AND about = 'planning'"),
    ("renewal windows at 90 days", _LINE + "kind = 'moved' AND about = 'securing'"),
    ("windows that moved with their date", _LINE + "kind = 'armed' AND text LIKE '%moved to%'"),
    ("runs that went on when a task was closed", _LINE + "kind = 'moved' AND text LIKE 'on %.closed:%'"),
)
