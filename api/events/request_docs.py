"""OpenAPI of the Segment endpoints: request schemas, examples and header parameters.

The handlers read bytes themselves, so FastAPI cannot derive these (Segment spec, common fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.events.intake import CLOCK_HEADER, CLOCK_ID

CLOCK_PARAMETER = {
    "name": CLOCK_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": CLOCK_ID},
    "description": "Id of a test clock, for the operator's key only. It applies to people first seen in this request.",
}
TRACE_PARAMETER = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    "description": "W3C Trace Context. Messages caused by this request carry its trace id; an unreadable value is ignored.",
}
_AT = "2026-05-03T10:00:00Z"
_USER = {"userId": "u-42", "messageId": "m-1", "timestamp": _AT}
_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "track": {**_USER, "event": "setup_completed", "properties": {"steps": 5}},
    "identify": {**_USER, "traits": {"email": "ada@example.com", "plan": "team"}},
    "group": {**_USER, "groupId": "acme", "traits": {"renewal_date": "2027-01-31T00:00:00Z"}},
    "alias": {"userId": "u-42", "previousId": "anonymous-7", "messageId": "m-2"},
    "page": {**_USER, "name": "Pricing", "properties": {"path": "/pricing"}},
    "screen": {**_USER, "name": "Home", "properties": {}},
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_NEEDED_ID = {**_NAME, "type": ["string", "integer"]}
_ID = {**_NEEDED_ID, "type": ["string", "integer", "null"], "minLength": 0}
_OBJECT: dict[str, Any] = {"type": ["object", "null"]}
_CONTEXT = {
    "description": "An object. Anything else is left out, and noted on the event. With `historical: true` the event is told "
    "as history: it builds the profile, opens no journey and sends nothing."
}
_INSTANT = {
    "description": "ISO 8601, RFC 2822, JavaScript's `Date#toString`, or an epoch in seconds, milliseconds or microseconds. "
    "What cannot be read is left out, and noted on the event."
}
_COMMON_FIELDS: dict[str, Any] = {
    "userId": {**_ID, "description": "Required, unless `anonymousId` is given."},
    "anonymousId": _ID,
    "messageId": {
        **_ID,
        "description": "Idempotency key: an event sent twice is accepted once. With other content it is quarantined.",
    },
    "timestamp": _INSTANT,
    "sentAt": _INSTANT,
    "context": _CONTEXT,
}
_FIELDS_OF_TYPE: Mapping[str, dict[str, Any]] = {
    "track": {"event": _NAME, "properties": _OBJECT},
    "identify": {"traits": _OBJECT},
    "group": {"groupId": _NEEDED_ID, "traits": _OBJECT},
    "alias": {"previousId": _NEEDED_ID},
    "page": {"name": {"type": "string"}, "properties": _OBJECT},
    "screen": {"name": {"type": "string"}, "properties": _OBJECT},
}
_REQUIRED: Mapping[str, list[str]] = {"track": ["event"], "group": ["groupId"], "alias": ["previousId", "userId"]}
_BATCH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {
            "type": "array",
            "items": {},
            "description": "Events; `type` is track, identify, group, alias, page or screen. What is none is quarantined.",
        },
        "sentAt": _COMMON_FIELDS["sentAt"],
        "context": _CONTEXT,
    },
}


def call_request(kind: str) -> dict[str, Any]:
    """OpenAPI of `POST /v1/{kind}`: request body with its example, and parameters."""
    required = _REQUIRED.get(kind, [])
    fields = {**_COMMON_FIELDS, **_FIELDS_OF_TYPE[kind]}
    return _request(
        {"type": "object", "properties": fields, **({"required": required} if required else {})}, _EXAMPLES[kind]
    )


def batch_request() -> dict[str, Any]:
    """OpenAPI of `POST /v1/batch`."""
    return _request(_BATCH_SCHEMA, {"batch": [{"type": "track", **_EXAMPLES["track"]}], "sentAt": _AT})


def _request(schema: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "parameters": [CLOCK_PARAMETER, TRACE_PARAMETER],
    }
