"""Headers and links that every mail carries: unsubscribe, reply address, trace, key."""

from __future__ import annotations

from datetime import datetime

from activities.ports import Outgoing
from journeys.decision.effects import recipient_of
from journeys.events.tracing import HEADER
from journeys.gate.verdicts import ANY
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import REF_DIGITS, Link, Links


def unsubscribe_url(links: Links | None, outgoing: Outgoing, digest: str, now: datetime) -> str:
    """The way out of this topic by mail, for this recipient; where it came from is part of it, as proof."""
    person = outgoing.person or recipient_of(outgoing.key)
    if links is None or not person:
        return ""
    return links.url(Link("unsubscribe", person, "email", outgoing.topic or ANY, digest[:REF_DIGITS]), now)


def reply_to_addresses(
    replies: ReplyAddresses | None, outgoing: Outgoing, digest: str, manager: str | None
) -> tuple[str, ...]:
    """Where answers go (RFC 5322 §3.6.2 allows several): to the manager who signs, and back to us, so that the journey is quiet."""
    ours = replies.address(outgoing.person or recipient_of(outgoing.key), digest) if replies is not None else None
    return tuple(each for each in (manager, ours) if each)


def identity_headers(digest: str, unsubscribe: str) -> tuple[tuple[str, str], ...]:
    """The headers by which a mail is found again, and left with one click, which needs https (RFC 8058 §3.1)."""
    headers = [("X-Tenure-Key", digest), ("Auto-Submitted", "auto-generated")]
    if unsubscribe.startswith("https://"):
        headers += [("List-Unsubscribe", f"<{unsubscribe}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
    return tuple(headers)


def trace_headers(outgoing: Outgoing) -> tuple[tuple[str, str], ...]:
    """The header by which a mail is found in logs and feed, and they from it; it says nothing to anybody else."""
    return ((HEADER, outgoing.trace),) if outgoing.trace else ()
