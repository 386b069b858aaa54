"""Base of channels over HTTP: one request, its reply read by a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from activities.channels.http.reply_tables import ReplyTable, receipt
from activities.channels.message_hash import message_hash
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks, track_links
from activities.outgoing.client import LARGEST_PAGE, HttpClient, HttpReply, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry, TemplateFault

NEAR, FAR = timedelta(seconds=1.5), timedelta(seconds=15)
PAGE_SECONDS = 5.0
_RETRY = Retry()


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a provider is. A near one is tried inside the step; any other on the channel's own queue.

    With `clicks`, links go through us so that clicks are heard of.
    """

    near: bool = False
    clicks: ClickLinks | None = None

    @property
    def attempt(self) -> timedelta:
        """How long one attempt may take."""
        return NEAR if self.near else FAR


@dataclass(frozen=True, slots=True)
class PreparedContent:
    """What an adapter makes of a message: `content` is what is sent, kept as JSON."""

    content: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)


class HttpChannel:
    """A Channel over HTTP. An adapter gives `write`, `call`, and the class attributes that say what its provider promises."""

    name: str = ""
    promise: Promise
    table: ClassVar[ReplyTable]
    retry: Retry = _RETRY
    inside = False
    ambiguity = Ambiguity.AT_MOST_ONCE
    time_sensitive = False
    """Whether only templates marked so may go here (C7)."""

    def __init__(self, templates: Templates, way: HttpClient, reach: Reach) -> None:
        self.templates, self.way = templates, way
        self.local, self.attempt, self._clicks = reach.near, reach.attempt, reach.clicks

    # -- what an adapter gives -------------------------------------------------------------------------------------

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """Where this person is reached, or None."""
        raise NotImplementedError

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:
        """The message in the provider's words. Raises TemplateFault."""
        raise NotImplementedError

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:
        """The request for what was written."""
        raise NotImplementedError

    def unsubscribe(self, digest: str) -> str:  # noqa: ARG002 -- an adapter's that has one
        """The address by which this message's kind is left; empty where the channel has none."""
        return ""

    def opened_by_person(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 -- an adapter's for whom that depends
        """Whether who opens its links is the person it is for: only then a click is theirs."""
        return True

    def read(self, reply: HttpReply) -> Receipt:
        """What the answer says; the table's word, unless the provider hides its own inside a 200."""
        code, words = self.fault(reply)
        return receipt(self.table, reply, code, words)

    def fault(self, reply: HttpReply) -> tuple[str, str]:
        """The provider's code and words in a refusal."""
        found = said(reply)
        return str(found.get("code", found.get("name", ""))), str(found.get("message", ""))

    # -- the port --------------------------------------------------------------------------------------------------

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Rendered once. Raises TemplateFault, also for a template that may not go by this channel (C7)."""
        if self.time_sensitive:
            self.templates.must_be_urgent(outgoing.template, self.name)
        if outgoing.items:
            raise TemplateFault(f"{self.name} takes one message at a time")
        digest = message_hash(outgoing.key)
        message = self.templates.render(outgoing, self.unsubscribe(digest), self.name)
        message, links = track_links(self._clicks if self.opened_by_person(outgoing) else None, message, digest)
        written = self.write(message, outgoing, digest)
        summary = {"subject": message.subject, "template": outgoing.template, "topic": message.topic}
        return Prepared(digest, outgoing.address, as_body(written.content), {**summary, **links, **written.summary})

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt, ended within `attempt`."""
        try:
            call = await self.call(json.loads(prepared.body), prepared, message_hash(key))
            reply = await self.way_to(prepared).send(self.bounded(call, prepared))
        except UrlNotAllowed as fault:
            return self.not_allowed(fault, prepared)
        except Unanswered as fault:
            result = AttemptResult.UNKNOWN if fault.left else AttemptResult.TRY_AGAIN
            return Receipt(result, str(fault), outage=True, left=fault.left)
        except NoAccessToken as fault:
            return fault.receipt
        try:
            return self.read(reply)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            return Receipt(
                AttemptResult.UNKNOWN, f"{reply.status}, and an answer that makes no sense ({type(fault).__name__})"
            )

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 -- the port's
        """Only for what can be searched."""
        return None

    async def close(self) -> None:
        """Let go of kept connections."""
        await self.way.close()

    def way_to(self, prepared: Prepared) -> HttpClient:  # noqa: ARG002 -- an adapter's that has several
        """The way out by which this one goes."""
        return self.way

    def not_allowed(self, fault: UrlNotAllowed, prepared: Prepared) -> Receipt:  # noqa: ARG002 -- an adapter's
        """The address is the operator's: transient for the person, and as for everyone."""
        return Receipt(AttemptResult.TRY_AGAIN, str(fault)[:200], outage=True, left=False)

    def bounded(self, call: HttpRequest, prepared: Prepared) -> HttpRequest:
        """The call with what is left of the attempt, and the moment after which it does not leave."""
        left = self.attempt if prepared.until is None else min(self.attempt, prepared.until - datetime.now(UTC))
        return replace(call, seconds=max(0.0, left.total_seconds()), until=prepared.until)


class NoAccessToken(Exception):
    """There is no access token, so there was no attempt. `receipt` says why."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.receipt = Receipt(AttemptResult.TRY_AGAIN, words[:200], outage=True, left=False)


def said(reply: HttpReply) -> Mapping[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def as_body(content: Any) -> bytes:
    """What was written, as it is kept and sent: the same bytes for the same content."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def json_call(method: str, url: str, content: Any, headers: Mapping[str, str]) -> HttpRequest:
    """A request with a JSON body."""
    body = b"" if content is None else as_body(content)
    kind = {"content-type": "application/json"} if body else {}
    return HttpRequest(method, url, {**kind, **headers}, body)


def page_request(url: str, headers: Mapping[str, str]) -> HttpRequest:
    """A request for some of what a provider has."""
    return HttpRequest("GET", url, headers, seconds=PAGE_SECONDS, largest=LARGEST_PAGE)


def bearer(token: str) -> Mapping[str, str]:
    """RFC 6750 §2.1."""
    return {"authorization": f"Bearer {token}"}
