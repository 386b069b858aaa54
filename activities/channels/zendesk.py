"""Support tickets by Zendesk (class B): open a ticket, or comment on one.

Class B: a ticket carries the key's hash as `external_id`, a comment in the metadata of its audit, and both can be searched.
Opening also accepts an `Idempotency-Key`. Source: Zendesk's Ticketing API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from activities.channels.email.message import mail_address
from activities.channels.http.access_tokens import basic
from activities.channels.http.channel import HttpChannel, PreparedContent, Reach, json_call, json_object, page_request
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow, receipt_for
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import AttemptResult, Outgoing, Prepared, Promise, Receipt, TemplateFault
from store.process_clock import current_instant

PAGE, PAGES = 20, 20
"""Audits of a page, each with a comment of up to 64 KB in three forms, and pages that are searched."""


@dataclass(frozen=True, slots=True)
class ZendeskSettings:
    """`base` is `https://<company>.zendesk.com`; `agent` is the mail address that owns the API token."""

    base: str
    agent: str
    token: str


class ZendeskChannel(HttpChannel):
    """A new ticket, or a comment on an existing one."""

    name = "support"
    system = "zendesk"
    promise = Promise.SEARCHABLE
    table = (
        ReplyRow("422", ReplyMeaning.PERMANENT, "", "Zendesk rejects the ticket"),
        ReplyRow("404", ReplyMeaning.PERMANENT, "", "no such ticket"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: ZendeskSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The requester's `email`."""
        return mail_address(profile.get("email"))

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:
        """Ticket or comment, by `data.ticket_id`, `data.ticket_tags` (words) and `data.ticket_internal`."""
        ticket = str(outgoing.data.get("ticket_id") or "")
        if ticket and not (ticket.isascii() and ticket.isdigit()):
            raise TemplateFault("data.ticket_id is not a ticket's number")
        text = f"{markup.markup_text(message.blocks).strip()}\n\n{message.action_label}: {message.action_url}"
        tags = sorted(set(str(outgoing.data.get("ticket_tags") or "").replace(",", " ").split()))
        comment = {"body": text, "public": not outgoing.data.get("ticket_internal")}
        if ticket:
            return PreparedContent(
                {"ticket": ticket, "tags": tags, "fields": {"comment": comment, "metadata": {"key": key_hash}}}
            )
        name = outgoing.profile.get("first_name") or outgoing.address.partition("@")[0]
        fields = {
            "subject": message.subject,
            "comment": comment,
            "requester": {"name": str(name), "email": outgoing.address},
            "external_id": key_hash,
            "tags": [*tags, "tenure"],
        }
        return PreparedContent({"ticket": "", "tags": [], "fields": fields})

    def opened_by_person(self, outgoing: Outgoing) -> bool:
        """Not for internal notes, which only agents see."""
        return not outgoing.data.get("ticket_internal")

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """Tags first: adding them is idempotent, and no harm if the comment then fails.

        Both share the time of one attempt, so that a late comment cannot stand beside that of a retry.
        """
        content, end = json.loads(prepared.body), current_instant() + self.attempt
        prepared = replace(prepared, until=min(prepared.until or end, end))
        if content.get("tags"):
            url = f"{self._settings.base}/api/v2/tickets/{content['ticket']}/tags.json"
            call = json_call("PUT", url, {"tags": content["tags"]}, self._token())
            try:
                reply = await self.http.send(self.bounded(call, prepared))
            except (UrlNotAllowed, Unanswered) as error:
                return Receipt(AttemptResult.TRY_AGAIN, f"tags: {error}"[:200], outage=True, left=False)
            if reply.status >= 300:
                receipt = receipt_for(self.table, reply, words="tags", system=self.system)
                unclear = receipt.result is AttemptResult.UNKNOWN  # only tags: trying again duplicates nothing
                return (
                    Receipt(AttemptResult.TRY_AGAIN, receipt.detail, receipt.after, outage=True) if unclear else receipt
                )
        return await super().deliver(prepared, key)

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:  # noqa: ARG002
        """Request that opens a ticket, or comments on one."""
        if content["ticket"]:
            url = f"{self._settings.base}/api/v2/tickets/{content['ticket']}.json"
            return json_call("PUT", url, {"ticket": content["fields"]}, self._token())
        headers = {**self._token(), "idempotency-key": key_hash}
        return json_call("POST", f"{self._settings.base}/api/v2/tickets.json", {"ticket": content["fields"]}, headers)

    async def find(self, prepared: Prepared) -> bool | None:
        """Search a ticket by external id, or a comment among the ticket's audits; None if the search is incomplete.

        Audits come oldest first: Zendesk documents no other order for cursors.
        """
        ticket, after = json.loads(prepared.body).get("ticket"), ""
        for _ in range(PAGES):
            page = f"&page[after]={quote(after, safe='')}" if after else ""
            path = f"tickets/{ticket}/audits.json?page[size]={PAGE}{page}" if ticket else ""
            answer = await self._search(path or f"tickets.json?external_id={quote(prepared.reference)}")
            records = answer.get("audits" if ticket else "tickets")
            if not isinstance(records, list):
                return None
            if any(_key_of(record, of_audit=bool(ticket)) == prepared.reference for record in records):
                return True
            meta = answer.get("meta")
            after = str(meta.get("after_cursor") or "") if isinstance(meta, dict) and meta.get("has_more") else ""
            if not after:
                return False
        return None

    async def _search(self, path: str) -> Mapping[str, Any]:
        """The answer as JSON; empty unless it could be read completely."""
        try:
            reply = await self.http.send(page_request(f"{self._settings.base}/api/v2/{path}", self._token()))
        except (UrlNotAllowed, Unanswered):
            return {}
        return json_object(reply) if reply.status == 200 and reply.whole else {}

    def _token(self) -> dict[str, str]:
        return basic(f"{self._settings.agent}/token", self._settings.token)


def _key_of(record: Any, *, of_audit: bool) -> Any:
    if not isinstance(record, dict):
        return None
    if not of_audit:
        return record.get("external_id")
    custom = (record.get("metadata") or {}).get("custom")
    return custom.get("key") if isinstance(custom, dict) else None
