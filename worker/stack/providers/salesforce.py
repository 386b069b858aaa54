"""Salesforce simulated: tokens, and tasks by id or external key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.crm_tasks import change_crm_task, task_with, tasks_of

MAX_BATCH = 2_000
_STATUSES = {"Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"}
_FIELDS = {"Subject", "Description", "ActivityDate", "Priority", "Status", "OwnerId", "WhatId", "WhoId"}
_EXTERNAL, _OUTCOME = "Tenure_Task_Key__c", "Tenure_Outcome__c"


def _salesforce_error(status: int, code: str, words: str = "refused") -> list[dict[str, object]]:
    usual = {401: "INVALID_SESSION_ID", 404: "NOT_FOUND", 503: "SERVER_UNAVAILABLE"}.get(status, "INVALID_FIELD")
    return [{"message": words, "errorCode": code or usual}]


def _no(status: int, code: str = "") -> Response:
    return JSONResponse(_salesforce_error(status, code), status)


async def _salesforce_token(call: VendorRequest) -> Response:
    """Client-credentials flow (RFC 6749 §4.4). As at Salesforce, the answer has no `expires_in`."""
    form = call.form
    secret = form.get("client_secret") or call.basic()[1]
    if form.get("grant_type") != "client_credentials" or secret != call.key:
        return JSONResponse({"error": "invalid_client", "error_description": "invalid client credentials"}, 400)
    base_url = str(call.request.base_url).rstrip("/")
    answer = {
        "access_token": call.key,
        "token_type": "Bearer",
        "instance_url": f"{base_url}/salesforce",
        "scope": "api",
    }
    return JSONResponse({**answer, "issued_at": str(int(datetime.now(UTC).timestamp() * 1000)), "signature": "s"})


def _fault_of(fields: Mapping[str, Any]) -> str:
    if set(fields) - _FIELDS - {_EXTERNAL, _OUTCOME}:
        return "INVALID_FIELD"
    if len(str(fields.get("Subject", ""))) > 255:
        return "STRING_TOO_LONG"
    return "" if fields.get("Status", "Completed") in _STATUSES else "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"


async def _upsert(call: VendorRequest) -> Response:
    if not call.bearer:
        return _no(401)
    fields, key = call.json, call.path("key")
    if call.path("field") != _EXTERNAL:
        return _no(404)
    if code := _fault_of(fields):
        return _no(400, code)
    known = task_with(call.accepted, "salesforce", _EXTERNAL, key)
    identity = known or f"00T{len(call.accepted.items) + 1:012d}AAA"
    begun = {} if known else {_EXTERNAL: key, "Status": "Not Started"}
    change_crm_task(call.accepted, "salesforce", identity, {**begun, **fields})
    answer = {"id": identity, "success": True, "errors": [], "created": known is None}
    return JSONResponse(answer, 200 if known else 201)


def _record(identity: str, task: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    known = {**task, "Id": identity, "IsClosed": task.get("Status") == "Completed"}
    attributes = {"type": "Task", "url": f"/services/data/v61.0/sobjects/Task/{identity}"}
    return {"attributes": attributes, **{name: known.get(name) for name in fields}}


async def _collection(call: VendorRequest) -> Response:
    if not call.bearer:
        return _no(401)
    ids, fields = call.json.get("ids") or [], call.json.get("fields") or []
    if not 0 < len(ids) <= MAX_BATCH or not set(fields) <= {*_FIELDS, _EXTERNAL, _OUTCOME, "Id", "IsClosed"}:
        return _no(400)
    tasks = tasks_of(call.accepted, "salesforce")
    return JSONResponse([_record(task_id, tasks[task_id], fields) if task_id in tasks else None for task_id in ids])


async def _task(call: VendorRequest) -> Response:
    """`GET`, `PATCH` and `DELETE` of one task by its id."""
    if not call.bearer:
        return _no(401)
    identity, method = call.path("id"), call.request.method
    task = tasks_of(call.accepted, "salesforce").get(identity)
    if task is None:
        return _no(404)
    if method == "GET":
        return JSONResponse(_record(identity, task, ["Id", "IsClosed", *task]))
    if method == "PATCH" and (code := _fault_of(call.json)):
        return _no(400, code)
    if method == "PATCH":
        change_crm_task(call.accepted, "salesforce", identity, call.json)
    else:
        call.accepted.add("salesforce", to=identity, content={})
    return Response(status_code=204)


_DATA = "/services/data/{version}"
SALESFORCE = Vendor(
    "salesforce",
    (
        ("POST", "/services/oauth2/token", _salesforce_token),
        ("PATCH", f"{_DATA}/sobjects/Task/{{field}}/{{key}}", _upsert),
        ("POST", f"{_DATA}/composite/sobjects/Task", _collection),
        *((method, f"{_DATA}/sobjects/Task/{{id}}", _task) for method in ("GET", "PATCH", "DELETE")),
    ),
    _salesforce_error,
)
