"""Tasks in HubSpot: an upsert by our unique key (class A).

Source: HubSpot CRM API v3, `POST /crm/v3/objects/tasks/batch/upsert` and `…/batch/read`; names and values of properties from the
guide to tasks (`developers.hubspot.com/docs/api-reference/latest/crm/activities/tasks/guide`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from typing import Any, Final

from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow, ReplyTable, without_personal_data
from activities.exports.crm.port import KEY, OUTCOME, CrmCall, CrmFault, CrmReply, CrmTask, CrmTaskClosed

PATH: Final = "/crm/v3/objects/tasks"
MAX_BODY: Final = 65_536
"""Characters of a task's body in HubSpot."""


class HubSpot:
    """Tasks of a HubSpot account. The reference of a copy is its object id."""

    name: Final = "hubspot"
    table: ReplyTable = (
        ReplyRow(
            "400",
            ReplyMeaning.PERMANENT,
            "VALIDATION_ERROR",
            "a missing property, or a value that it does not accept",
        ),
        ReplyRow("403", ReplyMeaning.OURS, "MISSING_SCOPES", "the app may not change tasks"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "RATE_LIMITS", "too fast; calls pause for 10 s"),
        *KEYED_TAIL,
    )

    def __init__(self, call: CrmCall) -> None:
        self._call = call

    async def push(self, task: CrmTask, reference: str | None) -> str:  # noqa: ARG002 — our key finds the copy
        """Upsert the copy by our key; its id. Raises CrmFault."""
        copy = {"id": task.key, "idProperty": KEY, "properties": _properties(task)}
        answer = _checked("upsert", await self._call("POST", f"{PATH}/batch/upsert", {"inputs": [copy]}))
        if not answer.get("results"):
            raise CrmFault(f"hubspot upsert: {without_personal_data(str(answer.get('errors')))[:200]}")
        return str(answer["results"][0]["id"])

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """Closed copies among these. A copy deleted in HubSpot is not in the answer. Raises CrmFault."""
        body = {"inputs": [{"id": reference} for reference in references], "properties": ["hs_task_status", OUTCOME]}
        answer = _checked("read", await self._call("POST", f"{PATH}/batch/read", {**body, "propertiesWithHistory": []}))
        return {
            str(item["id"]): CrmTaskClosed(item["properties"].get(OUTCOME) or None)
            for item in answer.get("results", ())
            if item["properties"].get("hs_task_status") == "COMPLETED"
        }


def _properties(task: CrmTask) -> dict[str, Any]:
    """Properties of a copy. `hs_timestamp` (due date) is required, the body is HTML, an unknown owner is left unchanged."""
    due = (task.due_at or task.opened_at).astimezone(UTC)
    properties = {
        KEY: task.key,
        "hs_task_subject": task.subject,
        "hs_task_body": "<br>".join(escape(line) for line in task.lines)[:MAX_BODY],
        "hs_timestamp": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hs_task_priority": "HIGH" if task.overdue else "MEDIUM",
        "hs_task_type": "TODO",
    }
    if task.settles:
        properties |= {"hs_task_status": "NOT_STARTED" if task.open else "COMPLETED", OUTCOME: task.outcome or ""}
    return properties if task.owner_id is None else {**properties, "hubspot_owner_id": task.owner_id}


def _checked(operation: str, reply: CrmReply) -> Any:
    if not 200 <= reply.status < 300 or not isinstance(reply.body, dict):
        raise CrmFault(f"hubspot {operation}", reply.status)
    return reply.body
