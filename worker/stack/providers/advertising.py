"""Google's and Meta's customer lists: members are added and removed by the hash of their address, and adding twice adds once."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest

_HASH = re.compile(r"[0-9a-f]{64}")
LARGEST_BATCH = 10_000


def members(asked: VendorRequest, provider: str, audience: str) -> set[str]:
    """Who is in an audience after everything that was accepted."""
    found: set[str] = set()
    for item in asked.kept.search(provider=provider, to=audience):
        change = set(item["content"]["hashes"])
        found = found | change if item["content"]["change"] == "add" else found - change
    return found


def _google_error(status: int, code: str) -> dict[str, object]:
    return {"error": {"code": status, "message": "refused", "status": code or "INTERNAL"}}


async def _ingest(asked: VendorRequest) -> Response:
    """Data Manager API: `audienceMembers:ingest` and `:remove`."""
    if not asked.bearer:
        return JSONResponse(_google_error(401, "UNAUTHENTICATED"), 401)
    change = "add" if asked.request.url.path.endswith("ingest") else "remove"
    given = asked.json
    found = [
        each.get("emailAddress", "")
        for member in given.get("audienceMembers", ())
        for each in (member.get("userData") or {}).get("userIdentifiers", ())
    ]
    wrong = not found or len(given["audienceMembers"]) > LARGEST_BATCH or not all(map(_HASH.fullmatch, found))
    if wrong or given.get("encoding") not in ("HEX", 1) or not given.get("destinations"):
        return JSONResponse(_google_error(400, "INVALID_ARGUMENT"), 400)
    audience = str(given["destinations"][0].get("productDestinationId", ""))
    item = asked.kept.add("google", to=audience, content={"change": change, "hashes": found}, request=given)
    return JSONResponse({"requestId": f"request-{item['number']}"})


async def _token(asked: VendorRequest) -> Response:
    if not asked.form.get("assertion"):
        return JSONResponse({"error": "invalid_grant"}, 400)
    return JSONResponse({"access_token": asked.key, "expires_in": 3599, "token_type": "Bearer"})


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


async def _users(asked: VendorRequest) -> Response:
    """Marketing API: `POST` and `DELETE /{audience}/users` with a payload of schema and rows."""
    if not asked.bearer and _of_meta(asked, "access_token") != asked.key:
        return JSONResponse(_meta_error(400, "190"), 400)
    given = _of_meta(asked, "payload") or {}
    payload: dict[str, Any] = json.loads(given) if isinstance(given, str) else given
    rows = [row[0] if isinstance(row, list) else row for row in payload.get("data", ())]
    if payload.get("schema") not in ("EMAIL_SHA256", ["EMAIL_SHA256"], ["EMAIL"], "EMAIL") or not rows:
        return JSONResponse(_meta_error(400, "100"), 400)
    if len(rows) > LARGEST_BATCH or not all(map(_HASH.fullmatch, rows)):
        return JSONResponse(_meta_error(400, "100"), 400)
    change = "add" if asked.request.method == "POST" else "remove"
    asked.kept.add("meta", to=asked.path("audience"), content={"change": change, "hashes": rows})
    counted = {"session_id": "1", "num_received": len(rows), "num_invalid_entries": 0, "invalid_entry_samples": {}}
    return JSONResponse({"audience_id": asked.path("audience"), **counted})


def _of_meta(asked: VendorRequest, name: str) -> Any:
    """A parameter as Meta takes it: in the query, in a form, or in a JSON object."""
    return asked.request.query_params.get(name) or asked.form.get(name) or asked.json.get(name)


META = Vendor(
    "meta", tuple((method, "/{version}/{audience}/users", _users) for method in ("POST", "DELETE")), _meta_error
)
