"""Slack simulated: chat.postMessage and conversations.history."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest


def _slack_error(_: int, code: str) -> dict[str, object]:
    return {"ok": False, "error": code or "internal_error"}


async def _post(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_slack_error(200, "invalid_auth"))
    message: dict[str, Any] = call.json or call.form
    if str(message.get("channel", "")) in {"", "CNONE"}:
        return JSONResponse(_slack_error(200, "channel_not_found"))
    if not message.get("text") and not message.get("blocks"):
        return JSONResponse(_slack_error(200, "no_text"))
    key = ((message.get("metadata") or {}).get("event_payload") or {}).get("key", "") if call.json else ""
    item = call.accepted.add("slack", to=str(message["channel"]), content=message, key=key)
    stamp = f"{item['number']}.000100"
    return JSONResponse(
        {"ok": True, "channel": message["channel"], "ts": stamp, "message": {"text": message.get("text")}}
    )


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """A message as conversations.history returns it: text comes back as blocks too."""
    text = item["content"].get("text")
    words = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
    return {
        "type": "message",
        "ts": f"{item['number']}.000100",
        "text": text,
        "blocks": [{"type": "rich_text", "block_id": str(item["number"]), "elements": [words]}],
        "metadata": item["content"].get("metadata"),
    }


async def _history(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_slack_error(200, "invalid_auth"))
    query = call.request.query_params
    limit, start = int(query.get("limit", "100")), int(query.get("cursor") or "0")
    items = call.accepted.search(provider="slack", to=query.get("channel", ""))[::-1]
    shown = [_message(item) for item in items]
    following = str(start + limit) if start + limit < len(shown) else ""
    page = {"messages": shown[start : start + limit], "response_metadata": {"next_cursor": following}}
    return JSONResponse({"ok": True, **page})


SLACK = Vendor(
    "slack", (("POST", "/chat.postMessage", _post), ("GET", "/conversations.history", _history)), _slack_error
)
