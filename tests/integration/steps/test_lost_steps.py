"""A worker dies after it committed a step and before Temporal knew: what it committed stands, and nothing else is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.delivery import attempts, outreach
from activities.ports import Prepared
from activities.steps.apply import StepTransaction, apply_step
from journeys.decision.decide import decide
from journeys.decision.effects import effects_to_json, log_to_json
from journeys.decision.occurrences import TimerDue
from journeys.decision.state import state_from_json, state_to_json
from journeys.protocol import wire
from journeys.protocol.step_outcome import AlreadyCommitted, Applied
from tests.support.live_stack import Living, living, utc
from worker.settings import ROOT

JOURNEY = """
journey: lost-steps
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    on: {setup_completed: {do: [{send: education/first-value, via: [email]}]}}
    after:
      PT1H: {do: [{send: setup/first-steps, via: [email]}, {emit: reminded}]}
  over: {final: finished}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates under a policy that allows everything."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    for name in ("templates", "content.yaml"):
        (folder / name).symlink_to(ROOT / "catalog" / name)
    (folder / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (folder / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    return folder


@pytest_asyncio.fixture
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


async def begun(deps: Living) -> str:
    """A run that waits for its timer; its id."""
    await deps.publish(JOURNEY)
    await deps.accept(deps.identify("ada", email="ada@example.com"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM runs WHERE step = 1")
    return str((await deps.rows("SELECT id FROM runs"))[0]["id"])


async def timer_step(deps: Living, run: str) -> wire.StepInput:
    """What a worker whose timer rang now would hand to its step."""
    known: dict[str, Any] = await deps.client.get_workflow_handle(run).query(wire.QUERY_STATE)
    state = state_from_json(known["state"])
    async with deps.database.reading() as connection:
        chart = await deps.deps.catalogue.chart(connection, known["definition"])
    due = state.next_due()
    assert due is not None
    decision = decide(chart, state, TimerDue(due))
    return wire.StepInput(
        run, known["step"] + 1, known["definition"], state_to_json(decision.state), log_to_json(decision.log),
        effects_to_json(decision.effects), utc("2026-01-01").isoformat(), due.isoformat(),
    )  # fmt: skip


async def test_a_signal_that_overtakes_a_committed_timer_on_the_retry_still_has_its_effects(deps: Living) -> None:
    run = await begun(deps)
    await apply_step(deps.deps, await timer_step(deps, run))
    await deps.accept(deps.track("ada", "setup_completed"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda count: count == 2)
    assert deps.mail.count() == 2
    assert (await deps.rows("SELECT max(step) AS step FROM runs"))[0]["step"] == 3
    known: dict[str, Any] = await deps.client.get_workflow_handle(run).query(wire.QUERY_STATE)
    assert known["step"] == 3
    lines = [
        (row["step"], row["about"]) for row in await deps.rows("SELECT step, about FROM timeline WHERE kind = 'gate'")
    ]
    assert lines == [(2, "send:setup/first-steps"), (3, "send:education/first-value")]


async def test_a_step_applied_twice_sends_and_emits_once(deps: Living) -> None:
    step = await timer_step(deps, await begun(deps))
    first, second = await apply_step(deps.deps, step), await apply_step(deps.deps, step)
    assert first == second == Applied()
    assert deps.mail.count() == 1
    assert (await deps.rows("SELECT count(*) AS n FROM events WHERE name = 'reminded'"))[0]["n"] == 1


async def test_a_step_of_the_past_learns_what_stands(deps: Living) -> None:
    run = await begun(deps)
    step = await timer_step(deps, run)
    await apply_step(deps.deps, step)
    await deps.accept(deps.track("ada", "setup_completed"))
    await deps.until("SELECT step FROM runs", lambda found: found == 3)
    outcome = await apply_step(deps.deps, replace(step, timer=None))
    assert isinstance(outcome, AlreadyCommitted)
    assert outcome.step == 3
    assert await deps.until("SELECT count(*) FROM messages") == 2


async def test_a_zombie_sends_nothing_once_its_lease_is_over_and_settles_nothing(deps: Living) -> None:
    step = await timer_step(deps, await begun(deps))
    async with deps.database.transaction() as connection:
        (entry,) = (await StepTransaction(deps.deps, connection, step).apply()).attempts
    assert entry.lease_until is not None
    await asyncio.sleep((entry.lease_until - datetime.now(UTC)).total_seconds() + 0.1)
    await outreach.settle_due(deps.deps, wire.SettleInput(entry.recipient, datetime.now(UTC).isoformat()), {})
    await deps.until("SELECT status = 'sent' FROM messages")
    assert deps.mail.count() == 1, "another worker took over what was not at the provider"
    await attempts.attempt(deps.deps, entry, datetime.now(UTC))
    assert deps.mail.count() == 1, "the first worker woke up and looked at the clock"
    assert [dict(row) for row in await deps.rows("SELECT status, attempts FROM messages")] == [
        {"status": "sent", "attempts": 2}
    ]


async def test_an_attempt_that_arrived_is_found_and_not_made_again(deps: Living) -> None:
    step = await timer_step(deps, await begun(deps))
    async with deps.database.transaction() as connection:
        (entry,) = (await StepTransaction(deps.deps, connection, step).apply()).attempts
    await deps.deps.channels["email"].deliver(
        Prepared(entry.reference or "", entry.address or "", entry.body or b""), entry.key
    )
    assert entry.lease_until is not None
    await asyncio.sleep((entry.lease_until - datetime.now(UTC)).total_seconds() + 0.1)
    await outreach.settle_due(deps.deps, wire.SettleInput(entry.recipient, datetime.now(UTC).isoformat()), {})
    assert deps.mail.count() == 1
    assert [dict(row) for row in await deps.rows("SELECT status, attempts, detail FROM messages")] == [
        {"status": "sent", "attempts": 1, "detail": "found at the provider"}
    ]
