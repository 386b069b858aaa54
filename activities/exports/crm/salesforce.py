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
MAX_SUBJECT: Final = 255
MAX_DESCRIPTION: Final = 32_000
"""Characters of a subject and a description in Salesforce."""


class Salesforce:
    """Tasks of a Salesforce organisation. The reference of a copy is its record id."""

    name: Final = "salesforce"
    table: ReplyTable = (
        ReplyRow("300", ReplyMeaning.PERMANENT, "", "two tasks have the same key: the field must be unique"),
        ReplyRow(
            "401",
            ReplyMeaning.OURS,
            "INVALID_SESSION_ID",
            "the access token has expired; tried once more with a new one",
        ),
        ReplyRow("403", ReplyMeaning.DOWN, "REQUEST_LIMIT_EXCEEDED", "the organisation's daily calls are used up"),
        ReplyRow("503", ReplyMeaning.DOWN, "SERVER_UNAVAILABLE", "overloaded"),
        *KEYED_TAIL,
    )

    def __init__(self, call: CrmCall) -> None:
        self._call = call

    async def push(self, task: CrmTask, reference: str | None) -> str:
        """Upsert the copy; its id. Raises CrmFault.

        201 is a new record, 200 a changed one, both with the id; before v46 a change was 204 without an id.
        """
        path = f"{DATA}/sobjects/Task/{KEY}/{quote(task.key, safe='')}"
        answer = _checked("upsert", await self._call("PATCH", path, _fields(task)))
        record = answer.get("id") if isinstance(answer, dict) else reference
        if not isinstance(record, str):
            raise CrmFault("salesforce upsert: no id")
        return record

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """Closed copies among these. A copy that is missing or hidden is null in the answer. Raises CrmFault."""
        body = {"ids": list(references), "fields": ["Id", "IsClosed", OUTCOME]}
        records = _checked("read", await self._call("POST", f"{DATA}/composite/sobjects/Task", body))
        closed = (record for record in records if record and record.get("IsClosed"))
        return {record["Id"]: CrmTaskClosed(record.get(OUTCOME) or None) for record in closed}


def _fields(task: CrmTask) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Subject": task.subject[:MAX_SUBJECT],
        "Description": "\n".join(task.lines)[:MAX_DESCRIPTION],
        "ActivityDate": (task.due_at or task.opened_at).date().isoformat(),
        "Priority": "High" if task.overdue else "Normal",
    }
    if task.settles:
        fields |= {"Status": "Not Started" if task.open else "Completed", OUTCOME: task.outcome}
    return fields if task.owner_id is None else {**fields, "OwnerId": task.owner_id}


def _checked(operation: str, reply: CrmReply) -> Any:
    if not 200 <= reply.status < 300:
        raise CrmFault(f"salesforce {operation}", reply.status)
    return reply.body
