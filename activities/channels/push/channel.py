"""Push channel: FCM for apps, Web Push for browsers, time-sensitive messages only (C7).

Class C: neither takes a key. But both replace a notification of the same tag, and the tag is our digest: what arrives twice is
seen once. So the default is at least once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from activities.channels.http.access_tokens import AccessToken, service_account
from activities.channels.http.channel import HttpChannel, NoAccessToken, PreparedContent, Reach, bearer, json_call, said
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow
from activities.channels.push.web_push import Subscription, WebPush
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpReply, HttpRequest
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, TemplateFault

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
LARGEST = 3_000
"""Bytes of what is shown: FCM and Web Push take 4,096 with everything around it."""


@dataclass(frozen=True, slots=True)
class FcmSettings:
    """A service account of the project; `private_key` is PEM."""

    project: str
    email: str
    private_key: str
    base: str = "https://fcm.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address


class PushChannel(HttpChannel):
    """`profile.push_token` goes by FCM, `profile.push_subscription` by Web Push; the app's first."""

    name = "push"
    promise = Promise.BLIND
    ambiguity = Ambiguity.AT_LEAST_ONCE
    time_sensitive = True
    table = (
        ReplyRow("404", ReplyMeaning.PERMANENT, "UNREGISTERED", "the app was removed"),
        ReplyRow("404", ReplyMeaning.PERMANENT, "", "the browser's subscription is gone"),
        ReplyRow("410", ReplyMeaning.PERMANENT, "", "the browser's subscription is gone"),
        ReplyRow(
            "400",
            ReplyMeaning.PERMANENT,
            "INVALID_ARGUMENT",
            "not a registration token, or not a message that it takes",
        ),
        ReplyRow("403", ReplyMeaning.PERMANENT, "SENDER_ID_MISMATCH", "a token of another project"),
        ReplyRow(
            "401", ReplyMeaning.OURS, "THIRD_PARTY_AUTH_ERROR", "the project's own certificate or key is not accepted"
        ),
        ReplyRow("401", ReplyMeaning.OURS, "APNS_AUTH_ERROR", "as before, by its older name"),
        ReplyRow(
            "429", ReplyMeaning.TRANSIENT, "QUOTA_EXCEEDED", "too many; Retry-After is kept for the whole provider"
        ),
        ReplyRow("503", ReplyMeaning.DOWN, "UNAVAILABLE", "overloaded"),
        ReplyRow("500", ReplyMeaning.LOST, "INTERNAL", "it may have been taken"),
        *BLIND_TAIL,
    )

    def __init__(
        self,
        templates: Templates,
        way: HttpClient,
        reach: Reach,
        *,
        fcm: FcmSettings | None = None,
        web: WebPush | None = None,
        browsers: HttpClient | None = None,
    ) -> None:
        """`browsers` is the way to their services: strangers choose those, so it is better not the way to FCM."""
        super().__init__(templates, way, reach)
        self._fcm, self._web, self._browsers = fcm, web, browsers or way
        account = (fcm.token_url, fcm.email, fcm.private_key, SCOPE) if fcm is not None else None
        self._pass = AccessToken(way, service_account(*account)) if account is not None else None

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """An FCM token, or a Web Push subscription as JSON."""
        token, subscription = profile.get("push_token"), Subscription.read(profile.get("push_subscription"))
        if self._fcm is not None and isinstance(token, str) and token and token.isascii() and token.isprintable():
            return token
        return subscription.text() if self._web is not None and subscription is not None else None

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:
        """Title, words, link and tag. Raises TemplateFault for what no device would take."""
        body = markup.markup_text(message.blocks).strip()
        content = {"title": message.subject, "body": body, "url": message.action_url, "tag": digest[:32]}
        if len(json.dumps(content, ensure_ascii=False).encode()) > LARGEST:
            raise TemplateFault(f"{outgoing.template} is longer than a notification may be ({LARGEST} bytes)")
        return PreparedContent(content)

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:  # noqa: ARG002
        """To the device's own service."""
        if _of_browser(prepared):
            subscription = Subscription.read(prepared.address)
            if subscription is None:
                raise UrlNotAllowed("the browser's subscription is none that can be sent to")
            if self._web is None:
                raise NoAccessToken("Web Push is not configured any more")
            return self._web.call(subscription, content)
        if self._fcm is None or self._pass is None:
            raise NoAccessToken("FCM is not configured any more")
        url = f"{self._fcm.base}/v1/projects/{self._fcm.project}/messages:send"
        return json_call("POST", url, {"message": _fcm_message(content, prepared)}, bearer(await self._pass.token()))

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """A browser's service is a stranger's, so what it does neither opens the breaker nor holds up others."""
        receipt = await super().deliver(prepared, key)
        return replace(receipt, outage=False, after=None) if _of_browser(prepared) else receipt

    def way_to(self, prepared: Prepared) -> HttpClient:
        """A browser's has its own."""
        return self._browsers if _of_browser(prepared) else self.way

    async def close(self) -> None:
        """Both ways."""
        await super().close()
        await self._browsers.close()

    def not_allowed(self, fault: UrlNotAllowed, prepared: Prepared) -> Receipt:
        """An address that a browser gave and that leads inside, or that nothing can be encrypted for, is refused for good."""
        if _of_browser(prepared):
            return Receipt(AttemptResult.REFUSED, str(fault)[:200], left=False)
        return super().not_allowed(fault, prepared)

    def read(self, reply: HttpReply) -> Receipt:
        """The table's word; a token that is not taken any more is not used again."""
        if reply.status == 401 and self._pass is not None:
            self._pass.spoiled()
        return super().read(reply)

    def fault(self, reply: HttpReply) -> tuple[str, str]:
        """FCM's own code stands in the details, where there is one."""
        error = said(reply).get("error")
        if not isinstance(error, dict):
            return "", ""
        details = [each for each in error.get("details", ()) if isinstance(each, dict)]
        code = next((each["errorCode"] for each in details if "errorCode" in each), error.get("status", ""))
        return str(code), str(error.get("message", ""))


def _of_browser(prepared: Prepared) -> bool:
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
