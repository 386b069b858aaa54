"""`python -m worker` copies tasks to the configured CRMs; a task closed there is closed here and moves its journey."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.crms import NAMES, provided_by
from tests.support.live_stack import until
from tests.support.worker_parts import running_relay, stack_without_workers, worker_process
from worker.settings import PREFIX
from worker.stack.providers.crm_tasks import tasks_of
from worker.stack.providers.environment import KEY
from worker.stack.providers.serving import LocalProvider, local_provider

JOURNEY = """
journey: helping
entry: {on: help_wanted, again: never}
start: needed
states:
  needed:
    do: [{task: renewal-call, owner: dana}]
    on: {renewal-call.closed: {to: done, when: event.outcome == "agreed"}}
  done: {final: helped}
"""
TYPES = {"event.renewal-call.closed.outcome": "string"}
TASKS = "hubspot/crm/v3/objects/tasks"


def crms(local: LocalProvider) -> dict[str, str]:
    """The environment of a worker with two CRMs."""
    given = provided_by(local, *NAMES).model_dump(exclude_defaults=True)
    plain = {name: getattr(value, "get_secret_value", lambda v=value: v)() for name, value in given.items()}
    return {PREFIX + name.upper(): str(value) for name, value in plain.items()} | {"TENURE_CRM_READ_SECONDS": "1"}


@pytest.mark.slow
async def test_C10_a_task_is_copied_to_every_crm_and_closing_one_copy_moves_the_journey(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        local_provider() as local,
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
    ):
        kept = local.provider.accepted
        await stack.publish(JOURNEY, TYPES)
        async with (
            worker_process(stack, **crms(local)),
            running_relay(stack),
            httpx.AsyncClient(base_url=local.url) as person,
        ):
            await stack.accept(stack.track("ada", "help_wanted"))
            await until(lambda: _shown(local, "hubspot"))
            await until(lambda: _shown(local, "salesforce"))
            (number,) = tasks_of(kept, "hubspot")
            ticked = {"properties": {"hs_task_status": "COMPLETED", "tenure_outcome": "agreed"}}
            answer = await person.patch(f"/{TASKS}/{number}", json=ticked, headers={"authorization": f"Bearer {KEY}"})
            assert answer.status_code == 200
            await stack.until("SELECT outcome FROM runs", lambda outcome: outcome == "helped")
            assert (await stack.rows("SELECT closed_by FROM tasks"))[0]["closed_by"] == "hubspot"
            await until(lambda: _shown(local, "salesforce", "Completed"))


async def _shown(local: LocalProvider, name: str, status: str = "") -> bool:
    shown = tasks_of(local.provider.accepted, name).values()
    return any(not status or task.get("Status") == status for task in shown)
