"""Steps applied by hand: real Postgres and real channels without Temporal, for tests of what one step or one look does."""

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
    """Make a journey the current one of its key, unchecked; `types` of the fields that it reads."""
    journey, source = read_journey(text)
    assert journey is not None, source.problems
    sealed = artifact_of(journey, types or {})
    await publishing.publish_definition(database, load_chart(sealed), sealed, text, "test")


async def first_steps(
    database: Database, known: DefinitionRegistry, opened_by: str
) -> dict[tuple[str, str], dict[str, Any]]:
    """By person and journey, the step with which each run enters its first state, as `wire.StepInput` has it."""
    found = {}
    async with database.reading() as connection:
        for item in await fetch_all(connection, _RUNS):
            chart = await known.chart(connection, item["definition"])
            name = opened_by.format(journey=item["journey"])
            made = decide(chart, RunState(), Entered(item["started_at"], name, lane=item["lane"], seq=1))
            step = wire.StepInput(
                item["id"], 1, item["definition"], state_to_json(made.state), log_to_json(made.log),
                effects_to_json(made.effects), datetime.now(UTC).isoformat(),
            )  # fmt: skip
            found[item["who"], item["journey"]] = asdict(step)
    return found


async def settle(deps: Dependencies, person: str, enough: Callable[[datetime], bool] = lambda _: False) -> None:
    """As the person's `OutreachWorkflow`: look, wait for what is due next, until nothing is owed or what is next is `enough`."""
    while True:
        request = wire.SettleInput(person, datetime.now(UTC).isoformat())
        settled = await outreach.settle_due(deps, request, {})
        if settled.next_due is None or enough(parse_instant(settled.next_due)):
            return
        await asyncio.sleep(max(0.001, (parse_instant(settled.next_due) - datetime.now(UTC)).total_seconds()))
