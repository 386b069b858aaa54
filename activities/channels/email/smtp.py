"""E-mail over SMTP: rendered once, then sent as the same bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from activities.channels.email.headers import identity_headers, reply_to_addresses, trace_headers, unsubscribe_url
from activities.channels.email.layout import CLIPPED, html_digest, html_part, text_digest, text_part
from activities.channels.email.message import MailMessage, mail_address, mail_bytes, named_address
from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp_pool import RefusedByRelay, SendProgress, SmtpEnvelope, SmtpPool
from activities.channels.message_hash import message_hash
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLink, ClickLinks, summary_of_links, track_links
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry, TemplateFault
from journeys.consent.bounces import is_permanent_failure
from journeys.content.variants import Sender
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links

if TYPE_CHECKING:
    from activities.channels.email.dkim import DkimKey

log = structlog.get_logger()

Search = Callable[[str], bool]
"""Whether the provider has a mail with this Message-ID. May raise OSError when it cannot be asked."""


def _clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """How mails are sent. `domain` is the right side of every Message-ID; `sender` is a name and an address.

    With `links` each mail has a way out in its footer, signed for its recipient and topic, and RFC 8058's one-click
    headers where the link is https. `postal` is the footer's text: who writes, and the address that CAN-SPAM asks for.
    A relay too far away for `attempt` within a step's 2 s is not `local`. With `clicks`, links go through us so that
    clicks are heard of; with `replies` answers come back to us, beside whoever signs.
    """

    relay: SmtpRelay = field(default_factory=SmtpRelay)
    sender: tuple[str, str] = ("Tenure", "hello@tenure.example")
    domain: str = "tenure.example"
    links: Links | None = None
    postal: str = ""
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    retry: Retry = field(default_factory=Retry)
    attempt: timedelta = timedelta(seconds=1.5)
    local: bool = True
    clicks: ClickLinks | None = None
    dkim: DkimKey | None = None
    replies: ReplyAddresses | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what would only show when the first mail leaves."""
        if mail_address(self.sender[1]) != self.sender[1] or mail_address(f"x@{self.domain}") is None:
            raise ValueError("the sender's address and the Message-ID's domain must be plain and ASCII")
        named_address(*self.sender)


@dataclass(frozen=True, slots=True)
class MailContent:
    """What a mail says, and what the ledger keeps of it. `sender` signs instead of the house."""

    subject: str
    text: str
    html: str
    summary: Mapping[str, Any]
    sender: Sender | None = None


class EmailChannel:
    """Plain SMTP promises nothing (class C), unless the provider can be searched by Message-ID (class B)."""

    name = "email"
    inside = False

    def __init__(
        self,
        templates: Templates,
        settings: EmailSettings,
        *,
        search: Search | None = None,
        clock: Callable[[], datetime] = _clock,
    ) -> None:
        self._templates, self._settings, self._search, self._clock = templates, settings, search, clock
        self._pool = SmtpPool(settings.relay, settings.domain)
        self.promise = Promise.BLIND if search is None else Promise.SEARCHABLE
        self.ambiguity = settings.ambiguity
        self.retry = settings.retry
        self.attempt = settings.attempt
        self.local = settings.local

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The person's `email`, if it is one."""
        return mail_address(profile.get("email"))

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """The whole mail as bytes, dated now. Raises TemplateFault."""
        if mail_address(outgoing.address) != outgoing.address:
            raise TemplateFault("the address is not one that can be sent to")
        digest = message_hash(outgoing.key)
        unsubscribe = unsubscribe_url(self._settings.links, outgoing, digest, self._clock())
        said = self._together(outgoing, unsubscribe) if outgoing.items else self._one(outgoing, unsubscribe)
        return self._prepared(outgoing, said, (*identity_headers(digest, unsubscribe), *trace_headers(outgoing)))

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """A mail to try a message out, marked as such in its subject and a header; no click of it is heard of."""
        postal = self._settings.postal
        text, html = text_part(message, sender=postal), html_part(message, sender=postal)
        said = MailContent(f"[Test] {message.subject}", text, html, {"variant": message.variant}, message.sender)
        return self._prepared(
            outgoing, said, (*identity_headers(message_hash(outgoing.key), ""), ("X-Tenure-Test", "1"))
        )

    def _one(self, outgoing: Outgoing, unsubscribe: str) -> MailContent:
        message = self._templates.render(outgoing, unsubscribe, self.name)
        message, links = track_links(self._settings.clicks, message, outgoing.key)
        summary = {"topic": message.topic, "variant": message.variant, **links}
        foot = {"sender": self._settings.postal, "unsubscribe_url": unsubscribe}
        return MailContent(
            message.subject, text_part(message, **foot), html_part(message, **foot), summary, message.sender
        )

    def _together(self, outgoing: Outgoing, unsubscribe: str) -> MailContent:
        digest = self._templates.render_together(outgoing.template, outgoing.items, unsubscribe, self.name)
        links: tuple[ClickLink, ...] = ()
        if self._settings.clicks is not None:
            digest, links = self._settings.clicks.follow_together(digest, outgoing.key)
        foot = {"sender": self._settings.postal, "unsubscribe_url": unsubscribe}
        summary = {"topics": digest.topics, "variant": digest.variant, **digest.told(), **summary_of_links(links)}
        return MailContent(digest.subject, text_digest(digest, **foot), html_digest(digest, **foot), summary)

    def _prepared(self, outgoing: Outgoing, said: MailContent, extra: tuple[tuple[str, str], ...]) -> Prepared:
        sender, manager = self._signed(said.sender)
        digest = message_hash(outgoing.key)
        reply_to = reply_to_addresses(self._settings.replies, outgoing, digest, manager)
        mail = MailMessage(
            sender=sender,
            to=outgoing.address,
            subject=said.subject,
            date=self._clock(),
            message_id=f"<{digest}@{self._settings.domain}>",
            text=said.text,
            html=said.html,
            extra=(*((("Reply-To", ", ".join(reply_to)),) if reply_to else ()), *extra),
        )
        summary = {"subject": said.subject, "template": outgoing.template, **said.summary}
        if len(said.html.encode()) > CLIPPED:
            log.warning("email.clipped", template=outgoing.template, bytes=len(said.html.encode()))
            summary["clipped"] = True
        return Prepared(mail.message_id, outgoing.address, mail_bytes(mail), summary)

    def _signed(self, sender: Sender | None) -> tuple[tuple[str, str], str | None]:
        """From: our own address always, whoever signs; answers go where the content's rules allow."""
        deps, address = self._settings.sender
        if sender is None:
            return (deps, address), None
        return (sender.name if sender.name.isprintable() else deps, address), mail_address(sender.reply_to)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:  # noqa: ARG002 -- SMTP takes no key
        """One attempt. What happened after the final dot and before the reply is unknown; before it, nothing did."""
        if mail_address(prepared.address) != prepared.address:
            return Receipt(AttemptResult.REFUSED, "not an address that can be sent to")
        key_of_ours = self._settings.dkim
        body = key_of_ours.signed(prepared.body) if key_of_ours is not None else prepared.body
        envelope = SmtpEnvelope(self._settings.sender[1], prepared.address, body)
        progress = SendProgress(until=prepared.until)
        try:
            async with asyncio.timeout(self.attempt.total_seconds()):
                await self._pool.send(envelope, progress)
        except RefusedByRelay as refusal:
            gone = not refusal.of_sender and refusal.code // 100 == 5 and is_permanent_failure(refusal.words)
            return Receipt(_refused(refusal, progress), _words(refusal, prepared.address), gone=gone)
        except TimeoutError:
            return Receipt(_lost(progress), "no answer in time", outage=True, left=progress.dot_sent)
        except Exception as fault:  # noqa: BLE001 -- what a relay says may surprise the library; the dot alone decides
            words = f"the connection failed ({type(fault).__name__})"
            return Receipt(_lost(progress), words, outage=True, left=progress.dot_sent)
        return Receipt(AttemptResult.SENT)

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the provider has this Message-ID; None if it cannot be asked, or not now."""
        if self._search is None:
            return None
        try:
            return await asyncio.to_thread(self._search, prepared.reference)
        except OSError:
            return None

    async def close(self) -> None:
        """Say goodbye on every kept connection."""
        await self._pool.close()


def _refused(refusal: RefusedByRelay, progress: SendProgress) -> AttemptResult:
    """RFC 5321 §4.2.1: 5yz is for good, 4yz for now. Any other reply is none.

    A relay that refuses *us* (no log-in, an unknown sender) has said nothing about the person: that can be mended.
    """
    match refusal.code // 100:
        case 5:
            return AttemptResult.TRY_AGAIN if refusal.of_sender else AttemptResult.REFUSED
        case 4:
            return AttemptResult.TRY_AGAIN
        case _:
            return _lost(progress)


def _lost(progress: SendProgress) -> AttemptResult:
    return AttemptResult.UNKNOWN if progress.dot_sent else AttemptResult.TRY_AGAIN


def _words(refusal: RefusedByRelay, address: str) -> str:
    """The relay's words without the person's: relays like to repeat the address."""
    personal = "|".join(map(re.escape, (address, address.rpartition("@")[0])))
    words = re.sub(rf"(?<!\w)(?:{personal})(?!\w)", "…", " ".join(refusal.words.split()), flags=re.IGNORECASE)
    words = " ".join("…" if "@" in word else word for word in words.split(" "))
    return f"{refusal.code} {words}"[:200]
