"""Team chat by Slack (class B): the message's metadata carries our reference.

Source: Slack's Web API. Errors come as `200` with `ok: false` and a code; `429` has Retry-After.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from activities.channels.http.channel import (
    HttpChannel,
    PreparedContent,
    Reach,
    bearer,
    json_call,
    json_object,
    page_request,
)
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpReply, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Outgoing, Prepared, Promise

EVENT = "tenure_message"
MESSAGES, PAGES = "30", 30
"""Messages of a page, each of up to 40,000 characters, and pages that are searched."""
CLOCK_SKEW = 60.0
"""Seconds before the rendering from which the search starts, because clocks differ."""


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """A bot's token, and the conversation (`C…`) for people without one in `profile.chat_channel`."""

    token: str
    conversation: str
    base: str = "https://slack.com/api"


class SlackChannel(HttpChannel):
    """A message to the team that looks after a person."""

    name = "chat"
    system = "slack"
    promise = Promise.SEARCHABLE
    table = (
        ReplyRow("200", ReplyMeaning.LOST, "unreadable", "not an answer from Slack"),
        ReplyRow("200", ReplyMeaning.LOST, "internal_error", "it may have been posted"),
        ReplyRow("200", ReplyMeaning.LOST, "fatal_error", "it may have been posted"),
        ReplyRow("200", ReplyMeaning.LOST, "request_timeout", "it may have been posted"),
        ReplyRow("200", ReplyMeaning.DOWN, "service_unavailable"),
        ReplyRow("200", ReplyMeaning.TRANSIENT, "ratelimited"),
        ReplyRow("200", ReplyMeaning.OURS, "invalid_auth", "the token is not accepted"),
        ReplyRow("200", ReplyMeaning.OURS, "not_authed"),
        ReplyRow("200", ReplyMeaning.OURS, "token_revoked"),
        ReplyRow("200", ReplyMeaning.OURS, "token_expired"),
        ReplyRow("200", ReplyMeaning.OURS, "account_inactive"),
        ReplyRow("200", ReplyMeaning.OURS, "missing_scope", "the bot may not post"),
        ReplyRow("200", ReplyMeaning.PERMANENT, "channel_not_found"),
        ReplyRow("200", ReplyMeaning.PERMANENT, "not_in_channel", "invite the bot"),
        ReplyRow("200", ReplyMeaning.PERMANENT, "is_archived"),
        ReplyRow("200", ReplyMeaning.PERMANENT, "*", "any other error code"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: SlackSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """Id of a conversation: the person's own, or the default."""
        own = profile.get("chat_channel")
        fits = isinstance(own, str) and own.isalnum() and own.isascii()
        return str(own) if fits else self._settings.conversation or None

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:  # noqa: ARG002 — part of the port
        """Plain text: nothing in it can become a mention or a link."""
        link = f"<{escaped(message.action_url)}|{escaped(message.action_label)}>"
        text = f"*{escaped(message.subject)}*\n{escaped(markup.markup_text(message.blocks).strip())}\n{link}"
        return PreparedContent({"text": text, "since": time.time() - CLOCK_SKEW})

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:
        """`chat.postMessage` with the key's hash as metadata."""
        message = {
            "channel": prepared.address,
            "text": content["text"],
            "unfurl_links": False,
            "metadata": {"event_type": EVENT, "event_payload": {"key": key_hash}},
        }
        return json_call("POST", f"{self._settings.base}/chat.postMessage", message, bearer(self._settings.token))

    def fault(self, reply: HttpReply) -> tuple[str, str]:
        """Slack's error code, also in a 200; `unreadable` if the answer is not from Slack."""
        answer = json_object(reply)
        if answer.get("ok") is True:
            return "", ""
        return str(answer.get("error") or "unreadable"), ""

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the conversation has a message with this hash; None if Slack does not answer."""
        content = json_object(HttpReply(200, {}, prepared.body))
        query = {"channel": prepared.address, "include_all_metadata": "true", "limit": MESSAGES}
        query["oldest"] = f"{content.get('since', 0):.6f}"
        for _ in range(PAGES):
            url = f"{self._settings.base}/conversations.history?{urlencode(query)}"
            try:
                answer = json_object(await self.http.send(page_request(url, bearer(self._settings.token))))
            except (UrlNotAllowed, Unanswered):
                return None
            if answer.get("ok") is not True:
                return None
            if any(_key_of(message) == prepared.reference for message in answer.get("messages", ())):
                return True
            if not (cursor := (answer.get("response_metadata") or {}).get("next_cursor")):
                return False
            query["cursor"] = str(cursor)
        return None


def escaped(text: str) -> str:
    """Text with Slack's control characters escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _key_of(message: Any) -> Any:
    metadata = message.get("metadata") if isinstance(message, dict) else None
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return payload.get("key") if isinstance(payload, dict) else None
