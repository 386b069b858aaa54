"""One journey and one database: batches of one person's events, and what was decided of them, without Temporal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.decision.decide import decide
from journeys.decision.occurrences import TimerDue
from journeys.decision.state import RunState, state_from_json
from journeys.events.inbound import CallKind, InboundEvent
from journeys.protocol.envelope import occurrence_of
from store.database import Database, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.outbox.undecided import undecided_of_run
from store.rows import loaded
from tests.support.steps import publish

_RUNS = sql(
    """
    SELECT r.id, r.definition, r.journey, r.epoch, r.memory FROM runs r
    WHERE CAST(:user AS text) IS NULL OR r.lane IN (SELECT subject_key FROM identities WHERE value = :user)
    ORDER BY r.journey, r.case_key, r.epoch
    """
)


class DecidedLane:
    """A database with published journeys. `accept` is a request with a batch; `decided` are the runs by its outbox."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry | None = None) -> None:
        self.database, self.catalogue = database, catalogue or DefinitionRegistry()
        self.calls = 0

    async def publish(self, text: str, types: Mapping[str, str] | None = None) -> None:
        await publish(self.database, text, dict(types or {}))

    def event(
        self,
        name: str,
        at: datetime | None = None,
        *,
        kind: CallKind = "track",
        user: str | None = "ada",
        account: str | None = None,
        historical: bool = False,
        identity: str = "",
        **data: Any,
    ) -> InboundEvent:
        self.calls += 1
        return InboundEvent(
            kind,
            identity or f"m{self.calls}",
            name,
            user_id=user,
            account_id=account,
            data={} if kind in {"identify", "group"} else data,
            traits=data if kind in {"identify", "group"} else {},
            timestamp=at,
            context={"historical": True} if historical else None,
        )

    async def accept(self, *events: InboundEvent) -> ingest.IngestResult:
        return await ingest.accept(self.database, self.catalogue, list(events), source="test")

    async def rows(self, statement: str, **values: Any) -> Sequence[Mapping[str, Any]]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, sql(statement), **values)

    async def decided(
        self, user: str | None = None, until: datetime | None = None
    ) -> list[tuple[str, int, str, str | None, list[str]]]:
        """Of each run, of one user or of all, its journey, epoch, state, outcome and what its log says.

        By the rows of its lane in order, and its timers up to `until`.
        """
        runs = []
        async with self.database.reading() as connection:
            for row in await fetch_all(connection, _RUNS, user=user):
                chart = await self.catalogue.chart(connection, row["definition"])
                state = state_from_json(loaded(row["memory"])) if row["memory"] else RunState()
                log = list[str]()
                for envelope in await undecided_of_run(connection, chart, row["id"], state.seqs):
                    decision = decide(chart, state, occurrence_of(envelope))
                    state, log = decision.state, [*log, *(line.text for line in decision.log)]
                if until is not None:
                    decision = decide(chart, state, TimerDue(until))
                    state, log = decision.state, [*log, *(line.text for line in decision.log)]
                runs.append((row["journey"], row["epoch"], state.state, state.outcome, log))
        return runs

    async def profile(self, user: str = "ada") -> dict[str, Any]:
        (row,) = await self.rows(
            "SELECT profile FROM subjects s JOIN identities i ON i.subject_key = s.key WHERE i.value = :name", name=user
        )
        fields: dict[str, Any] = json.loads(row["profile"])
        return fields
