"""Delivery reports by mail (RFC 3464, RFC 6533): message, failed recipients, pure."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string, policy
from email.message import EmailMessage, Message
from email.utils import parseaddr
from typing import Final

from api.inbound.mail_parsing.returned_mail import MOST, references, returned_ids
from journeys.consent.failure_classes import FailureClass
from journeys.consent.mail_failures import failure_of, leading_status, quoted_status
from journeys.tokens.address_hash import canonical_address

_STATUS_PARTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RECIPIENTS: Final = ("original-recipient", "final-recipient", "x-actual-recipient")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_UNTYPED: Final = re.compile(r"[^;\s]+@[^;\s]+")


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """A recipient that was not reached: the addresses as the sender wrote it and as finally used, and what the failure is about."""

    addresses: tuple[str, ...]
    status: str
    failure: FailureClass

    def is_about(self, address: str) -> bool:
        """Whether one of the addresses is this one."""
        return canonical_address("email", address) in {canonical_address("email", known) for known in self.addresses}


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """`returned` are the Message-IDs of the reported mail, likeliest first. `failed` has no late or reached recipients."""

    returned: tuple[str, ...]
    failed: tuple[FailedRecipient, ...]


def read_report(mail: EmailMessage) -> DeliveryReport | None:
    """The report in a mail; None for a mail without the parts of one. It may have no failed recipient: then nothing failed."""
    if mail.get_content_maintype() != "multipart":
        return None
    parts = list(mail_parts(mail))
    blocks = [block for part in parts if part.get_content_type() in _STATUS_PARTS for block in _blocks(part)]
    recipients = [block for block in blocks if _addresses(block)]
    if not recipients:
        return None
    failed = [recipient for block in recipients if (recipient := failed_in(block)) is not None]
    # A report need not include the mail or its headers; then it may name the mail as the one that it answers.
    named = [*(identity for part in parts for identity in returned_ids(part)), *references(mail)]
    return DeliveryReport(tuple(dict.fromkeys(named))[:MOST], tuple(failed[:MOST]))


def mail_parts(mail: Message) -> Iterator[Message]:
    """The parts of a mail, also the nested ones, but not those of a mail in it; the mail itself if it has none."""
    payload = mail.get_payload()
    if mail.get_content_maintype() != "multipart" or not isinstance(payload, list):
        yield mail
        return
    for part in payload:
        if isinstance(part, Message):
            yield from mail_parts(part)


def _blocks(part: Message) -> Iterator[Message]:
    """Field groups of the machine-readable part: of the whole report, then of each recipient (RFC 3464 §2.1).

    Some servers encode the part, which RFC 3464 does not foresee and the library does not decode.
    """
    content = part.get_payload()
    if not isinstance(content, list):
        yield from blocks_of_text(str(content))
        return
    for block in content:
        if not isinstance(block, Message):
            continue
        rest = str(block.get_payload())
        if block.keys():
            yield block
            yield from blocks_of_text(
                rest
            )  # of `message/global-delivery-status` the library reads the first group alone
        else:
            yield from blocks_of_text(_decoded(rest))


def blocks_of_text(text: str) -> Iterator[Message]:
    """Field groups that are written as text, separated by empty lines."""
    for group in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        yield message_from_string(group.strip("\n") + "\n\n", policy=policy.default)


def _decoded(encoded: str) -> str:
    try:
        return b64decode(encoded, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return encoded


def failed_in(block: Message) -> FailedRecipient | None:
    """The recipient of a failure. Delayed, delivered, relayed and expanded are no failures (RFC 3464 §2.3.3).

    The action may have a comment, be `error` (OpenSMTPD) or be missing; then the class of the status decides.
    """
    action, status = _field(block, "action").lower(), leading_status(_field(block, "status"))
    is_failure = action.startswith(("fail", "error", "bounce")) or (not action and status.startswith("5"))
    if not is_failure:
        return None
    addresses = _addresses(block)
    if not addresses:
        return None
    diagnostic = _field(block, "diagnostic-code") or _field(block, "status")
    shown = status or quoted_status(diagnostic)
    return FailedRecipient(addresses, shown, failure_of(status, diagnostic))


def _addresses(block: Message) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (_address(_field(block, name)) for name in _RECIPIENTS))))


def _address(field: str) -> str:
    """`rfc822; ada@example.com`, the internationalised kind of RFC 6533, or an address without a type."""
    kind, typed, address = field.partition(";")
    if not typed:
        found = _UNTYPED.search(field)
        return found[0].strip("<>\"'") if found is not None else ""
    if kind.strip().lower() in {"x400", "unknown"}:
        return ""
    bare = address.strip().strip("<>").strip()
    bare = bare if bare.count("@") == 1 and " " not in bare else parseaddr(address.strip())[1]
    return bare if "@" in bare else _XTEXT.sub(lambda code: chr(int(code[1], 16)), bare)


def _field(block: Message, name: str) -> str:
    return " ".join(str(block.get(name, "")).split())
