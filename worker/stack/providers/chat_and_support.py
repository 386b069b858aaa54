"""Slack, Zendesk, Zoom and a receiver of signed webhooks, as far as one message needs them."""

from __future__ import annotations

from html import escape
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.environment import WEBHOOK_SECRET

OVER = "404404404"
"""A webinar that is over, a ticket that is not there."""


# -- Slack -------------------------------------------------------------------------------------------------------------


def _slack_error(_: int, code: str) -> dict[str, object]:
    return {"ok": False, "error": code or "internal_error"}


async def _post(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return JSONResponse(_slack_error(200, "invalid_auth"))
    message: dict[str, Any] = asked.json or asked.form
    if str(message.get("channel", "")) in {"", "CNONE"}:
        return JSONResponse(_slack_error(200, "channel_not_found"))
    if not message.get("text") and not message.get("blocks"):
        return JSONResponse(_slack_error(200, "no_text"))
    key = ((message.get("metadata") or {}).get("event_payload") or {}).get("key", "") if asked.json else ""
    item = asked.kept.add("slack", to=str(message["channel"]), content=message, key=key)
    stamp = f"{item['number']}.000100"
    return JSONResponse(
        {"ok": True, "channel": message["channel"], "ts": stamp, "message": {"text": message.get("text")}}
    )


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """As the history has it: what was written as text is there as blocks too."""
    text = item["content"].get("text")
    words = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
    return {
        "type": "message",
        "ts": f"{item['number']}.000100",
        "text": text,
        "blocks": [{"type": "rich_text", "block_id": str(item["number"]), "elements": [words]}],
        "metadata": item["content"].get("metadata"),
    }


async def _history(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return JSONResponse(_slack_error(200, "invalid_auth"))
    query = asked.request.query_params
    limit, start = int(query.get("limit", "100")), int(query.get("cursor") or "0")
    found = asked.kept.search(provider="slack", to=query.get("channel", ""))[::-1]
    shown = [_message(each) for each in found]
    following = str(start + limit) if start + limit < len(shown) else ""
    page = {"messages": shown[start : start + limit], "response_metadata": {"next_cursor": following}}
    return JSONResponse({"ok": True, **page})


SLACK = Vendor(
    "slack", (("POST", "/chat.postMessage", _post), ("GET", "/conversations.history", _history)), _slack_error
)


# -- Zendesk -----------------------------------------------------------------------------------------------------------


def _zendesk_error(_: int, code: str) -> dict[str, object]:
    return {"error": code or "RecordInvalid", "description": "refused"}


def _agent(asked: VendorRequest) -> bool:
    name, token = asked.basic()
    return name.endswith("/token") and token == asked.key


async def _open(asked: VendorRequest) -> Response:
    if not _agent(asked):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    ticket = asked.json.get("ticket") or {}
    if not (ticket.get("comment") or {}).get("body"):
        return JSONResponse(_zendesk_error(422, ""), 422)
    key = asked.request.headers.get("idempotency-key", "")
    known = asked.kept.search(provider="zendesk", key=key, kind="ticket") if key else []
    to = str((ticket.get("requester") or {}).get("email", ""))
    item = known[0] if known else asked.kept.add("zendesk", to=to, content=ticket, key=key, kind="ticket")
    lookup = {"x-idempotency-lookup": "hit" if known else "miss"}
    shown = {"id": item["number"], "status": "new", **ticket}
    return JSONResponse({"ticket": shown, "audit": _audit(item)}, 201, lookup)


def _audit(item: dict[str, Any]) -> dict[str, Any]:
    """What a change of a ticket leaves behind, as long as the real one: a comment is there in three forms."""
    said = item["content"].get("comment") or {}
    body = str(said.get("body") or "")
    comment = {
        "id": item["number"] * 10,
        "type": "Comment",
        "author_id": 1,
        "audit_id": item["number"],
        "body": body,
        "html_body": f'<div class="zd-comment" dir="auto">{escape(body)}</div>',
        "plain_body": body,
        "public": bool(said.get("public", True)),
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


async def _update(asked: VendorRequest) -> Response:
    if not _agent(asked):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    if asked.path("id") == OVER:
        return JSONResponse({"error": "RecordNotFound", "description": "Not found"}, 404)
    ticket = asked.json.get("ticket") or {}
    key = (ticket.get("metadata") or {}).get("key", "")
    item = asked.kept.add("zendesk", to=asked.path("id"), content=ticket, key=key, kind="comment")
    return JSONResponse({"ticket": {"id": int(asked.path("id"))}, "audit": _audit(item)})


async def _tags(asked: VendorRequest) -> Response:
    if not _agent(asked):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    known = asked.kept.search(provider="zendesk", to=asked.path("id"), kind="tags")
    tags = sorted({*asked.json.get("tags", ()), *(known[-1]["content"] if known else ())})
    asked.kept.add("zendesk", to=asked.path("id"), content=tags, kind="tags")
    return JSONResponse({"tags": tags})


async def _tickets(asked: VendorRequest) -> Response:
    if not _agent(asked):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    wanted = asked.request.query_params.get("external_id", "")
    found = asked.kept.search(provider="zendesk", kind="ticket")
    tickets = [{"id": i["number"], **i["content"]} for i in found if i["content"].get("external_id") == wanted]
    return JSONResponse({"tickets": tickets, "count": len(tickets), "next_page": None})


async def _audits(asked: VendorRequest) -> Response:
    if not _agent(asked):
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)
    query = asked.request.query_params
    if query.get("sort"):
        return JSONResponse({"error": "InvalidPaginationParameter", "description": "sort is not valid"}, 400)
    opened = [i for i in asked.kept.search(provider="zendesk", kind="ticket") if str(i["number"]) == asked.path("id")]
    found = [*opened, *asked.kept.search(provider="zendesk", to=asked.path("id"), kind="comment")]
    size, begin = int(query.get("page[size]", "100")), int(query.get("page[after]") or "0")
    more = begin + size < len(found)
    meta = {"has_more": more, "after_cursor": str(begin + size) if more else None, "before_cursor": None}
    page = [_audit(each) for each in found[begin : begin + size]]
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


# -- Zoom --------------------------------------------------------------------------------------------------------------


def _zoom_error(status: int, code: str) -> dict[str, object]:
    return {"code": int(code) if code.isdigit() else status, "message": "refused"}


async def _zoom_token(asked: VendorRequest) -> Response:
    if asked.basic()[1] != asked.key or asked.form.get("grant_type") != "account_credentials":
        return JSONResponse({"reason": "Invalid client_id or client_secret", "error": "invalid_client"}, 401)
    return JSONResponse({"access_token": asked.key, "token_type": "bearer", "expires_in": 3599})


async def _register(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return JSONResponse(_zoom_error(401, "124"), 401)
    webinar, person = asked.path("webinar"), asked.json
    if webinar == OVER:
        return JSONResponse(_zoom_error(404, "3001"), 404)
    if not person.get("email") or not person.get("first_name"):
        return JSONResponse(_zoom_error(400, "300"), 400)
    # Zoom knows a registrant by their address: who registers again is the same one.
    known = [i for i in asked.kept.search(provider="zoom", to=person["email"]) if i["webinar"] == webinar]
    item = known[0] if known else asked.kept.add("zoom", to=person["email"], content=person, webinar=webinar)
    answer = {"registrant_id": f"reg{item['number']}", "id": int(webinar), "topic": "A webinar"}
    return JSONResponse({**answer, "join_url": f"https://zoom.example/w/{webinar}", "status": "approved"}, 201)


def _registrant(item: dict[str, Any]) -> dict[str, Any]:
    """As the list has it: the link to join is as long as the real one."""
    link = f"https://zoom.example/w/{item['webinar']}?tk={'t' * 160}&pwd={'p' * 40}"
    more = {"id": f"reg{item['number']}", "status": "approved", "create_time": "2026-01-05T09:00:00Z", "join_url": link}
    return {**item["content"], **more}


async def _registrants(asked: VendorRequest) -> Response:
    if not asked.bearer:
        return JSONResponse(_zoom_error(401, "124"), 401)
    found = [_registrant(i) for i in asked.kept.search(provider="zoom", webinar=asked.path("webinar"))]
    query = asked.request.query_params
    approved = found if query.get("status", "approved") == "approved" else []
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


# -- a receiver of webhooks --------------------------------------------------------------------------------------------


async def _receive(asked: VendorRequest) -> Response:
    headers = {
        name: asked.request.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    }
    try:
        event = Webhook(WEBHOOK_SECRET).verify(asked.body.decode(), headers)
    except (WebhookVerificationError, ValueError):
        return JSONResponse({"error": "the signature is not right"}, 401)
    if not asked.kept.search(provider="receiver", key=headers["webhook-id"]):  # as the standard asks of a receiver
        asked.kept.add("receiver", to="receiver", content=event, key=headers["webhook-id"])
    return Response(status_code=204)


RECEIVER = Vendor("receiver", (("POST", "/", _receive),), lambda _, code: {"error": code})
