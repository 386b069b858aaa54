"""HubSpot's tasks (`/crm/v3/objects/tasks`). It takes no key of ours for a new one, so a copy is looked for before it is made.

Source: HubSpot CRM API v3, objects, search and batch read. A new object is found by search some seconds later only, which is
why an attempt whose end nobody saw is repeated after a minute (class B).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from activities.mirrors.port import KEY, OUTCOME, Call, Ended, MirrorFault, Reply, Shown

PATH: Final = "/crm/v3/objects/tasks"


class HubSpot:
    """Tasks in a HubSpot portal."""

    name: Final = "hubspot"

    def __init__(self, call: Call) -> None:
        self._call = call

    async def push(self, task: Shown, reference: str | None) -> str:
        """PATCH the copy; one that somebody has deleted there is made again."""
        known = reference or await self._find(task.key)
        body = {"properties": _properties(task)}
        if known is not None:
            reply = await self._call("PATCH", f"{PATH}/{known}", body)
            if reply.status != 404:
                _done("update", reply)
                return known
        made = _done("create", await self._call("POST", PATH, body))
        return str(made["id"])

    async def ended(self, references: Sequence[str]) -> Mapping[str, Ended]:
        body = {"inputs": [{"id": each} for each in references], "properties": ["hs_task_status", OUTCOME]}
        found = _done("read", await self._call("POST", f"{PATH}/batch/read", body))
        return {
            str(item["id"]): Ended(item["properties"].get(OUTCOME) or None)
            for item in found["results"]
            if item["properties"].get("hs_task_status") == "COMPLETED"
        }

    async def _find(self, key: str) -> str | None:
        wanted = {"propertyName": KEY, "operator": "EQ", "value": key}
        body = {"filterGroups": [{"filters": [wanted]}], "properties": [KEY], "limit": 1}
        found = _done("search", await self._call("POST", f"{PATH}/search", body))["results"]
        return str(found[0]["id"]) if found else None


def _properties(task: Shown) -> dict[str, Any]:
    """`hs_timestamp`, when it is due, is required; an owner that is not known there is left as it is."""
    found = {
        KEY: task.key,
        "hs_task_subject": task.subject,
        "hs_task_body": task.body,
        "hs_timestamp": (task.due_at or task.opened_at).isoformat(),
        "hs_task_priority": "HIGH" if task.overdue else "MEDIUM",
        "hs_task_type": "TODO",
    }
    if task.settles:
        found |= {"hs_task_status": "NOT_STARTED" if task.open else "COMPLETED", OUTCOME: task.outcome or ""}
    return found if task.owner_id is None else {**found, "hubspot_owner_id": task.owner_id}


def _done(what: str, reply: Reply) -> Any:
    if not 200 <= reply.status < 300 or not isinstance(reply.body, dict):
        raise MirrorFault(f"hubspot {what}", reply.status)
    return reply.body
