"""Registry of definitions in use, with the index of their signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import and_, bindparam, exists, or_, select, true

from journeys.consent.rules import ConsentRuleSet
from journeys.decision.chart import Chart
from journeys.decision.compiler import load_chart
from journeys.gate.policy import UrgentTicket
from journeys.language.signal_names import play_signal
from journeys.tasks.assignment import Roster
from store.database import Connection, fetch_all, fetch_one, sql
from store.definitions.awaited_signals import awaited_signals
from store.schema import catalogue, definitions, journeys, runs

_EDITION = sql(select(catalogue.c.edition))
_current = journeys.c.hash == definitions.c.hash
_open_run = exists().where(runs.c.definition == definitions.c.hash, runs.c.status == "open")
_IN_USE = sql(
    select(definitions.c.hash, definitions.c.artifact, and_(journeys.c.live.is_(true()), _current).label("live"))
    .outerjoin_from(definitions, journeys, journeys.c.key == definitions.c.journey)
    .where(or_(_current, _open_run))
    .order_by(definitions.c.journey, definitions.c.version)
)
_ARTIFACT = sql(select(definitions.c.artifact).where(definitions.c.hash == bindparam("hash")))


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Which charts open on a signal, which hear it, and which fields they read, by kind of subject."""

    edition: int = 0
    charts: Mapping[str, Chart] = field(default_factory=dict)
    opening: Mapping[str, tuple[Chart, ...]] = field(default_factory=dict)
    hearing: Mapping[str, tuple[Chart, ...]] = field(default_factory=dict)
    reading: Mapping[str, frozenset[str]] = field(default_factory=dict)
    live: tuple[Chart, ...] = ()

    def matters(self, name: str) -> bool:
        """Whether any chart in use opens on this signal or hears it: if not, it costs one batched write."""
        return name in self.opening or name in self.hearing


def build_index(edition: int, in_use: list[tuple[Chart, bool]]) -> SignalIndex:
    """The index over definitions in use; a chart that is not live any more hears, but opens nothing."""
    opening: dict[str, list[Chart]] = {}
    hearing: dict[str, list[Chart]] = {}
    reading: dict[str, set[str]] = {"profile": set(), "account": set()}
    for chart, live in in_use:
        for signal in (*(stop.on for stop in chart.entry), play_signal(chart.key)) if live else ():
            opening.setdefault(signal, []).append(chart)
        for name in sorted(chart.signals):
            hearing.setdefault(name, []).append(chart)
        for scope, fields in chart.fields.items():
            reading[scope] |= fields
    return SignalIndex(
        edition,
        {chart.hash: chart for chart, _ in in_use},
        {name: tuple(charts) for name, charts in opening.items()},
        {name: tuple(charts) for name, charts in hearing.items()},
        {scope: frozenset(fields) for scope, fields in reading.items()},
        tuple(sorted((chart for chart, live in in_use if live), key=lambda chart: chart.key)),
    )


class DefinitionRegistry:
    """A process's copy of what is published, renewed when the edition moves."""

    def __init__(
        self,
        tickets: UrgentTicket | None = None,
        consent: ConsentRuleSet | None = None,
        roster: Roster | None = None,
        owner_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`owner_of` is who owns a template, or nothing."""
        self.index = SignalIndex()
        self.roster = roster or Roster()
        self.owner_of = owner_of
        self.consent = consent or ConsentRuleSet()
        self.tickets = tickets or UrgentTicket()
        self.of_tickets = frozenset({*self.tickets.opened_by, *self.tickets.resolved_by})
        self.seen: dict[str, Chart] = {}
        self.awaited: frozenset[str] = frozenset()
        """Signals that tick an item of some checklist."""

    def matters(self, name: str) -> bool:
        """Whether an event of this name can change anything: a chart, an urgent ticket or a consent that the gate looks at."""
        return self.index.matters(name) or name in self.of_tickets or self.consent.rules.hears(name)

    async def current(self, connection: Connection) -> SignalIndex:
        """The index as of this transaction."""
        row = await fetch_one(connection, _EDITION)
        edition = int(row["edition"]) if row else 0
        if edition != self.index.edition:
            in_use = [(load_chart(row["artifact"]), bool(row["live"])) for row in await fetch_all(connection, _IN_USE)]
            self.awaited = await awaited_signals(connection)
            self.index = build_index(edition, in_use)
        return self.index

    async def chart(self, connection: Connection, content: str) -> Chart:
        """One definition by its hash, also one that is not in use any more. Raises LookupError."""
        chart = self.seen.get(content) or self.index.charts.get(content)
        if chart is None:
            chart = load_chart(await read_artifact(connection, content))
        self.seen[content] = chart
        return chart


async def read_artifact(connection: Connection, content: str) -> str:
    """The published text at this hash. Raises LookupError when there is none."""
    row = await fetch_one(connection, _ARTIFACT, hash=content)
    if row is None:
        raise LookupError(f"no definition {content} is published in this database")
    return str(row["artifact"])
