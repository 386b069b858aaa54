"""Push channel: FCM for apps, Web Push for browsers, time-sensitive messages only (C7).

Class C: neither accepts a key. Both replace a notification with the same tag, and the tag is the key's hash, so a notification
that arrives twice is seen once. The default is therefore at least once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from activities.channels.http.access_tokens import AccessToken, service_account
from activities.channels.http.channel import (
    HttpChannel,
    NoAccessToken,
    PreparedContent,
    Reach,
    bearer,
    json_call,
    json_object,
)
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow
from activities.channels.push.web_push import Subscription, WebPush
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpReply, HttpRequest
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, TemplateFault

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
MAX_CONTENT = 3_000
"""Bytes of the content; FCM and Web Push accept 4,096 with everything around it."""


@dataclass(frozen=True, slots=True)
class FcmSettings:
    """A service account of the project; `private_key` is PEM."""

    project: str
    email: str
    private_key: str
    base: str = "https://fcm.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 — a URL


class PushChannel(HttpChannel):
    """FCM for `profile.push_token`, otherwise Web Push for `profile.push_subscription`."""

    name = "push"
    system = "fcm"
    promise = Promise.BLIND
    ambiguity = Ambiguity.AT_LEAST_ONCE
    time_sensitive = True
    table = (
        ReplyRow("404", ReplyMeaning.PERMANENT, "UNREGISTERED", "the app was removed"),
        ReplyRow("404", ReplyMeaning.PERMANENT, "", "the browser's subscription has ended"),
        ReplyRow("410", ReplyMeaning.PERMANENT, "", "the browser's subscription has ended"),
        ReplyRow(
            "400",
            ReplyMeaning.PERMANENT,
            "INVALID_ARGUMENT",
            "not a registration token, or not a valid message",
        ),
        ReplyRow("403", ReplyMeaning.PERMANENT, "SENDER_ID_MISMATCH", "a token of another project"),
        ReplyRow(
            "401", ReplyMeaning.OURS, "THIRD_PARTY_AUTH_ERROR", "the project's certificate or key is not accepted"
        ),
        ReplyRow("401", ReplyMeaning.OURS, "APNS_AUTH_ERROR", "the same under its older name"),
        ReplyRow(
            "429", ReplyMeaning.TRANSIENT, "QUOTA_EXCEEDED", "too many; Retry-After applies to the whole provider"
        ),
        ReplyRow("503", ReplyMeaning.DOWN, "UNAVAILABLE", "overloaded"),
        ReplyRow("500", ReplyMeaning.LOST, "INTERNAL", "it may have been accepted"),
        *BLIND_TAIL,
    )

    def __init__(
        self,
        templates: Templates,
        http: HttpClient,
        reach: Reach,
        *,
        fcm: FcmSettings | None = None,
        web: WebPush | None = None,
        browsers: HttpClient | None = None,
    ) -> None:
        """`browsers` is the client for browsers' push services. Browsers choose those, so FCM should have its own client."""
        super().__init__(templates, http, reach)
        self._fcm, self._web, self._browsers = fcm, web, browsers or http
        account = (fcm.token_url, fcm.email, fcm.private_key, SCOPE) if fcm is not None else None
        self._token = AccessToken(http, service_account(*account)) if account is not None else None

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """FCM token, or Web Push subscription as JSON."""
        token, subscription = profile.get("push_token"), Subscription.read(profile.get("push_subscription"))
        if self._fcm is not None and isinstance(token, str) and token and token.isascii() and token.isprintable():
            return token
        return subscription.text() if self._web is not None and subscription is not None else None

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:
        """Title, text, URL and tag. Raises TemplateFault for content that is too long."""
        body = markup.markup_text(message.blocks).strip()
        content = {"title": message.subject, "body": body, "url": message.action_url, "tag": key_hash[:32]}
        if len(json.dumps(content, ensure_ascii=False).encode()) > MAX_CONTENT:
            raise TemplateFault(f"{outgoing.template} is longer than a notification may be ({MAX_CONTENT} bytes)")
        return PreparedContent(content)

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:  # noqa: ARG002
        """Request to FCM, or to the browser's push service."""
        if _for_browser(prepared):
            subscription = Subscription.read(prepared.address)
            if subscription is None:
                raise UrlNotAllowed("the browser's subscription is invalid")
            if self._web is None:
                raise NoAccessToken("Web Push is not configured any more")
            return self._web.call(subscription, content)
        if self._fcm is None or self._token is None:
            raise NoAccessToken("FCM is not configured any more")
        url = f"{self._fcm.base}/v1/projects/{self._fcm.project}/messages:send"
        return json_call("POST", url, {"message": _fcm_message(content, prepared)}, bearer(await self._token.token()))

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt. A browser chooses its push service, so its errors neither open the circuit breaker nor delay others."""
        receipt = await super().deliver(prepared, key)
        return replace(receipt, outage=False, after=None) if _for_browser(prepared) else receipt

    def client_for(self, prepared: Prepared) -> HttpClient:
        """The client for browsers, or the one for FCM."""
        return self._browsers if _for_browser(prepared) else self.http

    async def close(self) -> None:
        """Close the connections of both clients."""
        await super().close()
        await self._browsers.close()

    def not_allowed(self, error: UrlNotAllowed, prepared: Prepared) -> Receipt:
        """A browser's URL that is private or has an unusable key is rejected permanently."""
        if _for_browser(prepared):
            return Receipt(AttemptResult.REFUSED, str(error)[:200], left=False)
        return super().not_allowed(error, prepared)

    def read(self, reply: HttpReply) -> Receipt:
        """Receipt by the table. A rejected token is not used again."""
        if reply.status == 401 and self._token is not None:
            self._token.invalidate()
        return super().read(reply)

    def fault(self, reply: HttpReply) -> tuple[str, str]:
        """FCM's error code from the details, else Google's status; and the message."""
        error = json_object(reply).get("error")
        if not isinstance(error, dict):
            return "", ""
        details = [detail for detail in error.get("details", ()) if isinstance(detail, dict)]
        code = next((detail["errorCode"] for detail in details if "errorCode" in detail), error.get("status", ""))
        return str(code), str(error.get("message", ""))


def _for_browser(prepared: Prepared) -> bool:
    return prepared.address.startswith("{")


def _fcm_message(content: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    tag = content["tag"]
    return {
        "token": prepared.address,
        "notification": {"title": content["title"], "body": content["body"]},
        "data": {"url": content["url"], "tag": tag},
        "android": {"collapse_key": tag, "notification": {"tag": tag}},
        "apns": {"headers": {"apns-collapse-id": tag}},
    }
