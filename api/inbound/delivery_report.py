"""Delivery reports by mail (RFC 3464): the message and its failed recipients, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_string, policy
from email.message import EmailMessage, Message
from typing import Final

from journeys.consent.bounces import is_permanent_failure
from journeys.tokens.address_hash import canonical_address

MOST: Final = 50
"""Most Message-IDs and recipients that are read."""
_ID: Final = re.compile(r"<[^<>\s]{1,250}>")
_STATUS: Final = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)")
_REPLY: Final = re.compile(r"\s*smtp\s*;\s*5\d\d[ -]", re.IGNORECASE)
_KINDS: Final = frozenset({"rfc822", "utf-8"})


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """A recipient that was not reached: the addresses as the sender wrote it and as finally used."""

    addresses: tuple[str, ...]
    status: str
    hard: bool

    def is_about(self, address: str) -> bool:
        """Whether one of the addresses is this one."""
        return canonical_address("email", address) in {canonical_address("email", known) for known in self.addresses}


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """`returned` are the Message-IDs of the reported mail, likeliest first. `failed` has no late or reached recipients."""

    returned: tuple[str, ...]
    failed: tuple[FailedRecipient, ...]


def read_report(mail: EmailMessage) -> DeliveryReport | None:
    """The report in a mail; None for other mails, and for a report without a failed recipient."""
    if mail.get_content_type() != "multipart/report":
        return None
    parts = list(mail.iter_parts())
    blocks = (block for part in parts for block in _blocks(part))
    failed = [recipient for block in blocks if (recipient := _failed(block)) is not None]
    if not failed:
        return None
    # A report need not include the mail or its headers; then it may name the mail as the one that it answers.
    named = [*(message_id for part in parts for message_id in _returned(part)), *references(mail)]
    return DeliveryReport(tuple(dict.fromkeys(named))[:MOST], tuple(failed[:MOST]))


def references(mail: EmailMessage) -> tuple[str, ...]:
    """The Message-IDs that a mail answers, its direct parent first."""
    answered = [*message_ids(mail, "in-reply-to"), *reversed(message_ids(mail, "references"))]
    return tuple(dict.fromkeys(answered))[:MOST]


def message_ids(mail: Message, name: str) -> Sequence[str]:
    """The Message-IDs in a header."""
    return _ID.findall(" ".join(str(value) for value in mail.get_all(name, [])))


def _blocks(part: Message) -> Iterator[Message]:
    """Field groups of the machine-readable part: of the whole report, then of each recipient (RFC 3464 §2.1)."""
    content = part.get_payload() if part.get_content_type() == "message/delivery-status" else ()
    yield from (block for block in content if isinstance(block, Message))


def _failed(block: Message) -> FailedRecipient | None:
    """The recipient of a failure. Delayed, delivered, relayed and expanded are no failures (RFC 3464 §2.3.3)."""
    if str(block.get("action", "")).strip().lower() != "failed":
        return None
    addresses = tuple(filter(None, (_address(str(block.get(f"{which}-recipient", ""))) for which in _WHICH)))
    status = _STATUS.match(str(block.get("status", "")))
    code, diagnostic = status[1] if status is not None else "", str(block.get("diagnostic-code", ""))
    # Some servers always report 5.0.0, and quote the relay's own code in the diagnostic.
    quoted = _REPLY.match(diagnostic)
    hard = is_permanent_failure(code) or (
        not code.startswith("4") and quoted is not None and is_permanent_failure(diagnostic[quoted.end() :])
    )
    return FailedRecipient(addresses, code, hard) if addresses else None


_WHICH: Final = ("original", "final")


def _address(field: str) -> str:
    """`rfc822; ada@example.com`, or the internationalised kind of RFC 6533."""
    kind, _, address = field.partition(";")
    return address.strip().strip("<>") if kind.strip().lower() in _KINDS else ""


def _returned(part: Message) -> Sequence[str]:
    """The Message-ID of the returned mail, which is included whole or as its headers."""
    match part.get_content_type():
        case "message/rfc822":
            inner = part.get_payload(0)
            return message_ids(inner, "message-id") if isinstance(inner, Message) else ()
        case "text/rfc822-headers":
            content = part.get_content() if isinstance(part, EmailMessage) else ""
            return message_ids(message_from_string(str(content), policy=policy.default), "message-id")
        case _:
            return ()
