"""Resend, Twilio, FCM and Web Push simulated, as far as one message needs them."""

from __future__ import annotations

import hashlib

from starlette.responses import JSONResponse, Response

from worker.stack.providers.accepted import numbered
from worker.stack.providers.app import Vendor, VendorRequest

STOPPED = "+15005550004"
NO_NUMBER = "+15005550001"
GONE = "gone"
"""Twilio's own test numbers, and a device token or subscription that has expired."""


# -- Resend ------------------------------------------------------------------------------------------------------------


def _resend_error(status: int, code: str, words: str = "refused") -> dict[str, object]:
    names = {401: "missing_api_key", 403: "invalid_api_key", 422: "validation_error", 429: "rate_limit_exceeded"}
    return {"statusCode": status, "name": code or names.get(status, "application_error"), "message": words}


async def _emails(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_resend_error(401, "missing_api_key"), 401)
    content, key = call.json, call.request.headers.get("idempotency-key", "")
    if len(key) > 256:
        return JSONResponse(_resend_error(400, "invalid_idempotency_key"), 400)
    if not content.get("to") or not content.get("from") or not content.get("subject"):
        return JSONResponse(_resend_error(422, "missing_required_field"), 422)
    to = content["to"][0] if isinstance(content["to"], list) else content["to"]
    if str(to).endswith("@bounce.example"):
        return JSONResponse(_resend_error(422, "validation_error", f"Invalid `to` field: {to}"), 422)
    digest = hashlib.sha256(call.body).hexdigest()
    known = call.accepted.search(provider="resend", key=key) if key else []
    if known:
        if known[0]["digest"] != digest:
            return JSONResponse(_resend_error(409, "invalid_idempotent_request"), 409)
        return JSONResponse({"id": known[0]["id"]})
    identity = numbered("", len(call.accepted.items) + 1, 32)
    call.accepted.add("resend", to=str(to), content=content, key=key, digest=digest, id=identity)
    return JSONResponse({"id": identity})


RESEND = Vendor("resend", (("POST", "/emails", _emails),), _resend_error)


# -- Twilio ------------------------------------------------------------------------------------------------------------


def _twilio_error(status: int, code: str, words: str = "refused") -> dict[str, object]:
    number = code or {401: "20003", 404: "20404", 429: "20429"}.get(status, "20500")
    return {"code": int(number), "message": words, "more_info": "https://www.twilio.com/docs/errors", "status": status}


async def _messages(call: VendorRequest) -> Response:
    account, token = call.basic()
    if token != call.key or account != call.path("account"):
        return JSONResponse(_twilio_error(401, "20003", "Authenticate"), 401)
    form = call.form
    to, sender = form.get("To", ""), form.get("From") or form.get("MessagingServiceSid") or ""
    if not sender:
        return JSONResponse(_twilio_error(400, "21603"), 400)
    if to == STOPPED:
        return JSONResponse(_twilio_error(400, "21610", f"Attempt to send to unsubscribed recipient {to}"), 400)
    if to == NO_NUMBER or not to.startswith("+"):
        return JSONResponse(_twilio_error(400, "21211", f"The 'To' number {to} is not valid"), 400)
    if not form.get("Body"):
        return JSONResponse(_twilio_error(400, "21602"), 400)
    identity = numbered("SM", len(call.accepted.items) + 1)
    key = form.get("StatusCallback", "").partition("m=")[2]
    call.accepted.add("twilio", to=to, content=form, key=key, id=identity)
    answer = {
        "sid": identity, "account_sid": account, "to": to, "from": form.get("From"), "body": form["Body"],
        "status": "queued", "error_code": None, "error_message": None, "num_segments": "1", "direction": "outbound-api",
        "messaging_service_sid": form.get("MessagingServiceSid"), "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
    }  # fmt: skip
    return JSONResponse(answer, 201)


TWILIO = Vendor("twilio", (("POST", "/2010-04-01/Accounts/{account}/Messages.json", _messages),), _twilio_error)


# -- FCM ---------------------------------------------------------------------------------------------------------------


def _fcm_error(status: int, code: str, words: str = "refused") -> dict[str, object]:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    details = [{"@type": kind, "errorCode": code}] if code else []
    return {"error": {"code": status, "message": words, "status": _GOOGLE.get(status, "INTERNAL"), "details": details}}


_GOOGLE = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE",
}  # fmt: skip
"""Google's name of a status; FCM's own code is in the details."""


async def _google_token(call: VendorRequest) -> Response:
    if call.form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" or not call.form.get("assertion"):
        return JSONResponse({"error": "invalid_grant"}, 400)
    return JSONResponse({"access_token": call.key, "expires_in": 3599, "token_type": "Bearer"})


async def _fcm_send(call: VendorRequest) -> Response:
    if not call.bearer:
        return JSONResponse(_fcm_error(401, ""), 401)
    message = call.json.get("message") or {}
    token = str(message.get("token", ""))
    if token == GONE:
        return JSONResponse(_fcm_error(404, "UNREGISTERED"), 404)
    if not token:
        return JSONResponse(_fcm_error(400, "INVALID_ARGUMENT"), 400)
    tag = str((message.get("data") or {}).get("tag", ""))
    item = call.accepted.add("fcm", to=token, content=message, key=tag)
    return JSONResponse({"name": f"projects/{call.path('project')}/messages/{item['number']}"})


FCM = Vendor(
    "fcm",
    (("POST", "/token", _google_token), ("POST", "/v1/projects/{project}/messages:send", _fcm_send)),
    _fcm_error,
)


# -- Web Push ----------------------------------------------------------------------------------------------------------


async def _web_push(call: VendorRequest) -> Response:
    headers = call.request.headers
    if not headers.get("authorization", "").startswith(("vapid ", "WebPush ")):
        return Response("VAPID is needed", 401)
    if call.path("device") == GONE:
        return Response("the subscription has expired", 410)
    if headers.get("content-encoding") != "aes128gcm" or not headers.get("ttl"):
        return Response("aes128gcm and a TTL are needed", 400)
    if len(call.body) > 4096:
        return Response("too large", 413)
    more = {name: headers.get(name, "") for name in ("ttl", "urgency", "topic", "authorization")}
    content = {"body": call.body.hex(), **more}
    item = call.accepted.add("webpush", to=call.path("device"), content=content, key=headers.get("topic", ""))
    return Response(status_code=201, headers={"location": f"/webpush/m/{item['number']}"})


WEB_PUSH = Vendor("webpush", (("POST", "/{device}", _web_push),), lambda _, code: {"reason": code})
