"""Support tickets by Zendesk (class B): open a ticket, or comment on one.

Class B: a ticket carries our digest as `external_id`, a comment as the metadata of its audit, and both can be asked for. Opening
also takes an `Idempotency-Key`. Source: Zendesk's Ticketing API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from activities.channels.email.message import mail_address
from activities.channels.http.access_tokens import basic
from activities.channels.http.channel import HttpChannel, PreparedContent, Reach, json_call, page_request, said
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow, receipt
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import AttemptResult, Outgoing, Prepared, Promise, Receipt, TemplateFault

PAGE, PAGES = 20, 20
"""Audits that are read at once, as each may have a comment of 64 KB in three forms, and how many times."""


@dataclass(frozen=True, slots=True)
class ZendeskSettings:
    """`base` is `https://<company>.zendesk.com`; `agent` the address whose API token it is."""

    base: str
    agent: str
    token: str


class ZendeskChannel(HttpChannel):
    """A conversation with the person in the help desk, opened or carried on."""

    name = "support"
    promise = Promise.SEARCHABLE
    table = (
        ReplyRow("422", ReplyMeaning.PERMANENT, "", "not a ticket that the help desk takes"),
        ReplyRow("404", ReplyMeaning.PERMANENT, "", "no such ticket"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, way: HttpClient, reach: Reach, settings: ZendeskSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The requester's `email`."""
        return mail_address(profile.get("email"))

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:
        """`data.ticket_id`, `data.ticket_tags` (words) and `data.ticket_internal` say where and how."""
        ticket = str(outgoing.data.get("ticket_id") or "")
        if ticket and not (ticket.isascii() and ticket.isdigit()):
            raise TemplateFault("data.ticket_id is not a ticket's number")
        words = f"{markup.markup_text(message.blocks).strip()}\n\n{message.action_label}: {message.action_url}"
        tags = sorted(set(str(outgoing.data.get("ticket_tags") or "").replace(",", " ").split()))
        comment = {"body": words, "public": not outgoing.data.get("ticket_internal")}
        if ticket:
            return PreparedContent(
                {"ticket": ticket, "tags": tags, "fields": {"comment": comment, "metadata": {"key": digest}}}
            )
        name = outgoing.profile.get("first_name") or outgoing.address.partition("@")[0]
        fields = {
            "subject": message.subject,
            "comment": comment,
            "requester": {"name": str(name), "email": outgoing.address},
            "external_id": digest,
            "tags": [*tags, "tenure"],
        }
        return PreparedContent({"ticket": "", "tags": [], "fields": fields})

    def opened_by_person(self, outgoing: Outgoing) -> bool:
        """Not a note, which only agents see."""
        return not outgoing.data.get("ticket_internal")

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """Tags first: adding them twice adds them once, and a comment that fails leaves no harm behind.

        Both have the time of one attempt: after it another may be made, and its comment would stand beside a late one.
        """
        content, ends = said_body(prepared), datetime.now(UTC) + self.attempt
        prepared = replace(prepared, until=min(prepared.until or ends, ends))
        if content.get("tags"):
            url = f"{self._settings.base}/api/v2/tickets/{content['ticket']}/tags.json"
            call = json_call("PUT", url, {"tags": content["tags"]}, self._pass())
            try:
                reply = await self.way.send(self.bounded(call, prepared))
            except (UrlNotAllowed, Unanswered) as fault:
                return Receipt(AttemptResult.TRY_AGAIN, f"the tags: {fault}"[:200], outage=True, left=False)
            if reply.status >= 300:
                first = receipt(self.table, reply, words="the tags")
                unclear = first.result is AttemptResult.UNKNOWN  # about tags only: asked again, nothing is doubled
                return Receipt(AttemptResult.TRY_AGAIN, first.detail, first.after, outage=True) if unclear else first
        return await super().deliver(prepared, key)

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:  # noqa: ARG002
        """Open, or carry on."""
        if content["ticket"]:
            url = f"{self._settings.base}/api/v2/tickets/{content['ticket']}.json"
            return json_call("PUT", url, {"ticket": content["fields"]}, self._pass())
        headers = {**self._pass(), "idempotency-key": digest}
        return json_call("POST", f"{self._settings.base}/api/v2/tickets.json", {"ticket": content["fields"]}, headers)

    async def find(self, prepared: Prepared) -> bool | None:
        """A ticket by its external id, a comment among the ticket's audits; None if nobody can be asked, or not all of it seen.

        Audits come the oldest first, in pages: no order of theirs is documented for cursors, so none is asked for.
        """
        ticket, after = said_body(prepared).get("ticket"), ""
        for _ in range(PAGES):
            page = f"&page[after]={quote(after, safe='')}" if after else ""
            way = f"tickets/{ticket}/audits.json?page[size]={PAGE}{page}" if ticket else ""
            answer = await self._asked(way or f"tickets.json?external_id={quote(prepared.reference)}")
            found = answer.get("audits" if ticket else "tickets")
            if not isinstance(found, list):
                return None
            if any(_key_of(each, of_audit=bool(ticket)) == prepared.reference for each in found):
                return True
            meta = answer.get("meta")
            after = str(meta.get("after_cursor") or "") if isinstance(meta, dict) and meta.get("has_more") else ""
            if not after:
                return False
        return None

    async def _asked(self, way: str) -> Mapping[str, Any]:
        """The answer; nothing if there was none that can be read whole."""
        try:
            reply = await self.way.send(page_request(f"{self._settings.base}/api/v2/{way}", self._pass()))
        except (UrlNotAllowed, Unanswered):
            return {}
        return said(reply) if reply.status == 200 and reply.whole else {}

    def _pass(self) -> dict[str, str]:
        return basic(f"{self._settings.agent}/token", self._settings.token)


def said_body(prepared: Prepared) -> Mapping[str, Any]:
    """What was written, read back."""
    found = json.loads(prepared.body)
    return found if isinstance(found, dict) else {}


def _key_of(item: Any, *, of_audit: bool) -> Any:
    if not isinstance(item, dict):
        return None
    if not of_audit:
        return item.get("external_id")
    custom = (item.get("metadata") or {}).get("custom")
    return custom.get("key") if isinstance(custom, dict) else None
