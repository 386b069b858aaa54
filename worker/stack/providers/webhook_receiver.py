"""Receiver of signed webhooks: verifies the signature and stores each webhook id once."""

from __future__ import annotations

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.responses import JSONResponse, Response

from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.environment import WEBHOOK_SECRET


async def _receive(call: VendorRequest) -> Response:
    headers = {
        name: call.request.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    }
    try:
        event = Webhook(WEBHOOK_SECRET).verify(call.body.decode(), headers)
    except (WebhookVerificationError, ValueError):
        return JSONResponse({"error": "the signature is invalid"}, 401)
    if not call.accepted.search(provider="receiver", key=headers["webhook-id"]):  # as the standard asks of a receiver
        call.accepted.add("receiver", to="receiver", content=event, key=headers["webhook-id"])
    return Response(status_code=204)


RECEIVER = Vendor("receiver", (("POST", "/", _receive),), lambda _, code: {"error": code})
