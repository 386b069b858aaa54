"""Tasks of a simulated CRM.

Every change is stored as the whole task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.stack.providers.accepted import AcceptedItems


def tasks_of(accepted: AcceptedItems, provider: str) -> dict[str, dict[str, Any]]:
    """The current tasks by id."""
    tasks: dict[str, dict[str, Any]] = {}
    for item in accepted.search(provider=provider):
        tasks[item["to"]] = item["content"]
    return {identity: task for identity, task in tasks.items() if task}


def change_crm_task(accepted: AcceptedItems, provider: str, identity: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set fields of a task, or of a new one if there is none with this id; the whole task as it is now."""
    task = {**tasks_of(accepted, provider).get(identity, {}), **fields}
    accepted.add(provider, to=identity, content=task)
    return task


def task_with(accepted: AcceptedItems, provider: str, field: str, key: str) -> str | None:
    """Id of the task whose field has this value, whatever its case, as CRMs compare external keys."""
    wanted = key.lower()
    tasks = tasks_of(accepted, provider).items()
    return next((identity for identity, task in tasks if str(task.get(field, "")).lower() == wanted), None)
