"""Gate decisions per second of CPU, and against the number of earlier messages."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from datetime import UTC, datetime

from activities.dependencies import Dependencies
from activities.gate import evaluation
from benchmarks.measure import ResultRow, Target, compared
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig
from journeys.decision.effects import SendMessage
from store.database import execute, fetch_all, fetch_one, sql
from store.messages.entries import new_entry
from store.people import subjects
from store.runs import projection
from store.runs.projection import Run
from worker.composition.dependencies import dependencies

HISTORIES = (10, 10_000)
AT_ONCE = 4
PEOPLE = 20
DECISIONS = 400
PROBES = 300

_number = itertools.count(1)

_SELECT_ONE = sql("SELECT 1 AS one")
_RUN_OF = sql("SELECT id FROM runs WHERE lane = :person AND status = 'open' LIMIT 1")
_PEOPLE = sql(
    """
    SELECT s.key FROM identities i JOIN subjects s ON s.key = i.subject_key
    WHERE i.kind = 'user_id' AND i.value = ANY(CAST(:people AS text[])) ORDER BY s.key
    """
)
_AGE = sql(
    """
    UPDATE messages SET sent_at = sent_at - interval '40 days'
    WHERE recipient = ANY(CAST(:people AS text[])) AND key LIKE 'gate/%'
    """
)
_SETTLE = sql("UPDATE messages SET status = 'sent', settled_at = now() WHERE key LIKE 'gate/%' AND status = 'sending'")
"""These attempts are never made. Unsettled, each would count as one whose process died, and would be looked up."""
_EARLIER = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, channel, decided_at, sent_at, settled_at)
    SELECT 'earlier/' || :person || n, 'r', 1, :person, :person, 'daily', 's', 1, 'a', 't', '["email"]', 'lifecycle',
      past, 'sent', 'email', past, past, past
    FROM generate_series(1, CAST(:count AS int)) AS n, LATERAL (SELECT now() - interval '40 days' - n * interval '1 hour') AS p(past)
    """
)


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Decisions that end in `sending`, rendered mail included, each in its own transaction."""
    deps = dependencies(rig.settings, rig.database)
    rates: list[list[float]] = []
    for length in HISTORIES:
        people = await _people(rig, length)
        await _decisions(rig, deps, people)
        rates.append([await _decisions(rig, deps, people) for _ in range(scale.rounds)])
    short, long = rates
    p99 = [await _p99_vs_select_1(rig, deps, await _people(rig, 10)) for _ in range(scale.rounds)]
    async with rig.database.transaction() as connection:
        await execute(connection, _SETTLE)
    middle = statistics.median(short)
    return [
        ResultRow(
            "gate_decisions_per_s",
            middle,
            min(short),
            max(short),
            middle,
            None,
            "per core",
            Target(1_000, at_least=True),
        ),
        compared("gate_decisions_per_s_at_10000_vs_10", long, short, "per core", Target(0.8, at_least=True)),
        compared("gate_p99_ms_vs_select_1", [ours for ours, _ in p99], [other for _, other in p99], "ms"),
    ]


async def _people(rig: Rig, earlier: int) -> list[tuple[str, Run]]:
    """People with a waiting run, and this many earlier messages each."""
    names = [f"g{next(_number)}" for _ in range(PEOPLE)]
    batch = [
        call
        for name in names
        for call in (
            {
                "type": "identify",
                "userId": name,
                "messageId": f"{name}-is",
                "traits": {"email": f"{name}@people.example"},
            },
            {"type": "track", "userId": name, "event": "habit_begun", "messageId": f"{name}-begins", "properties": {}},
        )
    ]
    await rig.web.post("/v1/batch", {"batch": batch})
    people = []
    async with rig.database.transaction() as connection:
        for item in await fetch_all(connection, _PEOPLE, people=names):
            await execute(connection, _EARLIER, person=item["key"], count=earlier)
            run = await fetch_one(connection, _RUN_OF, person=item["key"])
            assert run is not None
            people.append((item["key"], await projection.read_run(connection, run["id"])))
        await connection.execute("ANALYZE messages")
    return people


async def _decisions(rig: Rig, deps: Dependencies, people: list[tuple[str, Run]]) -> float:
    """Decisions per second of this process's CPU time, several for each person.

    Messages of the last call are aged first, so that nobody has hundreds of messages in a policy's window.
    """
    async with rig.database.transaction() as connection:
        await execute(connection, _SETTLE)
        await execute(connection, _AGE, people=[person for person, _ in people])
    began = time.process_time()
    await asyncio.gather(*(_in_turn(rig, deps, people[first::AT_ONCE]) for first in range(AT_ONCE)))
    return DECISIONS / (time.process_time() - began)


async def _in_turn(rig: Rig, deps: Dependencies, people: list[tuple[str, Run]]) -> None:
    for person, run in people:
        await _one_after_the_other(rig, deps, person, run, DECISIONS // PEOPLE)


async def _one_after_the_other(rig: Rig, deps: Dependencies, person: str, run: Run, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await _decide(rig, deps, person, run)
        seconds.append(time.perf_counter() - began)
    return seconds


async def _decide(rig: Rig, deps: Dependencies, person: str, run: Run) -> None:
    now = datetime.now(UTC)
    async with rig.database.transaction() as connection:
        subject = subjects.Subject(person, "user", 0, None, None, {"email": f"{person}@people.example"}, None)
        effect = SendMessage(
            "tip", "education/first-value", ("email",), "living", 1, next(_number), now, "transactional"
        )
        entry = new_entry(effect, key=f"gate/{person}/{next(_number)}", run=run, step=1, recipient=person, now=now)
        gate_pass = evaluation.GatePass(deps, connection, subject, None, now)
        await gate_pass.add(entry)
        await gate_pass.decide()


async def _p99_vs_select_1(rig: Rig, deps: Dependencies, people: list[tuple[str, Run]]) -> tuple[float, float]:
    """p99 in ms of a whole decision and of `SELECT 1`, measured in turn, so that both see the same machine."""
    person, run = people[0]
    decisions, selects = [], []
    for _ in range(PROBES):
        decisions += await _one_after_the_other(rig, deps, person, run, 1)
        began = time.perf_counter()
        async with rig.database.reading() as connection:
            await fetch_one(connection, _SELECT_ONE)
        selects.append(time.perf_counter() - began)
    return _p99(decisions) * 1_000, _p99(selects) * 1_000


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
