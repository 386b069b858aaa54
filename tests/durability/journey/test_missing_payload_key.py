"""A worker without a payload's key decides nothing: its task fails, and the run goes on where the key is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.support.live_stack import until
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.payload_keys import read_payload_keys
from worker.temporal import EncryptedCompression, data_converter

JOURNEY = """
journey: kept
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {on: {setup_completed: helped}}
  helped: {final: done}
"""


async def _failures(client: Client, run: str) -> list[str]:
    """What failed workflow tasks of the run say, with the causes, to whoever has the key of the worker that failed."""
    history = await client.get_workflow_handle(run).fetch_history()
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    failures = [
        event.workflow_task_failed_event_attributes.failure for event in history.events if event.event_type == failed
    ]
    errors = [await client.data_converter.decode_failure(failure) for failure in failures]
    return [" ".join(map(str, (error, error.__cause__))) for error in errors]


async def test_a_worker_without_the_key_fails_its_task_and_the_run_goes_on_where_the_key_is(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        async with running_relay(stack):
            async with worker(stack):
                await stack.accept(stack.track("ada", "signed_up"))
                await stack.until("SELECT state FROM runs WHERE state = 'waiting'")
            run = (await stack.rows("SELECT id FROM runs"))[0]["id"]
            other = data_converter(EncryptedCompression(read_payload_keys([f"other={'s' * 32}"])))
            stranger = await Client.connect(temporal_address, data_converter=other)
            await stack.accept(stack.track("ada", "setup_completed"))
            async with worker(replace(stack, client=stranger)):
                failures = await until(lambda: _failures(stranger, run), bool, waiting_for="a failed task")
            assert "which TENURE_PAYLOAD_KEYS lacks" in failures[0]
            assert (await stack.rows("SELECT state FROM runs"))[0]["state"] == "waiting"
            async with worker(stack):
                assert await stack.until("SELECT outcome FROM runs") == "done"
