"""A worker crashes between committing a step and completing it in Temporal: the step counts once, nothing is lost."""

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
from tests.support.live_stack import LiveStack, live_stack, utc
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
    """The shipped templates with a policy that allows everything."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    for name in ("templates", "content.yaml"):
        (folder / name).symlink_to(ROOT / "catalog" / name)
    (folder / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        yield stack


async def begin_run(stack: LiveStack) -> str:
    """Open a run that waits for its timer; its id."""
    await stack.publish(JOURNEY)
    await stack.accept(stack.identify("ada", email="ada@example.com"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM runs WHERE step = 1")
    return str((await stack.rows("SELECT id FROM runs"))[0]["id"])


async def timer_step(stack: LiveStack, run: str) -> wire.StepInput:
    """The step of a worker whose timer fires now."""
    shown: dict[str, Any] = await stack.client.get_workflow_handle(run).query(wire.QUERY_STATE)
    state = state_from_json(shown["state"])
    async with stack.database.reading() as connection:
        chart = await stack.deps.catalogue.chart(connection, shown["definition"])
    due = state.next_due()
    assert due is not None
    decision = decide(chart, state, TimerDue(due))
    return wire.StepInput(
        run, shown["step"] + 1, shown["definition"], state_to_json(decision.state), log_to_json(decision.log),
        effects_to_json(decision.effects), utc("2026-01-01").isoformat(), due.isoformat(),
    )  # fmt: skip


async def test_a_signal_that_overtakes_a_committed_timer_on_retry_still_has_its_effects(stack: LiveStack) -> None:
    run = await begin_run(stack)
    await apply_step(stack.deps, await timer_step(stack, run))
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda count: count == 2)
    assert stack.mail.count() == 2
    assert (await stack.rows("SELECT max(step) AS step FROM runs"))[0]["step"] == 3
    shown: dict[str, Any] = await stack.client.get_workflow_handle(run).query(wire.QUERY_STATE)
    assert shown["step"] == 3
    lines = [
        (row["step"], row["about"]) for row in await stack.rows("SELECT step, about FROM timeline WHERE kind = 'gate'")
    ]
    assert lines == [(2, "send:setup/first-steps"), (3, "send:education/first-value")]


async def test_a_step_applied_twice_sends_and_emits_once(stack: LiveStack) -> None:
    step = await timer_step(stack, await begin_run(stack))
    first, second = await apply_step(stack.deps, step), await apply_step(stack.deps, step)
    assert first == second == Applied()
    assert stack.mail.count() == 1
    assert (await stack.rows("SELECT count(*) AS n FROM events WHERE name = 'reminded'"))[0]["n"] == 1


async def test_an_outdated_step_gets_the_committed_step_back(stack: LiveStack) -> None:
    run = await begin_run(stack)
    step = await timer_step(stack, run)
    await apply_step(stack.deps, step)
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.until("SELECT step FROM runs", lambda step_number: step_number == 3)
    outcome = await apply_step(stack.deps, replace(step, timer=None))
    assert isinstance(outcome, AlreadyCommitted)
    assert outcome.step == 3
    assert await stack.until("SELECT count(*) FROM messages") == 2


async def test_a_worker_whose_lease_expired_sends_and_settles_nothing(stack: LiveStack) -> None:
    step = await timer_step(stack, await begin_run(stack))
    async with stack.database.transaction() as connection:
        (entry,) = (await StepTransaction(stack.deps, connection, step).apply()).attempts
    assert entry.lease_until is not None
    await asyncio.sleep((entry.lease_until - datetime.now(UTC)).total_seconds() + 0.1)
    await outreach.settle_due(stack.deps, wire.SettleInput(entry.recipient, datetime.now(UTC).isoformat()), {})
    await stack.until("SELECT status = 'sent' FROM messages")
    assert stack.mail.count() == 1, "another worker took over the attempt, which had not reached the provider"
    await attempts.attempt(stack.deps, entry, datetime.now(UTC))
    assert stack.mail.count() == 1, "the first worker saw that its lease had expired"
    assert [dict(row) for row in await stack.rows("SELECT status, attempts FROM messages")] == [
        {"status": "sent", "attempts": 2}
    ]


async def test_an_attempt_that_arrived_is_found_and_not_repeated(stack: LiveStack) -> None:
    step = await timer_step(stack, await begin_run(stack))
    async with stack.database.transaction() as connection:
        (entry,) = (await StepTransaction(stack.deps, connection, step).apply()).attempts
    await stack.deps.channels["email"].deliver(
        Prepared(entry.reference or "", entry.address or "", entry.body or b""), entry.key
    )
    assert entry.lease_until is not None
    await asyncio.sleep((entry.lease_until - datetime.now(UTC)).total_seconds() + 0.1)
    await outreach.settle_due(stack.deps, wire.SettleInput(entry.recipient, datetime.now(UTC).isoformat()), {})
    assert stack.mail.count() == 1
    assert [dict(row) for row in await stack.rows("SELECT status, attempts, detail FROM messages")] == [
        {"status": "sent", "attempts": 1, "detail": "found at the provider"}
    ]
