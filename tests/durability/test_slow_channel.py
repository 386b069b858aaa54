"""A channel too slow for a step has a queue of its own: the step is an ordinary activity there, and never both."""

from __future__ import annotations

from pathlib import Path

from temporalio.api.enums.v1 import EventType

from journeys import wire
from tests.living import living

JOURNEY = """
journey: slow
entry: {on: signed_up}
goal: {on: activated}
topic: onboarding
start: waiting
states:
  waiting:
    on: {setup_completed: {do: [{send: education/first-value, via: [email]}]}}
"""


async def test_its_steps_are_ordinary_activities_on_its_queue(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with living(database_url, temporal_address, task_queue, tmp_path, near=False) as house:
        await house.publish(JOURNEY)
        await house.accept(house.identify("ada", email="ada@example.com"), house.track("ada", "signed_up"))
        await house.accept(house.track("ada", "setup_completed"))
        await house.until("SELECT count(*) FROM messages WHERE status = 'sent'")
        run = (await house.rows("SELECT id FROM runs"))[0]["id"]
        history = await house.client.get_workflow_handle(run).fetch_history()
        scheduled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
        queues = [e.activity_task_scheduled_event_attributes.task_queue.name for e in scheduled]
        assert queues == [wire.channel_queue(task_queue, "email")]
        assert house.mail.count() == 1
