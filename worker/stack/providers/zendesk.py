"""Zendesk simulated: tickets, comments, tags and audits."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.environment import MISSING_ID


def _zendesk_error(_: int, code: str) -> dict[str, object]:
    return {"error": code or "RecordInvalid", "description": "refused"}


def _agent(call: VendorRequest) -> bool:
    name, token = call.basic()
    return name.endswith("/token") and token == call.key


async def _open(call: VendorRequest) -> Response:
    if not _agent(call):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    ticket = call.json.get("ticket") or {}
    if not (ticket.get("comment") or {}).get("body"):
        return JSONResponse(_zendesk_error(422, ""), 422)
    key = call.request.headers.get("idempotency-key", "")
    known = call.accepted.search(provider="zendesk", key=key, kind="ticket") if key else []
    to = str((ticket.get("requester") or {}).get("email", ""))
    item = known[0] if known else call.accepted.add("zendesk", to=to, content=ticket, key=key, kind="ticket")
    lookup = {"x-idempotency-lookup": "hit" if known else "miss"}
    shown = {"id": item["number"], "status": "new", **ticket}
    return JSONResponse({"ticket": shown, "audit": _audit(item)}, 201, lookup)


def _audit(item: dict[str, Any]) -> dict[str, Any]:
    """The audit of a ticket's change, as long as a real one: its comment comes in three forms."""
    written = item["content"].get("comment") or {}
    body = str(written.get("body") or "")
    comment = {
        "id": item["number"] * 10,
        "type": "Comment",
        "author_id": 1,
        "audit_id": item["number"],
        "body": body,
        "html_body": f'<div class="zd-comment" dir="auto">{escape(body)}</div>',
        "plain_body": body,
        "public": bool(written.get("public", True)),
        "attachments": [],
    }
    system = {"client": "tenure", "ip_address": "192.0.2.1", "location": "Bergen, 46, Norway"}
    return {
        "id": item["number"],
        "ticket_id": item["number"] if item["kind"] == "ticket" else int(item["to"]),
        "created_at": "2026-01-05T09:00:00Z",
        "author_id": 1,
        "via": {"channel": "api", "source": {"from": {}, "to": {}, "rel": None}},
        "events": [comment],
        "metadata": {"custom": item["content"].get("metadata") or {}, "system": system},
    }


async def _update(call: VendorRequest) -> Response:
    if not _agent(call):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    if call.path("id") == MISSING_ID:
        return JSONResponse({"error": "RecordNotFound", "description": "Not found"}, 404)
    ticket = call.json.get("ticket") or {}
    key = (ticket.get("metadata") or {}).get("key", "")
    item = call.accepted.add("zendesk", to=call.path("id"), content=ticket, key=key, kind="comment")
    return JSONResponse({"ticket": {"id": int(call.path("id"))}, "audit": _audit(item)})


async def _tags(call: VendorRequest) -> Response:
    if not _agent(call):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    known = call.accepted.search(provider="zendesk", to=call.path("id"), kind="tags")
    tags = sorted({*call.json.get("tags", ()), *(known[-1]["content"] if known else ())})
    call.accepted.add("zendesk", to=call.path("id"), content=tags, kind="tags")
    return JSONResponse({"tags": tags})


async def _tickets(call: VendorRequest) -> Response:
    if not _agent(call):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    wanted = call.request.query_params.get("external_id", "")
    items = call.accepted.search(provider="zendesk", kind="ticket")
    tickets = [{"id": i["number"], **i["content"]} for i in items if i["content"].get("external_id") == wanted]
    return JSONResponse({"tickets": tickets, "count": len(tickets), "next_page": None})


async def _audits(call: VendorRequest) -> Response:
    if not _agent(call):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    query = call.request.query_params
    if query.get("sort"):
        return JSONResponse({"error": "InvalidPaginationParameter", "description": "sort is not valid"}, 400)
    opened = [i for i in call.accepted.search(provider="zendesk", kind="ticket") if str(i["number"]) == call.path("id")]
    changes = [*opened, *call.accepted.search(provider="zendesk", to=call.path("id"), kind="comment")]
    size, begin = int(query.get("page[size]", "100")), int(query.get("page[after]") or "0")
    more = begin + size < len(changes)
    meta = {"has_more": more, "after_cursor": str(begin + size) if more else None, "before_cursor": None}
    page = [_audit(change) for change in changes[begin : begin + size]]
    return JSONResponse({"audits": page, "meta": meta, "links": {"next": None, "prev": None}, "next_page": None})


ZENDESK = Vendor(
    "zendesk",
    (
        ("POST", "/api/v2/tickets.json", _open),
        ("GET", "/api/v2/tickets.json", _tickets),
        ("PUT", "/api/v2/tickets/{id:int}.json", _update),
        ("PUT", "/api/v2/tickets/{id:int}/tags.json", _tags),
        ("GET", "/api/v2/tickets/{id:int}/audits.json", _audits),
    ),
    _zendesk_error,
)
