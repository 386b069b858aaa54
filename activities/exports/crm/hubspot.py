"""Tasks in HubSpot: an upsert by our unique key (class A).

Source: HubSpot CRM API v3, `POST /crm/v3/objects/tasks/batch/upsert` and `…/batch/read`; property names and their words
from the guide to tasks (`developers.hubspot.com/docs/api-reference/latest/crm/activities/tasks/guide`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from typing import Any, Final

from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow, ReplyTable, without_personal_data
from activities.exports.crm.port import KEY, OUTCOME, CrmCall, CrmFault, CrmReply, CrmTask, CrmTaskClosed

PATH: Final = "/crm/v3/objects/tasks"
BODY: Final = 65_536
"""Characters that a task's body may have there."""


class HubSpot:
    """Tasks in a HubSpot account. A copy's reference is its number there."""

    name: Final = "hubspot"
    table: ReplyTable = (
        ReplyRow(
            "400",
            ReplyMeaning.PERMANENT,
            "VALIDATION_ERROR",
            "a property that is not there, or a word that it does not take",
        ),
        ReplyRow("403", ReplyMeaning.OURS, "MISSING_SCOPES", "the app may not change tasks"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "RATE_LIMITS", "too fast; nothing is asked for 10 s"),
        *KEYED_TAIL,
    )

    def __init__(self, call: CrmCall) -> None:
        self._call = call

    async def push(self, task: CrmTask, reference: str | None) -> str:  # noqa: ARG002 -- our key finds it
        given = {"id": task.key, "idProperty": KEY, "properties": _properties(task)}
        found = _done("upsert", await self._call("POST", f"{PATH}/batch/upsert", {"inputs": [given]}))
        if not found.get("results"):
            raise CrmFault(f"hubspot upsert: {without_personal_data(str(found.get('errors')))[:200]}")
        return str(found["results"][0]["id"])

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """One that somebody has deleted there is not in the answer."""
        body = {"inputs": [{"id": each} for each in references], "properties": ["hs_task_status", OUTCOME]}
        found = _done("read", await self._call("POST", f"{PATH}/batch/read", {**body, "propertiesWithHistory": []}))
        return {
            str(item["id"]): CrmTaskClosed(item["properties"].get(OUTCOME) or None)
            for item in found.get("results", ())
            if item["properties"].get("hs_task_status") == "COMPLETED"
        }


def _properties(task: CrmTask) -> dict[str, Any]:
    """`hs_timestamp`, when it is due, is required; the body is HTML; an owner that is not known there is left as it is."""
    due = (task.due_at or task.opened_at).astimezone(UTC)
    found = {
        KEY: task.key,
        "hs_task_subject": task.subject,
        "hs_task_body": "<br>".join(escape(line) for line in task.lines)[:BODY],
        "hs_timestamp": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hs_task_priority": "HIGH" if task.overdue else "MEDIUM",
        "hs_task_type": "TODO",
    }
    if task.settles:
        found |= {"hs_task_status": "NOT_STARTED" if task.open else "COMPLETED", OUTCOME: task.outcome or ""}
    return found if task.owner_id is None else {**found, "hubspot_owner_id": task.owner_id}


def _done(what: str, reply: CrmReply) -> Any:
    if not 200 <= reply.status < 300 or not isinstance(reply.body, dict):
        raise CrmFault(f"hubspot {what}", reply.status)
    return reply.body
