"""Workers on machines whose clocks are ten seconds wrong: record 0001 and class B hold (A6)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.live_stack import LiveStack
from tests.support.worker_parts import stack_without_workers, worker_process
from worker.settings import ROOT

JOURNEY = """
journey: skewed
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [email]}]
    after: {PT2S: later}
    on: {activated: won}
  later: {final: later}
  won: {final: won}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates, and a policy without rules."""
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


@pytest.mark.parametrize("seconds", ["10", "-10"])
async def test_A6_messages_are_sent_once_and_timers_fire_in_order_on_a_skewed_machine(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path, seconds: str
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack,
        worker_process(stack, TENURE_CLOCK_OFFSET_SECONDS=seconds),
    ):
        await stack.publish(JOURNEY)
        await stack.accept(
            stack.identify("ada", email="ada@example.com", first_name="Ada"), stack.track("ada", "signed_up")
        )
        assert await stack.until("SELECT outcome FROM runs") == "later"
        await stack.until("SELECT status FROM messages", lambda status: status == "sent")
        await _check(stack)


async def _check(stack: LiveStack) -> None:
    """By PostgreSQL's clock nothing was decided before its time, and no event is accepted before a decided timer."""
    (run,) = await stack.rows(
        "SELECT last_at <= clock_timestamp() AS past, last_at - started_at BETWEEN interval '2 seconds' AND interval '9 seconds' "
        "AS due FROM runs"
    )
    assert dict(run) == {"past": True, "due": True}
    (message,) = await stack.rows("SELECT status, attempts, decided_at <= clock_timestamp() AS past FROM messages")
    assert (message["status"], message["attempts"], message["past"]) == ("sent", 1, True)
    await stack.accept(stack.track("ada", "activated"))
    (row,) = await stack.rows(
        "SELECT e.at >= s.decided_at AS later FROM events e JOIN subjects s ON s.key = e.subject_key WHERE e.name = 'activated'"
    )
    assert row["later"]
