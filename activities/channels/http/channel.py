"""Base of channels over HTTP: one request, its reply read by a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

from activities.channels.http.reply_tables import ReplyTable, receipt_for
from activities.channels.message_hash import message_hash
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks, track_links
from activities.outgoing.client import MAX_PAGE, HttpClient, HttpReply, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry, TemplateFault
from journeys.consent.failure_classes import HTTP
from store.process_clock import current_instant

NEAR, FAR = timedelta(seconds=1.5), timedelta(seconds=15)
PAGE_SECONDS = 5.0
_RETRY = Retry()


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a provider is near, that is, answers fast enough to be tried inside a step; and whether links are tracked."""

    near: bool = False
    clicks: ClickLinks | None = None

    @property
    def attempt(self) -> timedelta:
        """Limit of one attempt."""
        return NEAR if self.near else FAR


@dataclass(frozen=True, slots=True)
class PreparedContent:
    """A message in a provider's form. `content` is stored as JSON and sent; `summary` goes to the ledger."""

    content: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)


class HttpChannel:
    """A channel over HTTP. An adapter defines `address`, `write`, `call` and the class attributes of its provider."""

    name: str = ""
    promise: Promise
    table: ClassVar[ReplyTable]
    system: ClassVar[str] = HTTP
    """The provider in the table of failures (`journeys/consent/failure_classes.py`)."""
    retry: Retry = _RETRY
    inside = False
    ambiguity = Ambiguity.AT_MOST_ONCE
    time_sensitive = False
    """Whether only time-sensitive templates are sent (C7)."""

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach) -> None:
        self.templates, self.http = templates, http
        self.local, self.attempt, self._clicks = reach.near, reach.attempt, reach.clicks

    # -- defined by adapters -------------------------------------------------------------------------------------

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """The person's address, or None."""
        raise NotImplementedError

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:
        """The message in the provider's form. Raises TemplateFault."""
        raise NotImplementedError

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:
        """The request that sends `content`."""
        raise NotImplementedError

    def unsubscribe(self, key_hash: str) -> str:  # noqa: ARG002 — for adapters
        """The unsubscribe link of this message; empty where the channel has none."""
        return ""

    def opened_by_person(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 — for adapters
        """Whether the recipient opens its links; only then clicks are tracked."""
        return True

    def read(self, reply: HttpReply) -> Receipt:
        """Receipt for a reply, by the table."""
        code, words = self.fault(reply)
        return receipt_for(self.table, reply, code, words, system=self.system)

    def fault(self, reply: HttpReply) -> tuple[str, str]:
        """The provider's error code and message."""
        answer = json_object(reply)
        return str(answer.get("code", answer.get("name", ""))), str(answer.get("message", ""))

    # -- the port --------------------------------------------------------------------------------------------------

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Render the message once. Raises TemplateFault, also for a template that this channel does not send (C7)."""
        if self.time_sensitive:
            self.templates.must_be_urgent(outgoing.template, self.name)
        if outgoing.items:
            raise TemplateFault(f"{self.name} sends no digests")
        key_hash = message_hash(outgoing.key)
        message = self.templates.render(outgoing, self.unsubscribe(key_hash), self.name)
        message, links = track_links(self._clicks if self.opened_by_person(outgoing) else None, message, key_hash)
        written = self.write(message, outgoing, key_hash)
        summary = {"subject": message.subject, "template": outgoing.template, "topic": message.topic}
        return Prepared(key_hash, outgoing.address, as_body(written.content), {**summary, **links, **written.summary})

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt, within `attempt`."""
        try:
            call = await self.call(json.loads(prepared.body), prepared, message_hash(key))
            reply = await self.client_for(prepared).send(self.bounded(call, prepared))
        except UrlNotAllowed as error:
            return self.not_allowed(error, prepared)
        except Unanswered as error:
            result = AttemptResult.UNKNOWN if error.left else AttemptResult.TRY_AGAIN
            return Receipt(result, str(error), outage=True, left=error.left)
        except NoAccessToken as error:
            return error.receipt
        try:
            return self.read(reply)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Receipt(AttemptResult.UNKNOWN, f"{reply.status} with an unreadable answer ({type(error).__name__})")

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 — part of the port
        """Not searchable; adapters of class B override this."""
        return None

    async def close(self) -> None:
        """Close kept connections."""
        await self.http.close()

    def client_for(self, prepared: Prepared) -> HttpClient:  # noqa: ARG002 — for adapters
        """The HTTP client for this message."""
        return self.http

    def not_allowed(self, error: UrlNotAllowed, prepared: Prepared) -> Receipt:  # noqa: ARG002 — for adapters
        """Receipt for a URL that is not allowed. It is the operator's, so this person is tried again."""
        return Receipt(AttemptResult.TRY_AGAIN, str(error)[:200], outage=True, left=False)

    def bounded(self, call: HttpRequest, prepared: Prepared) -> HttpRequest:
        """The request, limited to the rest of the attempt and to the instant after which it may not leave."""
        remaining = self.attempt if prepared.until is None else min(self.attempt, prepared.until - current_instant())
        return replace(call, seconds=max(0.0, remaining.total_seconds()), until=prepared.until)


class NoAccessToken(Exception):
    """No access token could be obtained, so nothing was sent. `receipt` has the reason."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.receipt = Receipt(AttemptResult.TRY_AGAIN, words[:200], outage=True, left=False)


def json_object(reply: HttpReply) -> Mapping[str, Any]:
    """The body of a reply as a JSON object; empty if it is not one."""
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def as_body(content: Any) -> bytes:
    """Content as JSON bytes; the same content gives the same bytes."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def json_call(method: str, url: str, content: Any, headers: Mapping[str, str]) -> HttpRequest:
    """A request with a JSON body."""
    body = b"" if content is None else as_body(content)
    kind = {"content-type": "application/json"} if body else {}
    return HttpRequest(method, url, {**kind, **headers}, body)


def page_request(url: str, headers: Mapping[str, str]) -> HttpRequest:
    """A GET request for one page of a list."""
    return HttpRequest("GET", url, headers, seconds=PAGE_SECONDS, largest=MAX_PAGE)


def bearer(token: str) -> Mapping[str, str]:
    """Header with a bearer token (RFC 6750 §2.1)."""
    return {"authorization": f"Bearer {token}"}
