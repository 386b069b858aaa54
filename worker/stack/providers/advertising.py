"""Google's and Meta's customer lists: members are added and removed by the hash of their address, and adding twice adds once."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Asked, Vendor

_HASH = re.compile(r"[0-9a-f]{64}")
LARGEST_BATCH = 10_000


def members(asked: Asked, provider: str, audience: str) -> set[str]:
    """Who is in an audience after everything that was accepted."""
    found: set[str] = set()
    for item in asked.kept.search(provider=provider, to=audience):
        change = set(item["content"]["hashes"])
        found = found | change if item["content"]["change"] == "add" else found - change
    return found


def _google_error(status: int, code: str) -> dict[str, object]:
    return {"error": {"code": status, "message": "refused", "status": code or "INTERNAL"}}


async def _ingest(asked: Asked) -> Response:
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
    wrong = not found or len(found) > LARGEST_BATCH or not all(map(_HASH.fullmatch, found))
    if wrong or given.get("encoding") != "HEX" or not given.get("destinations"):
        return JSONResponse(_google_error(400, "INVALID_ARGUMENT"), 400)
    audience = str(given["destinations"][0].get("productDestinationId", ""))
    item = asked.kept.add("google", to=audience, content={"change": change, "hashes": found})
    return JSONResponse({"requestId": f"request-{item['number']}"})


async def _token(asked: Asked) -> Response:
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


async def _users(asked: Asked) -> Response:
    """Marketing API: `POST` and `DELETE /{audience}/users` with a payload of schema and rows."""
    given: dict[str, Any] = asked.json
    if not asked.bearer:
        return JSONResponse(_meta_error(401, "190"), 401)
    payload = given.get("payload") or {}
    rows = [row[0] if isinstance(row, list) else row for row in payload.get("data", ())]
    if payload.get("schema") not in ("EMAIL_SHA256", ["EMAIL_SHA256"], ["EMAIL"], "EMAIL") or not rows:
        return JSONResponse(_meta_error(400, "100"), 400)
    if len(rows) > LARGEST_BATCH or not all(map(_HASH.fullmatch, rows)):
        return JSONResponse(_meta_error(400, "2650"), 400)
    change = "add" if asked.request.method == "POST" else "remove"
    asked.kept.add("meta", to=asked.path("audience"), content={"change": change, "hashes": rows})
    return JSONResponse({"audience_id": asked.path("audience"), "num_received": len(rows), "num_invalid_entries": 0})


META = Vendor(
    "meta", (("POST", "/v25.0/{audience}/users", _users), ("DELETE", "/v25.0/{audience}/users", _users)), _meta_error
)
