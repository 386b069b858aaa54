"""Salesforce's tasks: an upsert by external id takes our key, so that a repeated one changes nothing (class A).

Source: Salesforce REST API, "Upsert using an external ID" and "Query". The `Task` object has the custom fields
`Tenure_Task_Key__c` (external id, unique) and `Tenure_Outcome__c`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from activities.mirrors.port import Call, Ended, MirrorFault, Reply, Shown

DATA: Final = "/services/data/v61.0"
KEY: Final = "Tenure_Task_Key__c"
OUTCOME: Final = "Tenure_Outcome__c"
SUBJECT: Final = 255
"""Characters that a subject may have there."""


class Salesforce:
    """Tasks in a Salesforce organisation. A copy's reference is our own key."""

    name: Final = "salesforce"

    def __init__(self, call: Call) -> None:
        self._call = call

    async def push(self, task: Shown, reference: str | None) -> str:
        """PATCH by external id: made if it is not there, else changed."""
        path = f"{DATA}/sobjects/Task/{KEY}/{quote(task.key, safe='')}"
        _done("upsert", await self._call("PATCH", path, _fields(task)))
        return reference or task.key

    async def ended(self, references: Sequence[str]) -> Mapping[str, Ended]:
        keys = ", ".join(f"'{_escaped(each)}'" for each in references)
        # SOQL has no parameters over HTTP; what is put in are keys of our own making, escaped.
        soql = f"SELECT {KEY}, {OUTCOME} FROM Task WHERE IsClosed = true AND {KEY} IN ({keys})"  # noqa: S608
        found = _done("query", await self._call("GET", f"{DATA}/query?q={quote(soql, safe='')}", None))
        return {item[KEY]: Ended(item.get(OUTCOME) or None) for item in found["records"]}


def _fields(task: Shown) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Subject": task.subject[:SUBJECT],
        "Description": task.body,
        "ActivityDate": (task.due_at or task.opened_at).date().isoformat(),
        "Priority": "High" if task.overdue else "Normal",
    }
    if task.settles:
        found |= {"Status": "Not Started" if task.open else "Completed", OUTCOME: task.outcome}
    return found if task.owner_id is None else {**found, "OwnerId": task.owner_id}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _done(what: str, reply: Reply) -> Any:
    if not 200 <= reply.status < 300:
        raise MirrorFault(f"salesforce {what}", reply.status)
    return reply.body
