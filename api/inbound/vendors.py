"""Events in the webhooks of each provider, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from journeys.consent.bounces import bounce_properties

LONGEST = 1_000
"""Characters of what a person wrote back that are kept in an event."""


@dataclass(frozen=True, slots=True)
class VendorEvent:
    """A signal and whom it is about: the message of a `reference`, the last one to an `address`, all `absent_from` a webinar, or what is answered by a mail `sent_to` an address of ours."""

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
}


def resend_events(event: Mapping[str, Any]) -> VendorEvent | None:
    """Resend's events, by the tag that we gave the mail; None for those that change nothing here."""
    data = _map(event.get("data"))
    if event.get("type") == "email.received":
        to = data.get("to")
        sent_to = tuple(str(each)[:320] for each in to[:50]) if isinstance(to, list) else ()
        text = {"text": _text(data.get("subject"), LONGEST)}  # of what was written the provider tells no more here
        return VendorEvent("message_replied", sent_to=sent_to, data=text, at=_instant(event.get("created_at")))
    signal, tags = _MAIL.get(str(event.get("type"))), data.get("tags")
    if isinstance(tags, list):
        tags = {each.get("name"): each.get("value") for each in tags if isinstance(each, dict)}
    reference = str(_map(tags).get("tenure_key", ""))
    if signal is None or not reference:
        return None
    bounce = _map(data.get("bounce"))
    why = bounce_properties(_text(bounce.get("message"), 200), hard=bounce.get("type") == "Permanent") if bounce else {}
    return VendorEvent(signal, reference=reference, data=why, at=_instant(event.get("created_at")))


def twilio_events(form: Mapping[str, str], reference: str) -> VendorEvent | None:
    """A status callback of a message of ours, or what a person has written."""
    if form.get("SmsStatus") == "received" or (form.get("Body") and not reference):
        return VendorEvent(
            "message_replied", address=form.get("From", ""), data={"text": _text(form.get("Body"), LONGEST)}
        )
    signal = {"delivered": "message_delivered", "undelivered": "message_bounced", "failed": "message_bounced"}.get(
        form.get("MessageStatus", "")
    )
    if signal is None or not reference:
        return None
    code = form.get("ErrorCode", "")
    # 30003, 30005, 30006: switched off for long, unknown, a landline. Of these only the first may change by itself.
    why = bounce_properties(code[:20], hard=code in {"30005", "30006"}) if signal == "message_bounced" else {}
    return VendorEvent(signal, reference=reference, data=why)


def zendesk_events(event: Mapping[str, Any]) -> VendorEvent | None:
    """The state of a ticket that a journey has opened, by its external id."""
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
    """Registered and attended, by the person's address; missed, for all who were registered by us and did not come."""
    thing = _map(_map(event.get("payload")).get("object"))
    webinar = str(thing.get("id") or "")
    data = {"webinar_id": webinar}
    if not webinar:
        return None
    match event.get("event"):
        case "webinar.registration_created":
            address = _address(_map(thing.get("registrant")).get("email"))
            return VendorEvent("webinar_registered", address=address, webinar=webinar, data=data) if address else None
        case "webinar.participant_joined":
            address = _address(_map(thing.get("participant")).get("email"))
            return VendorEvent("webinar_attended", address=address, webinar=webinar, data=data) if address else None
        case "webinar.ended":
            return VendorEvent("webinar_missed", absent_from=webinar, data=data)
        case _:
            return None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int) -> str:
    return "".join(mark for mark in str(value or "") if mark.isprintable() or mark == "\n")[:longest]


def _word(value: Any) -> str:
    return _text(value, 40).lower()


def _address(value: Any) -> str:
    """As it was sent to: the part behind the @ in small letters."""
    local, at, domain = str(value or "").strip().rpartition("@")
    return f"{local}{at}{domain.lower()}" if at and "\x00" not in local else ""


def _instant(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC) if 1900 < at.year < 9000 else None
