"""Steps and outreach without Temporal, on PostgreSQL and real channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from activities.delivery import outreach
from activities.dependencies import Dependencies
from journeys.decision.compiler import artifact_of, load_chart
from journeys.decision.decide import decide
from journeys.decision.effects import effects_to_json, log_to_json
from journeys.decision.occurrences import Entered
from journeys.decision.state import RunState, state_to_json
from journeys.language.parsing import read_journey
from journeys.protocol import wire
from journeys.protocol.envelope import parse_instant
from store.database import Database, fetch_all, sql
from store.definitions import publishing
from store.definitions.registry import DefinitionRegistry

_RUNS = sql(
    """
    SELECT r.id, r.definition, r.lane, r.started_at, r.journey, i.value AS who
    FROM runs r JOIN identities i ON i.subject_key = r.lane
    """
)


async def publish(database: Database, text: str, types: Mapping[str, str] | None = None) -> None:
    """Publish a journey without the checker; `types` are those of the fields that it reads."""
    journey, source = read_journey(text)
    assert journey is not None, source.problems
    sealed = artifact_of(journey, types or {})
    await publishing.publish_definition(database, load_chart(sealed), sealed, text, "test")


async def first_steps(
    database: Database, known: DefinitionRegistry, opened_by: str
) -> dict[tuple[str, str], dict[str, Any]]:
    """By user id and journey: the first step of each run, as the fields of a `wire.StepInput`."""
    inputs = {}
    async with database.reading() as connection:
        for run in await fetch_all(connection, _RUNS):
            chart = await known.chart(connection, run["definition"])
            name = opened_by.format(journey=run["journey"])
            decision = decide(chart, RunState(), Entered(run["started_at"], name, lane=run["lane"], seq=1))
            step = wire.StepInput(
                run["id"], 1, run["definition"], state_to_json(decision.state), log_to_json(decision.log),
                effects_to_json(decision.effects), datetime.now(UTC).isoformat(),
            )  # fmt: skip
            inputs[run["who"], run["journey"]] = asdict(step)
    return inputs


async def settle(deps: Dependencies, person: str, enough: Callable[[datetime], bool] = lambda _: False) -> None:
    """Settle and wait like the person's `OutreachWorkflow`, until nothing is due or the next due date is `enough`."""
    while True:
        request = wire.SettleInput(person, datetime.now(UTC).isoformat())
        settled = await outreach.settle_due(deps, request, {})
        if settled.next_due is None or enough(parse_instant(settled.next_due)):
            return
        await asyncio.sleep(max(0.001, (parse_instant(settled.next_due) - datetime.now(UTC)).total_seconds()))
