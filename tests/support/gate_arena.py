"""Setup for races at the gate: its transaction on a real database, and people with a run each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from activities.dependencies import Dependencies
from journeys.decision.compiler import artifact_of, load_chart
from journeys.gate.policy import Policy
from journeys.gate.status import Status
from journeys.language.parsing import read_journey
from store.database import Database, execute, sql
from store.definitions.publishing import publish_definition
from store.messages.entries import LedgerEntry
from worker.composition.channels import configured_channels
from worker.composition.dependencies import dependencies as build_dependencies
from worker.settings import Settings

AT_ONCE = 12
JOURNEY = """
journey: race
entry: {on: signed_up, again: always}
exit: [{on: account_closed}]
topic: onboarding
start: a
states:
  a: {do: [{send: education/first-value}], on: {done: over}}
  over: {final: done}
"""
_PEOPLE = sql(
    """
    WITH numbers AS (SELECT generate_series(CAST(:first AS int), :last) AS n), people AS (
      INSERT INTO subjects (key, kind, profile)
      SELECT 'u_' || n, 'user', jsonb_build_object('email', 'u' || n || '@people.example') FROM numbers),
    lanes AS (INSERT INTO lanes (recipient) SELECT 'u_' || n FROM numbers)
    INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, state, visit, started_at)
    SELECT 'r_' || n, 'race', :hash, 'u_' || n, 1, 'u_' || n, 0, 'a', 1, now() FROM numbers
    """
)


@dataclass(frozen=True)
class Arena:
    database: Database
    deps: Dependencies
    definition: str


@contextlib.asynccontextmanager
async def open_arena(database_url: str, policy: Policy | None = None) -> AsyncIterator[Arena]:
    """Dependencies with this policy and an unreachable relay, and one published journey."""
    database = Database(database_url, pool=AT_ONCE)
    deps = build_dependencies(Settings(database_url=database_url, smtp_url="smtp://127.0.0.1:9"), database)
    deps.catalogue.consent = replace(deps.catalogue.consent, policy=policy or Policy())
    deps = Dependencies(
        database, deps.catalogue, policy or Policy(), configured_channels(Settings(smtp_url="smtp://127.0.0.1:9"))
    )
    journey, source = read_journey(JOURNEY)
    assert journey is not None, source.problems
    text = artifact_of(journey, {})
    chart = load_chart(text)
    await publish_definition(database, chart, text, JOURNEY, "tests")
    yield Arena(database, deps, chart.hash)
    await database.close()


async def add_people(arena: Arena, first: int, count: int) -> list[str]:
    """Insert people `u_1`, `u_2` and so on, each with a run `r_1`, `r_2` of the journey; their keys."""
    async with arena.database.transaction() as connection:
        await execute(connection, _PEOPLE, first=first, last=first + count - 1, hash=arena.definition)
    return [f"u_{n}" for n in range(first, first + count)]


def new_message(arena: Arena, person: str, number: int = 1) -> LedgerEntry:
    """A message that the person's run requests now."""
    now = datetime.now(UTC)
    return LedgerEntry(
        key=f"{person}#a.1/x.{number}>{person}", run=f"r_{person[2:]}", step=1, subject_key=person, recipient=person,
        journey="race", state="a", visit=1, action="x", template="education/first-value", via=("email",),
        topic="onboarding", priority="lifecycle", data={}, stands=False, at=now, expires_at=None, status=Status.DEFERRED,
        decided_at=now, definition=arena.definition,
    )  # fmt: skip


async def without_gate_part(arena: Arena, part: str, instead: str = "") -> None:
    """Replace a part of the gate's SQL function, for the control of a race, which must let messages through."""
    async with arena.database.transaction() as connection:
        source = (await connection.fetch("SELECT pg_get_functiondef('gate_reads'::regproc) AS text"))[0]["text"]
        assert part in source
        await connection.execute(source.replace(part, instead))
