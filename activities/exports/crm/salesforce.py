"""Tasks in Salesforce: an upsert by external id (class A).

Source: Salesforce REST API Developer Guide, "Insert or Update (Upsert) a Record Using an External ID" and "Get Records With
a Request Body Using sObject Collections". The `Task` object has the custom fields `Tenure_Task_Key__c` (external id, unique)
and `Tenure_Outcome__c`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow, ReplyTable
from activities.exports.crm.port import CrmCall, CrmFault, CrmReply, CrmTask, CrmTaskClosed

DATA: Final = "/services/data/v61.0"
KEY: Final = "Tenure_Task_Key__c"
OUTCOME: Final = "Tenure_Outcome__c"
SUBJECT: Final = 255
DESCRIPTION: Final = 32_000
"""Characters that a subject and a description may have there."""


class Salesforce:
    """Tasks in a Salesforce organisation. A copy's reference is its id there."""

    name: Final = "salesforce"
    table: ReplyTable = (
        ReplyRow("300", ReplyMeaning.PERMANENT, "", "two tasks there have the same key: the field must be unique"),
        ReplyRow(
            "401", ReplyMeaning.OURS, "INVALID_SESSION_ID", "the access token is over; asked once more with a new one"
        ),
        ReplyRow("403", ReplyMeaning.DOWN, "REQUEST_LIMIT_EXCEEDED", "the organisation's calls of the day are used up"),
        ReplyRow("503", ReplyMeaning.DOWN, "SERVER_UNAVAILABLE", "overloaded"),
        *KEYED_TAIL,
    )

    def __init__(self, call: CrmCall) -> None:
        self._call = call

    async def push(self, task: CrmTask, reference: str | None) -> str:
        """201 is made, 200 changed, both with the id; before v46 a change is 204 without."""
        path = f"{DATA}/sobjects/Task/{KEY}/{quote(task.key, safe='')}"
        found = _done("upsert", await self._call("PATCH", path, _fields(task)))
        where = found.get("id") if isinstance(found, dict) else reference
        if not isinstance(where, str):
            raise CrmFault("salesforce upsert: no id")
        return where

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """The list has a null for what is not there, or not for us to see."""
        body = {"ids": list(references), "fields": ["Id", "IsClosed", OUTCOME]}
        found = _done("read", await self._call("POST", f"{DATA}/composite/sobjects/Task", body))
        closed = (item for item in found if item and item.get("IsClosed"))
        return {item["Id"]: CrmTaskClosed(item.get(OUTCOME) or None) for item in closed}


def _fields(task: CrmTask) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Subject": task.subject[:SUBJECT],
        "Description": "\n".join(task.lines)[:DESCRIPTION],
        "ActivityDate": (task.due_at or task.opened_at).date().isoformat(),
        "Priority": "High" if task.overdue else "Normal",
    }
    if task.settles:
        found |= {"Status": "Not Started" if task.open else "Completed", OUTCOME: task.outcome}
    return found if task.owner_id is None else {**found, "OwnerId": task.owner_id}


def _done(what: str, reply: CrmReply) -> Any:
    if not 200 <= reply.status < 300:
        raise CrmFault(f"salesforce {what}", reply.status)
    return reply.body
