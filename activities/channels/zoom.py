"""Webinar registration by Zoom (class B), at `data.webinar_id`.

Class B: the list of registrants can be searched for the address. Source: Zoom's Webinars API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from activities.channels.email.message import mail_address
from activities.channels.http.access_tokens import AccessToken, account_credentials
from activities.channels.http.channel import (
    HttpChannel,
    NoAccessToken,
    PreparedContent,
    Reach,
    bearer,
    json_call,
    json_object,
    page_request,
)
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpReply, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Outgoing, Prepared, Promise, Receipt, TemplateFault

REGISTRANTS, PAGES = "300", 40
"""Registrants of a page, Zoom's maximum, and pages that are searched."""


@dataclass(frozen=True, slots=True)
class ZoomSettings:
    """A server-to-server app of a Zoom account."""

    account: str
    client: str
    secret: str
    base: str = "https://api.zoom.us/v2"
    token_url: str = "https://zoom.us/oauth/token"  # noqa: S105 — a URL


class ZoomChannel(HttpChannel):
    """A registration for a webinar."""

    name = "webinar"
    system = "zoom"
    promise = Promise.SEARCHABLE
    table = (
        ReplyRow("400", ReplyMeaning.PERMANENT, "300", "Zoom rejects the request"),
        ReplyRow("404", ReplyMeaning.PERMANENT, "3001", "the webinar is over, or does not exist"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "3038", "the webinar is over"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "3027", "the webinar's own host cannot register"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "3034", "only addresses of the host's company may register"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "3000", "the webinar accepts no registrations"),
        ReplyRow("400", ReplyMeaning.OURS, "200", "the account has no plan for webinars"),
        ReplyRow("401", ReplyMeaning.OURS, "124", "the access token has expired; the next attempt has a new one"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: ZoomSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings = settings
        request = account_credentials(settings.token_url, settings.account, settings.client, settings.secret)
        self._token = AccessToken(http, request)

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The person's `email`."""
        return mail_address(profile.get("email"))

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:  # noqa: ARG002 — part of the port
        """Registrant and webinar. Raises TemplateFault without a webinar's number."""
        webinar = str(outgoing.data.get("webinar_id") or "")
        if not (webinar.isascii() and webinar.isdigit()):
            raise TemplateFault("data.webinar_id must be the webinar's number")
        first = outgoing.profile.get("first_name") or outgoing.address.partition("@")[0]
        person = {"email": outgoing.address, "first_name": str(first)[:64]}
        if last := outgoing.profile.get("last_name"):
            person["last_name"] = str(last)[:64]
        return PreparedContent({"webinar": webinar, "registrant": person})

    def opened_by_person(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 — part of the port
        """Never: Zoom writes the invitation."""
        return False

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:  # noqa: ARG002
        """`POST /webinars/{id}/registrants`."""
        url = f"{self._settings.base}/webinars/{content['webinar']}/registrants"
        return json_call("POST", url, content["registrant"], bearer(await self._token.token()))

    def read(self, reply: HttpReply) -> Receipt:
        """Receipt by the table. A rejected token is not used again."""
        if reply.status == 401:
            self._token.invalidate()
        return super().read(reply)

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the address is among the approved or pending registrants."""
        webinar = json.loads(prepared.body)["webinar"]
        unclear = False
        for status in ("approved", "pending"):
            registered = await self._is_registered(webinar, status, prepared.address)
            if registered:
                return True
            unclear = unclear or registered is None
        return None if unclear else False

    async def _is_registered(self, webinar: str, status: str, address: str) -> bool | None:
        query = {"status": status, "page_size": REGISTRANTS}
        for _ in range(PAGES):
            url = f"{self._settings.base}/webinars/{webinar}/registrants?{urlencode(query)}"
            try:
                reply = await self.http.send(page_request(url, bearer(await self._token.token())))
            except (UrlNotAllowed, Unanswered, NoAccessToken):
                return None
            answer = json_object(reply)
            people = answer.get("registrants")
            if reply.status != 200 or not isinstance(people, list):
                return None
            if any(
                str(registrant.get("email", "")).lower() == address.lower()
                for registrant in people
                if isinstance(registrant, dict)
            ):
                return True
            if not (following := answer.get("next_page_token")):
                return False
            query["next_page_token"] = str(following)
        return None
