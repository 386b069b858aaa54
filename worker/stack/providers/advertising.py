"""Google and Meta customer lists simulated: members by hash of their address."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest

_HASH = re.compile(r"[0-9a-f]{64}")
LARGEST_BATCH = 10_000


def members(call: VendorRequest, provider: str, audience: str) -> set[str]:
    """Members of an audience, as hashes, after every accepted change."""
    hashes: set[str] = set()
    for item in call.accepted.search(provider=provider, to=audience):
        change = set(item["content"]["hashes"])
        hashes = hashes | change if item["content"]["change"] == "add" else hashes - change
    return hashes


def _google_error(status: int, code: str) -> dict[str, object]:
    return {"error": {"code": status, "message": "refused", "status": code or "INTERNAL"}}


async def _ingest(call: VendorRequest) -> Response:
    """Data Manager API, `audienceMembers:ingest` and `:remove`."""
    if not call.bearer:
        return JSONResponse(_google_error(401, "UNAUTHENTICATED"), 401)
    change = "add" if call.request.url.path.endswith("ingest") else "remove"
    body = call.json
    hashes = [
        identifier.get("emailAddress", "")
        for member in body.get("audienceMembers", ())
        for identifier in (member.get("userData") or {}).get("userIdentifiers", ())
    ]
    wrong = not hashes or len(body["audienceMembers"]) > LARGEST_BATCH or not all(map(_HASH.fullmatch, hashes))
    if wrong or body.get("encoding") not in ("HEX", 1) or not body.get("destinations"):
        return JSONResponse(_google_error(400, "INVALID_ARGUMENT"), 400)
    audience = str(body["destinations"][0].get("productDestinationId", ""))
    item = call.accepted.add("google", to=audience, content={"change": change, "hashes": hashes}, request=body)
    return JSONResponse({"requestId": f"request-{item['number']}"})


async def _token(call: VendorRequest) -> Response:
    if not call.form.get("assertion"):
        return JSONResponse({"error": "invalid_grant"}, 400)
    return JSONResponse({"access_token": call.key, "expires_in": 3599, "token_type": "Bearer"})


GOOGLE = Vendor(
    "google",
    (
        ("POST", "/token", _token),
        ("POST", "/v1/audienceMembers:ingest", _ingest),
        ("POST", "/v1/audienceMembers:remove", _ingest),
    ),
    _google_error,
)


def _meta_error(_: int, code: str) -> dict[str, object]:
    number = int(code) if code.isdigit() else 1
    return {"error": {"message": "refused", "type": "OAuthException", "code": number, "fbtrace_id": "A"}}


async def _users(call: VendorRequest) -> Response:
    """Marketing API, `POST` and `DELETE /{audience}/users` with a payload of schema and rows."""
    if not call.bearer and _meta_parameter(call, "access_token") != call.key:
        return JSONResponse(_meta_error(400, "190"), 400)
    text = _meta_parameter(call, "payload") or {}
    payload: dict[str, Any] = json.loads(text) if isinstance(text, str) else text
    rows = [row[0] if isinstance(row, list) else row for row in payload.get("data", ())]
    if payload.get("schema") not in ("EMAIL_SHA256", ["EMAIL_SHA256"], ["EMAIL"], "EMAIL") or not rows:
        return JSONResponse(_meta_error(400, "100"), 400)
    if len(rows) > LARGEST_BATCH or not all(map(_HASH.fullmatch, rows)):
        return JSONResponse(_meta_error(400, "100"), 400)
    change = "add" if call.request.method == "POST" else "remove"
    call.accepted.add("meta", to=call.path("audience"), content={"change": change, "hashes": rows})
    counted = {"session_id": "1", "num_received": len(rows), "num_invalid_entries": 0, "invalid_entry_samples": {}}
    return JSONResponse({"audience_id": call.path("audience"), **counted})


def _meta_parameter(call: VendorRequest, name: str) -> Any:
    """A parameter from the query, a form or a JSON object: Meta accepts all three."""
    return call.request.query_params.get(name) or call.form.get(name) or call.json.get(name)


META = Vendor(
    "meta", tuple((method, "/{version}/{audience}/users", _users) for method in ("POST", "DELETE")), _meta_error
)
