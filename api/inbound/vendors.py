"""Events in the webhooks of each provider, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from api.inbound.mail_parsing.automatic_mails import is_absence_notice
from journeys.consent.failure_classes import FAILURES, bounce_properties, class_of

LONGEST = 1_000
"""Most characters of a reply that an event keeps."""


@dataclass(frozen=True, slots=True)
class VendorEvent:
    """A signal, and the messages it concerns.

    These are the message of a `reference`, the last one to an `address`, those of all people `absent_from` a webinar, or the one
    that a mail `sent_to` a reply address answers.
    """

    signal: str
    reference: str = ""
    address: str = ""
    webinar: str = ""
    absent_from: str = ""
    sent_to: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


_MAIL = {
    "email.delivered": "message_delivered",
    "email.bounced": "message_bounced",
    "email.complained": "message_complained",
    "email.failed": "message_bounced",
    "email.suppressed": "message_bounced",
}


def resend_events(event: Mapping[str, Any]) -> VendorEvent | None:
    """An event of Resend, by the tag of the mail; None if it changes nothing."""
    data = _map(event.get("data"))
    if event.get("type") == "email.received":
        to, subject = data.get("to"), _text(data.get("subject"), LONGEST)
        if is_absence_notice(subject):
            return None
        sent_to = tuple(str(address)[:320] for address in to[:50]) if isinstance(to, list) else ()
        text = {"text": subject}  # the event has no more of the mail
        return VendorEvent("message_replied", sent_to=sent_to, data=text, at=_instant(event.get("created_at")))
    signal, tags = _MAIL.get(str(event.get("type"))), data.get("tags")
    if isinstance(tags, list):
        tags = {tag.get("name"): tag.get("value") for tag in tags if isinstance(tag, dict)}
    reference = str(_map(tags).get("tenure_key", ""))
    if signal is None or not reference:
        return None
    properties = _failure(str(event.get("type")), data) if signal == "message_bounced" else {}
    return VendorEvent(signal, reference=reference, data=properties, at=_instant(event.get("created_at")))


def _failure(kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Why Resend did not deliver: `bounce` (type and subtype), `suppressed` (type) or `failed`, which is our account's."""
    if kind == "email.failed":
        words = _text(_map(data.get("failed")).get("reason"), 200)
        return bounce_properties(words, class_of("resend", kind))
    about = _map(data.get("suppressed" if kind == "email.suppressed" else "bounce"))
    default = "OnAccountSuppressionList" if kind == "email.suppressed" else ""
    code = "/".join(filter(None, (str(about.get("type") or default), str(about.get("subType") or ""))))
    if ("resend", code) not in FAILURES:
        code = code.partition("/")[0]
    return bounce_properties(_text(about.get("message"), 200), class_of("resend", code))


@dataclass(frozen=True, slots=True)
class ProviderSuppression:
    """An address that a provider has put on its own list: it will send nothing to it. `reason` is as in our suppressions."""

    address: str
    reason: Literal["hard_bounce", "complaint", "operator"]


def resend_suppression(event: Mapping[str, Any]) -> ProviderSuppression | None:
    """The address of `suppression.added`; None for other events. It is there after a bounce or complaint, or by hand."""
    data = _map(event.get("data"))
    address = str(data.get("email") or "").strip()
    if event.get("type") != "suppression.added" or "@" not in address or len(address) > 320 or "\x00" in address:
        return None
    cause = _word(data.get("origin") or data.get("reason") or data.get("type"))
    if "complain" in cause:
        return ProviderSuppression(address, "complaint")
    return ProviderSuppression(address, "hard_bounce" if "bounce" in cause else "operator")


def twilio_events(form: Mapping[str, str], reference: str) -> VendorEvent | None:
    """A status callback of a message, or a text from a person; None if it changes nothing."""
    if form.get("SmsStatus") == "received" or (form.get("Body") and not reference):
        return VendorEvent(
            "message_replied", address=form.get("From", ""), data={"text": _text(form.get("Body"), LONGEST)}
        )
    signal = {"delivered": "message_delivered", "undelivered": "message_bounced", "failed": "message_bounced"}.get(
        form.get("MessageStatus", "")
    )
    if signal is None or not reference:
        return None
    code = form.get("ErrorCode", "")[:20]
    properties = bounce_properties(code, class_of("twilio", code)) if signal == "message_bounced" else {}
    return VendorEvent(signal, reference=reference, data=properties)


def zendesk_events(event: Mapping[str, Any]) -> VendorEvent | None:
    """A change of a ticket that a journey opened, by its external id; None if it changes nothing."""
    detail, change = _map(event.get("detail")), _map(event.get("event"))
    reference, ticket = str(detail.get("external_id") or ""), str(detail.get("id") or "")
    kind, now, before = str(event.get("type")), _word(change.get("current")), _word(change.get("previous"))
    signal = None
    if kind == "zen:event-type:ticket.created":
        signal = "ticket_opened"
    elif kind == "zen:event-type:ticket.status_changed" and now in {"solved", "closed"}:
        signal = None if before == "solved" else "ticket_resolved"
    elif kind == "zen:event-type:ticket.status_changed" and before in {"solved", "closed"}:
        signal = "ticket_reopened"
    if signal is None or not reference or not ticket:
        return None
    priority = {"priority": _word(detail.get("priority")) or "normal"} if signal != "ticket_resolved" else {}
    return VendorEvent(
        signal, reference=reference, data={"ticket_id": ticket, **priority}, at=_instant(event.get("time"))
    )


def zoom_events(event: Mapping[str, Any]) -> VendorEvent | None:
    """Registered and attended, by the person's address; missed, for everyone registered by Tenure who did not attend."""
    details = _map(_map(event.get("payload")).get("object"))
    webinar = str(details.get("id") or "")
    data = {"webinar_id": webinar}
    if not webinar:
        return None
    match event.get("event"):
        case "webinar.registration_created":
            address = _address(_map(details.get("registrant")).get("email"))
            return VendorEvent("webinar_registered", address=address, webinar=webinar, data=data) if address else None
        case "webinar.participant_joined":
            address = _address(_map(details.get("participant")).get("email"))
            return VendorEvent("webinar_attended", address=address, webinar=webinar, data=data) if address else None
        case "webinar.ended":
            return VendorEvent("webinar_missed", absent_from=webinar, data=data)
        case _:
            return None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int) -> str:
    return "".join(character for character in str(value or "") if character.isprintable() or character == "\n")[
        :longest
    ]


def _word(value: Any) -> str:
    return _text(value, 40).lower()


def _address(value: Any) -> str:
    """The address with its domain in small letters, as the ledger stores it."""
    local, at, domain = str(value or "").strip().rpartition("@")
    return f"{local}{at}{domain.lower()}" if at and "\x00" not in local else ""


def _instant(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC) if 1900 < at.year < 9000 else None
