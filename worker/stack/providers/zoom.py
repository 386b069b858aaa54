"""Zoom simulated: tokens and webinar registrants."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.environment import MISSING_ID


def _zoom_error(status: int, code: str) -> dict[str, object]:
    return {"code": int(code) if code.isdigit() else status, "message": "refused"}


async def _zoom_token(call: VendorRequest) -> Response:
    if call.basic()[1] != call.key or call.form.get("grant_type") != "account_credentials":
        return JSONResponse({"reason": "Invalid client_id or client_secret", "error": "invalid_client"}, 401)
    return JSONResponse({"access_token": call.key, "token_type": "bearer", "expires_in": 3599})


async def _register(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_zoom_error(401, "124"), 401)
    webinar, person = call.path("webinar"), call.json
    if webinar == MISSING_ID:
        return JSONResponse(_zoom_error(404, "3001"), 404)
    if not person.get("email") or not person.get("first_name"):
        return JSONResponse(_zoom_error(400, "300"), 400)
    # Zoom identifies a registrant by address: registering again returns the same one.
    known = [i for i in call.accepted.search(provider="zoom", to=person["email"]) if i["webinar"] == webinar]
    item = known[0] if known else call.accepted.add("zoom", to=person["email"], content=person, webinar=webinar)
    answer = {"registrant_id": f"reg{item['number']}", "id": int(webinar), "topic": "A webinar"}
    return JSONResponse({**answer, "join_url": f"https://zoom.example/w/{webinar}", "status": "approved"}, 201)


def _registrant(item: dict[str, Any]) -> dict[str, Any]:
    """A registrant as the list returns it, with a join link as long as a real one."""
    link = f"https://zoom.example/w/{item['webinar']}?tk={'t' * 160}&pwd={'p' * 40}"
    more = {"id": f"reg{item['number']}", "status": "approved", "create_time": "2026-01-05T09:00:00Z", "join_url": link}
    return {**item["content"], **more}


async def _registrants(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_zoom_error(401, "124"), 401)
    registrants = [_registrant(i) for i in call.accepted.search(provider="zoom", webinar=call.path("webinar"))]
    query = call.request.query_params
    approved = registrants if query.get("status", "approved") == "approved" else []
    size, start = min(300, int(query.get("page_size", "30"))), int(query.get("next_page_token") or "0")
    following = str(start + size) if start + size < len(approved) else ""
    page = approved[start : start + size]
    return JSONResponse({"registrants": page, "next_page_token": following, "page_size": size})


ZOOM = Vendor(
    "zoom",
    (
        ("POST", "/oauth/token", _zoom_token),
        ("POST", "/v2/webinars/{webinar}/registrants", _register),
        ("GET", "/v2/webinars/{webinar}/registrants", _registrants),
    ),
    _zoom_error,
)
