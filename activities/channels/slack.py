"""Team chat (Slack's `chat.postMessage`): class B, because a message carries our digest as metadata and can be found by it.

Source: Slack's Web API. Refusals come as `200` with `ok: false` and a word; `429` has Retry-After.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from activities.channels.http.channel import HttpChannel, Reach, Written, bearer, json_call, page_of, said
from activities.channels.http.reply_tables import BLIND_TAIL, Means, Row
from activities.content import markup
from activities.content.templates import Rendered, Templates
from activities.outgoing.client import Call, Reply, Unanswered, Way
from activities.outgoing.url_policy import NotAllowed
from activities.ports import Outgoing, Prepared, Promise

EVENT = "tenure_message"
MESSAGES, PAGES = "30", 30
"""Messages asked for at once, which may have 40,000 characters each, and how many pages."""
EARLIER = 60.0
"""Seconds before the writing from which a message is looked for: two clocks are never the same."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """A bot's token, and the id of the conversation (`C…`) for who has none of their own in `profile.chat_channel`."""

    token: str
    conversation: str
    base: str = "https://slack.com/api"


class ChatChannel(HttpChannel):
    """A message to the team that looks after somebody."""

    name = "chat"
    promise = Promise.SEARCHABLE
    table = (
        Row("200", Means.LOST, "unreadable", "no answer of Slack's"),
        Row("200", Means.LOST, "internal_error", "it may have been posted"),
        Row("200", Means.LOST, "fatal_error", "it may have been posted"),
        Row("200", Means.LOST, "request_timeout", "it may have been posted"),
        Row("200", Means.DOWN, "service_unavailable"),
        Row("200", Means.TRANSIENT, "ratelimited"),
        Row("200", Means.OURS, "invalid_auth", "the token is not accepted"),
        Row("200", Means.OURS, "not_authed"),
        Row("200", Means.OURS, "token_revoked"),
        Row("200", Means.OURS, "token_expired"),
        Row("200", Means.OURS, "account_inactive"),
        Row("200", Means.OURS, "missing_scope", "the bot may not post"),
        Row("200", Means.PERMANENT, "channel_not_found"),
        Row("200", Means.PERMANENT, "not_in_channel", "invite the bot"),
        Row("200", Means.PERMANENT, "is_archived"),
        Row("200", Means.PERMANENT, "*", "any other word of refusal"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, way: Way, reach: Reach, settings: ChatSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """A conversation's id: the person's own, or everyone's."""
        own = profile.get("chat_channel")
        fits = isinstance(own, str) and own.isalnum() and own.isascii()
        return str(own) if fits else self._settings.conversation or None

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> Written:  # noqa: ARG002 -- the port's
        """Plain text: what people wrote cannot become a mention or a link of another name."""
        link = f"<{escaped(message.action_url)}|{escaped(message.action_label)}>"
        text = f"*{escaped(message.subject)}*\n{escaped(markup.text(message.blocks).strip())}\n{link}"
        return Written({"text": text, "since": time.time() - EARLIER})

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> Call:
        """`chat.postMessage` with our digest as metadata."""
        message = {
            "channel": prepared.address,
            "text": content["text"],
            "unfurl_links": False,
            "metadata": {"event_type": EVENT, "event_payload": {"key": digest}},
        }
        return json_call("POST", f"{self._settings.base}/chat.postMessage", message, bearer(self._settings.token))

    def fault(self, reply: Reply) -> tuple[str, str]:
        """Slack's word, also inside a 200; a 200 that is not Slack's answer has none of its words."""
        found = said(reply)
        if found.get("ok") is True:
            return "", ""
        return str(found.get("error") or "unreadable"), ""

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the conversation has a message with this digest; None if Slack cannot be asked now."""
        content = said(Reply(200, {}, prepared.body))
        query = {"channel": prepared.address, "include_all_metadata": "true", "limit": MESSAGES}
        query["oldest"] = f"{content.get('since', 0):.6f}"
        for _ in range(PAGES):
            url = f"{self._settings.base}/conversations.history?{urlencode(query)}"
            try:
                found = said(await self.way.send(page_of(url, bearer(self._settings.token))))
            except (NotAllowed, Unanswered):
                return None
            if found.get("ok") is not True:
                return None
            if any(_key_of(each) == prepared.reference for each in found.get("messages", ())):
                return True
            if not (cursor := (found.get("response_metadata") or {}).get("next_cursor")):
                return False
            query["cursor"] = str(cursor)
        return None


def escaped(text: str) -> str:
    """Slack's three characters of control."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _key_of(message: Any) -> Any:
    metadata = message.get("metadata") if isinstance(message, dict) else None
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return payload.get("key") if isinstance(payload, dict) else None
