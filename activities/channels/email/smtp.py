"""E-mail over SMTP: rendered once, then sent as the same bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
from journeys.consent.failure_classes import FailureClass
from journeys.consent.mail_failures import failure_of_reply
from journeys.content.variants import Sender
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links
from store.process_clock import current_instant

if TYPE_CHECKING:
    from activities.channels.email.dkim import DkimKey

log = structlog.get_logger()

Search = Callable[[str], bool]
"""Whether the relay accepted a mail with this Message-ID. Raises OSError if it cannot be searched now."""


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """Settings of mails over SMTP.

    - `sender`: display name and address; `domain`: right side of every Message-ID
    - `links`: signs unsubscribe links; an https link also gets one-click headers (RFC 8058)
    - `postal`: the footer's text, company and postal address (CAN-SPAM)
    - `local`: whether the relay is fast enough for a step (2 s); `attempt`: limit of one attempt
    - `clicks`: tracks links; `replies`: adds a reply address of ours; `dkim`: signs mails
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
        """Raises ValueError for a sender or domain with which no mail could be sent."""
        if mail_address(self.sender[1]) != self.sender[1] or mail_address(f"x@{self.domain}") is None:
            raise ValueError("the sender's address and the domain of Message-IDs must be plain ASCII")
        named_address(*self.sender)


@dataclass(frozen=True, slots=True)
class MailContent:
    """Subject, parts and ledger summary of a mail. `sender` replaces the company's name."""

    subject: str
    text: str
    html: str
    summary: Mapping[str, Any]
    sender: Sender | None = None


class EmailChannel:
    """Mails over SMTP: class B with `search`, else class C."""

    name = "email"
    inside = False

    def __init__(
        self,
        templates: Templates,
        settings: EmailSettings,
        *,
        search: Search | None = None,
        clock: Callable[[], datetime] = current_instant,
    ) -> None:
        self._templates, self._settings, self._search, self._clock = templates, settings, search, clock
        self._pool = SmtpPool(settings.relay, settings.domain)
        self.promise = Promise.BLIND if search is None else Promise.SEARCHABLE
        self.ambiguity = settings.ambiguity
        self.retry = settings.retry
        self.attempt = settings.attempt
        self.local = settings.local

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The person's `email`, if it is valid."""
        return mail_address(profile.get("email"))

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """The mail as bytes, dated now. Raises TemplateFault."""
        if mail_address(outgoing.address) != outgoing.address:
            raise TemplateFault("the address is not a valid mail address")
        key_hash = message_hash(outgoing.key)
        unsubscribe = unsubscribe_url(self._settings.links, outgoing, key_hash, self._clock())
        content = self._digest(outgoing, unsubscribe) if outgoing.items else self._message(outgoing, unsubscribe)
        return self._prepared(outgoing, content, (*identity_headers(key_hash, unsubscribe), *trace_headers(outgoing)))

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """A test send, marked in subject and header, without tracked links."""
        postal = self._settings.postal
        text, html = text_part(message, sender=postal), html_part(message, sender=postal)
        content = MailContent(f"[Test] {message.subject}", text, html, {"variant": message.variant}, message.sender)
        return self._prepared(
            outgoing, content, (*identity_headers(message_hash(outgoing.key), ""), ("X-Tenure-Test", "1"))
        )

    def _message(self, outgoing: Outgoing, unsubscribe: str) -> MailContent:
        message = self._templates.render(outgoing, unsubscribe, self.name)
        message, links = track_links(self._settings.clicks, message, outgoing.key)
        summary = {"topic": message.topic, "variant": message.variant, **links}
        footer = {"sender": self._settings.postal, "unsubscribe_url": unsubscribe}
        return MailContent(
            message.subject, text_part(message, **footer), html_part(message, **footer), summary, message.sender
        )

    def _digest(self, outgoing: Outgoing, unsubscribe: str) -> MailContent:
        digest = self._templates.render_digest(outgoing.template, outgoing.items, unsubscribe, self.name)
        links: tuple[ClickLink, ...] = ()
        if self._settings.clicks is not None:
            digest, links = self._settings.clicks.follow_digest(digest, outgoing.key)
        footer = {"sender": self._settings.postal, "unsubscribe_url": unsubscribe}
        summary = {"topics": digest.topics, "variant": digest.variant, **digest.summary(), **summary_of_links(links)}
        return MailContent(digest.subject, text_digest(digest, **footer), html_digest(digest, **footer), summary)

    def _prepared(self, outgoing: Outgoing, content: MailContent, extra: tuple[tuple[str, str], ...]) -> Prepared:
        sender, manager = self._sender(content.sender)
        key_hash = message_hash(outgoing.key)
        reply_to = reply_to_addresses(self._settings.replies, outgoing, key_hash, manager)
        mail = MailMessage(
            sender=sender,
            to=outgoing.address,
            subject=content.subject,
            date=self._clock(),
            message_id=f"<{key_hash}@{self._settings.domain}>",
            text=content.text,
            html=content.html,
            extra=(*((("Reply-To", ", ".join(reply_to)),) if reply_to else ()), *extra),
        )
        summary = {"subject": content.subject, "template": outgoing.template, **content.summary}
        if len(content.html.encode()) > CLIPPED:
            log.warning("email.clipped", template=outgoing.template, bytes=len(content.html.encode()))
            summary["clipped"] = True
        return Prepared(mail.message_id, outgoing.address, mail_bytes(mail), summary)

    def _sender(self, signer: Sender | None) -> tuple[tuple[str, str], str | None]:
        """Name and address of the sender, and the signer's address for replies. The address is always the company's."""
        company, address = self._settings.sender
        if signer is None:
            return (company, address), None
        return (signer.name if signer.name.isprintable() else company, address), mail_address(signer.reply_to)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:  # noqa: ARG002 — SMTP has no keys
        """One attempt. A failure between the final dot and the reply is unknown; before the dot nothing was delivered."""
        if mail_address(prepared.address) != prepared.address:
            return Receipt(AttemptResult.REFUSED, "not a valid mail address")
        dkim = self._settings.dkim
        body = dkim.signed(prepared.body) if dkim is not None else prepared.body
        envelope = SmtpEnvelope(self._settings.sender[1], prepared.address, body)
        progress = SendProgress(until=prepared.until)
        try:
            async with asyncio.timeout(self.attempt.total_seconds()):
                await self._pool.send(envelope, progress)
        except RefusedByRelay as refusal:
            words = _words(refusal, prepared.address)
            return Receipt(_refused(refusal, progress), words, failure=_failure(refusal))
        except TimeoutError:
            return Receipt(_lost(progress), "no answer in time", outage=True, left=progress.dot_sent)
        except Exception as error:  # noqa: BLE001 — a relay may surprise the library; only the dot decides
            words = f"the connection failed ({type(error).__name__})"
            return Receipt(_lost(progress), words, outage=True, left=progress.dot_sent)
        return Receipt(AttemptResult.SENT)

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the relay accepted this Message-ID; None if that cannot be searched, or not now."""
        if self._search is None:
            return None
        try:
            return await asyncio.to_thread(self._search, prepared.reference)
        except OSError:
            return None

    async def close(self) -> None:
        """Close every kept connection."""
        await self._pool.close()


def _refused(refusal: RefusedByRelay, progress: SendProgress) -> AttemptResult:
    """Result of a rejection: 5yz is permanent, 4yz transient (RFC 5321 §4.2.1), anything else is no valid reply.

    A rejection of the sender (log-in, unknown sender) says nothing about the recipient and is tried again.
    """
    match refusal.code // 100:
        case 5:
            return AttemptResult.TRY_AGAIN if refusal.of_sender else AttemptResult.REFUSED
        case 4:
            return AttemptResult.TRY_AGAIN
        case _:
            return _lost(progress)


def _failure(refusal: RefusedByRelay) -> FailureClass | None:
    """What a permanent rejection is about. The answer to our log-in or to `MAIL FROM` is always about us."""
    if refusal.code // 100 != 5:
        return None
    return FailureClass.SENDER_REFUSED if refusal.of_sender else failure_of_reply(refusal.code, refusal.words)


def _lost(progress: SendProgress) -> AttemptResult:
    return AttemptResult.UNKNOWN if progress.dot_sent else AttemptResult.TRY_AGAIN


def _words(refusal: RefusedByRelay, address: str) -> str:
    """The relay's text without personal data: relays like to repeat the address."""
    personal = "|".join(map(re.escape, (address, address.rpartition("@")[0])))
    words = re.sub(rf"(?<!\w)(?:{personal})(?!\w)", "…", " ".join(refusal.words.split()), flags=re.IGNORECASE)
    words = " ".join("…" if "@" in word else word for word in words.split(" "))
    return f"{refusal.code} {words}"[:200]
