"""HubSpot's and Salesforce's tasks, as far as a mirror of ours and a person with `curl` need them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.accepted import AcceptedItems
from worker.stack.providers.app import Vendor, VendorRequest

_AT = "2026-01-05T09:00:00.000Z"
_MOST = {"hubspot": 100, "salesforce": 2_000}


def tasks_of(kept: AcceptedItems, provider: str) -> dict[str, dict[str, Any]]:
    """The tasks that are there now, by id: every change is kept as the whole task, one that was deleted as nothing."""
    found: dict[str, dict[str, Any]] = {}
    for item in kept.search(provider=provider):
        found[item["to"]] = item["content"]
    return {identity: task for identity, task in found.items() if task}


def change_crm_task(kept: AcceptedItems, provider: str, identity: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A task as it is after this; a new one if the id is not there."""
    task = {**tasks_of(kept, provider).get(identity, {}), **fields}
    kept.add(provider, to=identity, content=task)
    return task


def _by(kept: AcceptedItems, provider: str, field: str, key: str) -> str | None:
    """Keys are the same in small or big letters there."""
    wanted = key.lower()
    tasks = tasks_of(kept, provider).items()
    return next((identity for identity, task in tasks if str(task.get(field, "")).lower() == wanted), None)


# -- HubSpot -----------------------------------------------------------------------------------------------------------

_WORDS = {
    "hs_task_status": {"NOT_STARTED", "IN_PROGRESS", "WAITING", "DEFERRED", "COMPLETED"},
    "hs_task_priority": {"NONE", "LOW", "MEDIUM", "HIGH"},
    "hs_task_type": {"TODO", "CALL", "EMAIL"},
}
_PROPERTIES = {*_WORDS, "hs_task_subject", "hs_task_body", "hs_timestamp", "hubspot_owner_id", "tenure_outcome"}
_UNIQUE = "tenure_task_key"
_NEW = {"hs_task_status": "NOT_STARTED", "hs_task_priority": "NONE", "hs_task_type": "TODO"}


def _hubspot_error(status: int, code: str, words: str = "refused") -> dict[str, object]:
    usual = {401: "INVALID_AUTHENTICATION", 404: "OBJECT_NOT_FOUND", 429: "RATE_LIMITS"}.get(status, "VALIDATION_ERROR")
    return {"status": "error", "message": words, "correlationId": "a-1", "category": code or usual}


def _refused(status: int, words: str = "refused") -> Response:
    return JSONResponse(_hubspot_error(status, "", words), status)


def _wrong(properties: Mapping[str, Any], *, new: bool) -> str:
    """What HubSpot does not take of these properties; empty if all is well."""
    for name, value in properties.items():
        if name not in _PROPERTIES | {_UNIQUE}:
            return f'Property "{name}" does not exist'
        if value not in _WORDS.get(name, {value}):
            return f"{value} was not one of the allowed options"
    stamp = str(properties.get("hs_timestamp", ""))
    if (new or stamp) and not (stamp.isdigit() or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", stamp)):
        return "hs_timestamp is not an instant"
    return ""


def _object(identity: str, task: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    shown = {**task, "hs_object_id": identity}
    return {"id": identity, "properties": shown, "createdAt": _AT, "updatedAt": _AT, "archived": False, **more}


def _batch(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"status": "COMPLETE", "results": results, "startedAt": _AT, "completedAt": _AT}


async def _upsert_batch(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return _refused(401)
    inputs = asked.json.get("inputs") or []
    if not 0 < len(inputs) <= _MOST["hubspot"]:
        return _refused(400, "inputs")
    for each in inputs:
        new = _by(asked.kept, "hubspot", _UNIQUE, each.get("id", "")) is None
        if each.get("idProperty") != _UNIQUE or not each.get("id"):
            return _refused(400, "idProperty has no unique values")
        if words := _wrong(each.get("properties", {}), new=new):
            return _refused(400, words)
    results = []
    for each in inputs:
        known = _by(asked.kept, "hubspot", _UNIQUE, each["id"])
        identity = known or str(1001 + len(asked.kept.items))
        begun = {} if known else {_UNIQUE: each["id"], **_NEW}
        task = change_crm_task(asked.kept, "hubspot", identity, {**begun, **each["properties"]})
        results.append(_object(identity, task, new=known is None))
    return JSONResponse(_batch(results))


async def _read_batch(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return _refused(401)
    given = asked.json
    inputs, wanted = given.get("inputs") or [], given.get("properties") or []
    if not 0 < len(inputs) <= _MOST["hubspot"] or "propertiesWithHistory" not in given:
        return _refused(400)
    tasks = tasks_of(asked.kept, "hubspot")
    found = [str(each.get("id")) for each in inputs if str(each.get("id")) in tasks]
    results = [_object(n, {name: tasks[n].get(name) for name in wanted}) for n in found]
    return JSONResponse(_batch(results))


async def _create(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return _refused(401)
    properties = asked.json.get("properties") or {}
    if words := _wrong(properties, new=True):
        return _refused(400, words)
    identity = str(1001 + len(asked.kept.items))
    return JSONResponse(_object(identity, change_crm_task(asked.kept, "hubspot", identity, _NEW | properties)), 201)


async def _one(asked: VendorRequest) -> Response:
    """`GET`, `PATCH` and `DELETE` of one task."""
    if not asked.bearer:
        return _refused(401)
    identity, method = asked.path("id"), asked.request.method
    task = tasks_of(asked.kept, "hubspot").get(identity)
    if task is None:
        return _refused(404)
    if method == "DELETE":
        asked.kept.add("hubspot", to=identity, content={})
        return Response(status_code=204)
    if method == "PATCH":
        properties = asked.json.get("properties") or {}
        if words := _wrong(properties, new=False):
            return _refused(400, words)
        task = change_crm_task(asked.kept, "hubspot", identity, properties)
    return JSONResponse(_object(identity, task))


_TASKS = "/crm/v3/objects/tasks"
HUBSPOT = Vendor(
    "hubspot",
    (
        ("POST", _TASKS, _create),
        ("POST", f"{_TASKS}/batch/upsert", _upsert_batch),
        ("POST", f"{_TASKS}/batch/read", _read_batch),
        *((method, f"{_TASKS}/{{id}}", _one) for method in ("GET", "PATCH", "DELETE")),
    ),
    _hubspot_error,
)


# -- Salesforce --------------------------------------------------------------------------------------------------------

_STATUSES = {"Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"}
_FIELDS = {"Subject", "Description", "ActivityDate", "Priority", "Status", "OwnerId", "WhatId", "WhoId"}
_EXTERNAL, _OUTCOME = "Tenure_Task_Key__c", "Tenure_Outcome__c"


def _salesforce_error(status: int, code: str, words: str = "refused") -> list[dict[str, object]]:
    usual = {401: "INVALID_SESSION_ID", 404: "NOT_FOUND", 503: "SERVER_UNAVAILABLE"}.get(status, "INVALID_FIELD")
    return [{"message": words, "errorCode": code or usual}]


def _no(status: int, code: str = "") -> Response:
    return JSONResponse(_salesforce_error(status, code), status)


async def _salesforce_token(asked: VendorRequest) -> Response:
    """The client-credentials flow; like the real one it says nothing of an end."""
    form = asked.form
    secret = form.get("client_secret") or asked.basic()[1]
    if form.get("grant_type") != "client_credentials" or secret != asked.key:
        return JSONResponse({"error": "invalid_client", "error_description": "invalid client credentials"}, 400)
    here = str(asked.request.base_url).rstrip("/")
    answer = {"access_token": asked.key, "token_type": "Bearer", "instance_url": f"{here}/salesforce", "scope": "api"}
    return JSONResponse({**answer, "issued_at": str(int(datetime.now(UTC).timestamp() * 1000)), "signature": "s"})


def _fault_of(fields: Mapping[str, Any]) -> str:
    if set(fields) - _FIELDS - {_EXTERNAL, _OUTCOME}:
        return "INVALID_FIELD"
    if len(str(fields.get("Subject", ""))) > 255:
        return "STRING_TOO_LONG"
    return "" if fields.get("Status", "Completed") in _STATUSES else "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"


async def _upsert(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return _no(401)
    fields, key = asked.json, asked.path("key")
    if asked.path("field") != _EXTERNAL:
        return _no(404)
    if code := _fault_of(fields):
        return _no(400, code)
    known = _by(asked.kept, "salesforce", _EXTERNAL, key)
    identity = known or f"00T{len(asked.kept.items) + 1:012d}AAA"
    begun = {} if known else {_EXTERNAL: key, "Status": "Not Started"}
    change_crm_task(asked.kept, "salesforce", identity, {**begun, **fields})
    answer = {"id": identity, "success": True, "errors": [], "created": known is None}
    return JSONResponse(answer, 200 if known else 201)


def _record(identity: str, task: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    known = {**task, "Id": identity, "IsClosed": task.get("Status") == "Completed"}
    attributes = {"type": "Task", "url": f"/services/data/v61.0/sobjects/Task/{identity}"}
    return {"attributes": attributes, **{name: known.get(name) for name in fields}}


async def _collection(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return _no(401)
    ids, fields = asked.json.get("ids") or [], asked.json.get("fields") or []
    if not 0 < len(ids) <= _MOST["salesforce"] or not set(fields) <= {*_FIELDS, _EXTERNAL, _OUTCOME, "Id", "IsClosed"}:
        return _no(400)
    tasks = tasks_of(asked.kept, "salesforce")
    return JSONResponse([_record(each, tasks[each], fields) if each in tasks else None for each in ids])


async def _task(asked: VendorRequest) -> Response:
    """`GET`, `PATCH` and `DELETE` of one task by its id."""
    if not asked.bearer:
        return _no(401)
    identity, method = asked.path("id"), asked.request.method
    task = tasks_of(asked.kept, "salesforce").get(identity)
    if task is None:
        return _no(404)
    if method == "GET":
        return JSONResponse(_record(identity, task, ["Id", "IsClosed", *task]))
    if method == "PATCH" and (code := _fault_of(asked.json)):
        return _no(400, code)
    if method == "PATCH":
        change_crm_task(asked.kept, "salesforce", identity, asked.json)
    else:
        asked.kept.add("salesforce", to=identity, content={})
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
