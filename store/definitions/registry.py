"""Registry of definitions in use, with the index of their signals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, true

from journeys.consent.rules import ConsentRuleSet
from journeys.decision.chart import Chart
from journeys.decision.compiler import load_chart
from journeys.decision.entry import unusable_case
from journeys.events.profile_bounds import ProfileBounds
from journeys.fields.table import FieldOwner
from journeys.gate.tickets import UrgentTicket
from journeys.language.signal_names import play_signal
from journeys.tasks.assignment import Roster
from store.database import Connection, fetch_all, fetch_one, sql
from store.definitions.awaited_signals import awaited_signals
from store.schema import catalogue, definitions, journeys, runs

_EDITION = sql(select(catalogue.c.edition))
_current = journeys.c.hash == definitions.c.hash
_next_open = (
    select(runs.c.definition)
    .where(runs.c.definition >= definitions.c.hash, runs.c.status == "open")
    .order_by(runs.c.definition)
    .limit(1)
    .correlate(definitions)
    .scalar_subquery()
)
_open_run = (
    _next_open == definitions.c.hash
)  # one probe of the index; EXISTS may read all runs for a definition without any
_IN_USE = sql(
    select(definitions.c.hash, definitions.c.artifact, and_(journeys.c.live.is_(true()), _current).label("live"))
    .outerjoin_from(definitions, journeys, journeys.c.key == definitions.c.journey)
    .where(or_(_current, _open_run))
    .order_by(definitions.c.journey, definitions.c.version)
)
_ARTIFACT = sql(select(definitions.c.artifact).where(definitions.c.hash == bindparam("hash")))


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Charts in use by signal: those that open on it and those that react to it; fields read, by kind of subject."""

    edition: int = 0
    charts: Mapping[str, Chart] = field(default_factory=dict)
    opening: Mapping[str, tuple[Chart, ...]] = field(default_factory=dict)
    reacting: Mapping[str, tuple[Chart, ...]] = field(default_factory=dict)
    reading: Mapping[str, frozenset[str]] = field(default_factory=dict)
    live: tuple[Chart, ...] = ()

    def matters(self, name: str) -> bool:
        """Whether a chart in use opens on this signal or reacts to it. Other events cost one batched write."""
        return name in self.opening or name in self.reacting

    def kept(self, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The data of an event that a chart reads, and the case keys."""
        kept: dict[str, Any] = {}
        for chart in (*self.reacting.get(name, ()), *self.opening.get(name, ())):
            kept |= chart.kept(name, data)
            if chart.spec.case and chart.spec.case in data:
                kept[chart.spec.case] = data[chart.spec.case]
        return kept


def build_index(edition: int, in_use: list[tuple[Chart, bool]]) -> SignalIndex:
    """The index over definitions in use. A chart that is no longer live reacts, but opens nothing."""
    opening: dict[str, list[Chart]] = {}
    reacting: dict[str, list[Chart]] = {}
    reading: dict[str, set[str]] = {"profile": set(), "account": set()}
    for chart, live in in_use:
        for signal in (*(entry.on for entry in chart.entry), play_signal(chart.key)) if live else ():
            opening.setdefault(signal, []).append(chart)
        for name in sorted(chart.signals):
            reacting.setdefault(name, []).append(chart)
        for scope, fields in chart.fields.items():
            reading[scope] |= fields
    return SignalIndex(
        edition,
        {chart.hash: chart for chart, _ in in_use},
        {name: tuple(charts) for name, charts in opening.items()},
        {name: tuple(charts) for name, charts in reacting.items()},
        {scope: frozenset(fields) for scope, fields in reading.items()},
        tuple(sorted((chart for chart, live in in_use if live), key=lambda chart: chart.key)),
    )


class UnreadableDefinition(ValueError):
    """An artifact that this version of the code cannot read: another version has published it. The operator's turn."""


class DefinitionRegistry:
    """One process's copy of the published definitions, renewed when the edition changes.

    An artifact that cannot be read stops nothing else: its runs are taken to react to everything, and open none here.
    """

    def __init__(
        self,
        tickets: UrgentTicket | None = None,
        consent: ConsentRuleSet | None = None,
        roster: Roster | None = None,
        owner_of: Callable[[str], str] = lambda _: "",
        bounds: ProfileBounds | None = None,
    ) -> None:
        """`owner_of` returns the owner of a template; empty if it has none."""
        self.bounds = bounds or ProfileBounds()
        self.index = SignalIndex()
        self.roster = roster or Roster()
        self.owner_of = owner_of
        self.consent = consent or ConsentRuleSet()
        self.tickets = tickets or UrgentTicket()
        self.ticket_signals = frozenset({*self.tickets.opened_by, *self.tickets.resolved_by})
        self.loaded_charts: dict[str, Chart] = {}
        self.loaded_faults: dict[str, str] = {}
        """By hash, why a definition cannot be read by this process: its content never changes."""
        self.unreadable: dict[str, str] = {}
        """Of the definitions in use, those that this version cannot read, with the reason."""
        self.awaited: frozenset[str] = frozenset()
        """Signals that complete an item of some checklist."""

    def matters(self, name: str) -> bool:
        """Whether an event of this name can change anything: a chart, an urgent ticket or a consent reads it.

        A definition that cannot be read here may read anything.
        """
        if self.unreadable:
            return True
        return self.index.matters(name) or name in self.ticket_signals or self.consent.rules.hears(name)

    def unusable_cases(self, name: str, data: Mapping[str, Any]) -> list[str]:
        """Why the journeys that this signal opens or reaches could never make a run of its case, as of the index."""
        charts = dict.fromkeys((*self.index.opening.get(name, ()), *self.index.reacting.get(name, ())))
        return sorted({fault for chart in charts if (fault := unusable_case(chart, data))})

    def kept_fields(self, owner: FieldOwner, traits: Mapping[str, Any]) -> dict[str, Any]:
        """The traits that change a profile: declared ones, and those that a definition in use reads."""
        return self.bounds.kept(owner, traits, self.index.reading.get(owner, ()))

    async def current(self, connection: Connection) -> SignalIndex:
        """The index as of this transaction."""
        row = await fetch_one(connection, _EDITION)
        edition = int(row["edition"]) if row else 0
        if edition != self.index.edition:
            rows = await fetch_all(connection, _IN_USE)
            self.awaited = await awaited_signals(connection)
            in_use, self.unreadable = list[tuple[Chart, bool]](), {}
            for row in rows:
                try:
                    in_use.append((read_chart(row["artifact"], row["hash"]), bool(row["live"])))
                except UnreadableDefinition as fault:
                    self.unreadable[row["hash"]] = str(fault)
            self.index = build_index(edition, in_use)
        return self.index

    def topics(self) -> frozenset[str]:
        """The topics of all messages that the definitions in use send, as of the index."""
        return frozenset(
            topic for chart in self.index.charts.values() for topic, _, _ in chart.routes if topic is not None
        )

    async def chart(self, connection: Connection, content: str) -> Chart:
        """One definition by its hash, even if it is not in use any more. Raises LookupError and UnreadableDefinition."""
        if content in self.loaded_faults:
            raise UnreadableDefinition(self.loaded_faults[content])
        chart = self.loaded_charts.get(content) or self.index.charts.get(content)
        if chart is None:
            artifact = await read_artifact(connection, content)
            try:
                chart = read_chart(artifact, content)
            except UnreadableDefinition as fault:
                self.loaded_faults[content] = str(fault)
                raise
        self.loaded_charts[content] = chart
        return chart

    async def readable(self, connection: Connection, content: str) -> Chart | None:
        """One definition by its hash; None if this version cannot read it. Raises LookupError."""
        try:
            return await self.chart(connection, content)
        except UnreadableDefinition:
            return None


def read_chart(artifact: str, content: str = "") -> Chart:
    """The chart of an artifact; `content` is its hash, for the error. Raises UnreadableDefinition."""
    try:
        return load_chart(artifact)
    except Exception as fault:
        raise UnreadableDefinition(f"definition {content[:12]}: {type(fault).__name__}: {str(fault)[:200]}") from fault


def readable_charts(artifacts: Iterable[str]) -> list[Chart]:
    """The charts of artifacts, without those that this version cannot read."""
    charts = []
    for artifact in artifacts:
        with contextlib.suppress(UnreadableDefinition):
            charts.append(read_chart(artifact))
    return charts


async def read_artifact(connection: Connection, content: str) -> str:
    """The published artifact with this hash. Raises LookupError if there is none."""
    row = await fetch_one(connection, _ARTIFACT, hash=content)
    if row is None:
        raise LookupError(f"no definition {content} is published in this database")
    return str(row["artifact"])


async def fields_read(connection: Connection, content: str) -> Mapping[str, frozenset[str]]:
    """The fields that a definition reads, by scope, where no registry is at hand. Raises LookupError."""
    return load_chart(await read_artifact(connection, content)).fields
