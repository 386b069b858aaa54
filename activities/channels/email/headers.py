"""Headers and links of mails: unsubscribe link, reply addresses, identity and trace."""

from __future__ import annotations

from datetime import datetime

from activities.ports import Outgoing
from journeys.decision.effects import recipient_of
from journeys.events.tracing import HEADER
from journeys.gate.verdicts import ANY
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import REF_DIGITS, Link, Links


def unsubscribe_url(links: Links | None, outgoing: Outgoing, key_hash: str, now: datetime) -> str:
    """The unsubscribe link for this recipient and topic; empty without `links` or a recipient.

    It contains a part of the message's hash, as proof of where it was used.
    """
    person = outgoing.person or recipient_of(outgoing.key)
    if links is None or not person:
        return ""
    return links.url(Link("unsubscribe", person, "email", outgoing.topic or ANY, key_hash[:REF_DIGITS]), now)


def reply_to_addresses(
    replies: ReplyAddresses | None, outgoing: Outgoing, key_hash: str, manager: str | None
) -> tuple[str, ...]:
    """Addresses for replies (RFC 5322 §3.6.2 allows several): the manager who signs, and ours, which pauses the journey."""
    ours = replies.address(outgoing.person or recipient_of(outgoing.key), key_hash) if replies is not None else None
    return tuple(address for address in (manager, ours) if address)


def identity_headers(key_hash: str, unsubscribe: str) -> tuple[tuple[str, str], ...]:
    """Headers that identify a mail, and one-click unsubscribe if the link is https (RFC 8058 §3.1)."""
    headers = [("X-Tenure-Key", key_hash), ("Auto-Submitted", "auto-generated")]
    if unsubscribe.startswith("https://"):
        headers += [("List-Unsubscribe", f"<{unsubscribe}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
    return tuple(headers)


def trace_headers(outgoing: Outgoing) -> tuple[tuple[str, str], ...]:
    """The header with the trace id, by which a mail is found in logs and in the feed."""
    return ((HEADER, outgoing.trace),) if outgoing.trace else ()
