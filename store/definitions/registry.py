"""Published definitions, and the index that says which events can change anything at all (design §5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from journeys.consent.rules import ConsentRuleSet
from journeys.decision.chart import Chart
from journeys.decision.compiler import load_chart
from journeys.gate.policy import UrgentTicket
from journeys.protocol.wire import play_signal
from journeys.tasks.assignment import Roster
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.inbox import checklists
from store.locks import Lock, lock_until_commit

_EDITION = sql("SELECT edition FROM catalogue")
_IN_USE = sql(
    """
    SELECT d.hash, d.artifact, j.live IS TRUE AND j.hash = d.hash AS live
    FROM definitions d LEFT JOIN journeys j ON j.key = d.journey
    WHERE j.hash = d.hash OR EXISTS (SELECT 1 FROM runs r WHERE r.definition = d.hash AND r.status = 'open')
    ORDER BY d.journey, d.version
    """
)
_ARTIFACT = sql("SELECT artifact FROM definitions WHERE hash = :hash")
_CURRENT = sql(
    "SELECT d.hash, d.version FROM journeys j JOIN definitions d ON d.hash = j.hash WHERE j.key = :key FOR UPDATE OF j"
)
_KNOWN = sql("SELECT hash, version FROM definitions WHERE journey = :key AND hash = :hash")
_NEXT_VERSION = sql("SELECT coalesce(max(version), 0) + 1 AS version FROM definitions WHERE journey = :key")
_ADD = sql(
    """
    INSERT INTO definitions (hash, journey, version, artifact, source, published_by)
    VALUES (:hash, :key, :version, :artifact, :source, :by)
    """
)
_POINT = sql(
    "INSERT INTO journeys (key, hash) VALUES (:key, :hash) ON CONFLICT (key) DO UPDATE SET hash = excluded.hash, live = true"
)
_TURN = sql("UPDATE catalogue SET edition = edition + 1")


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
        found = await fetch_one(connection, _EDITION)
        edition = int(found["edition"]) if found else 0
        if edition != self.index.edition:
            in_use = [
                (load_chart(item["artifact"]), bool(item["live"])) for item in await fetch_all(connection, _IN_USE)
            ]
            self.awaited = await checklists.awaited_signals(connection)
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
    found = await fetch_one(connection, _ARTIFACT, hash=content)
    if found is None:
        raise LookupError(f"no definition {content} is published in this database")
    return str(found["artifact"])


async def publish_definition(database: Database, chart: Chart, text: str, source: str, by: str) -> tuple[int, bool]:
    """Make a definition the current one of its key: its version, and whether that is new. The same content keeps its version."""
    async with database.transaction() as connection:
        await lock_until_commit(connection, Lock.CATALOGUE)
        current = await fetch_one(connection, _CURRENT, key=chart.key)
        if current is not None and current["hash"] == chart.hash:
            return int(current["version"]), False
        known = await fetch_one(connection, _KNOWN, key=chart.key, hash=chart.hash)
        version = int(known["version"]) if known else await _add(connection, chart, text, source, by)
        await execute(connection, _POINT, key=chart.key, hash=chart.hash)
        await execute(connection, _TURN)
        return version, known is None


async def _add(connection: Connection, chart: Chart, text: str, source: str, by: str) -> int:
    found = await fetch_one(connection, _NEXT_VERSION, key=chart.key)
    version = int(found["version"]) if found else 1
    await execute(
        connection, _ADD, hash=chart.hash, key=chart.key, version=version, artifact=text, source=source, by=by
    )
    return version
