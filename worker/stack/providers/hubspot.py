"""HubSpot simulated: tasks, one by one and in batches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.crm_tasks import change_crm_task, task_with, tasks_of

_AT = "2026-01-05T09:00:00.000Z"
MAX_BATCH = 100
_OPTIONS = {
    "hs_task_status": {"NOT_STARTED", "IN_PROGRESS", "WAITING", "DEFERRED", "COMPLETED"},
    "hs_task_priority": {"NONE", "LOW", "MEDIUM", "HIGH"},
    "hs_task_type": {"TODO", "CALL", "EMAIL"},
}
_PROPERTIES = {*_OPTIONS, "hs_task_subject", "hs_task_body", "hs_timestamp", "hubspot_owner_id", "tenure_outcome"}
_UNIQUE = "tenure_task_key"
_NEW = {"hs_task_status": "NOT_STARTED", "hs_task_priority": "NONE", "hs_task_type": "TODO"}


def _hubspot_error(status: int, code: str, words: str = "refused") -> dict[str, object]:
    usual = {401: "INVALID_AUTHENTICATION", 404: "OBJECT_NOT_FOUND", 429: "RATE_LIMITS"}.get(status, "VALIDATION_ERROR")
    return {"status": "error", "message": words, "correlationId": "a-1", "category": code or usual}


def _refused(status: int, words: str = "refused") -> Response:
    return JSONResponse(_hubspot_error(status, "", words), status)


def _wrong(properties: Mapping[str, Any], *, new: bool) -> str:
    """Why HubSpot rejects these properties; empty if it accepts them."""
    for name, value in properties.items():
        if name not in _PROPERTIES | {_UNIQUE}:
            return f'Property "{name}" does not exist'
        if value not in _OPTIONS.get(name, {value}):
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


async def _upsert_batch(call: VendorRequest) -> Response:
    if not call.bearer:
        return _refused(401)
    inputs = call.json.get("inputs") or []
    if not 0 < len(inputs) <= MAX_BATCH:
        return _refused(400, "inputs")
    for item in inputs:
        new = task_with(call.accepted, "hubspot", _UNIQUE, item.get("id", "")) is None
        if item.get("idProperty") != _UNIQUE or not item.get("id"):
            return _refused(400, "idProperty has no unique values")
        if words := _wrong(item.get("properties", {}), new=new):
            return _refused(400, words)
    results = []
    for item in inputs:
        known = task_with(call.accepted, "hubspot", _UNIQUE, item["id"])
        identity = known or str(1001 + len(call.accepted.items))
        begun = {} if known else {_UNIQUE: item["id"], **_NEW}
        task = change_crm_task(call.accepted, "hubspot", identity, {**begun, **item["properties"]})
        results.append(_object(identity, task, new=known is None))
    return JSONResponse(_batch(results))


async def _read_batch(call: VendorRequest) -> Response:
    if not call.bearer:
        return _refused(401)
    body = call.json
    inputs, wanted = body.get("inputs") or [], body.get("properties") or []
    if not 0 < len(inputs) <= MAX_BATCH or "propertiesWithHistory" not in body:
        return _refused(400)
    tasks = tasks_of(call.accepted, "hubspot")
    known = [str(item.get("id")) for item in inputs if str(item.get("id")) in tasks]
    results = [_object(n, {name: tasks[n].get(name) for name in wanted}) for n in known]
    return JSONResponse(_batch(results))


async def _create(call: VendorRequest) -> Response:
    if not call.bearer:
        return _refused(401)
    properties = call.json.get("properties") or {}
    if words := _wrong(properties, new=True):
        return _refused(400, words)
    identity = str(1001 + len(call.accepted.items))
    return JSONResponse(_object(identity, change_crm_task(call.accepted, "hubspot", identity, _NEW | properties)), 201)


async def _one(call: VendorRequest) -> Response:
    """`GET`, `PATCH` and `DELETE` of one task."""
    if not call.bearer:
        return _refused(401)
    identity, method = call.path("id"), call.request.method
    task = tasks_of(call.accepted, "hubspot").get(identity)
    if task is None:
        return _refused(404)
    if method == "DELETE":
        call.accepted.add("hubspot", to=identity, content={})
        return Response(status_code=204)
    if method == "PATCH":
        properties = call.json.get("properties") or {}
        if words := _wrong(properties, new=False):
            return _refused(400, words)
        task = change_crm_task(call.accepted, "hubspot", identity, properties)
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
