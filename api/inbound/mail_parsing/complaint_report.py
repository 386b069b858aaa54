"""Complaints by mail (ARF, RFC 5965): kind of feedback, returned mail, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage, Message
from typing import Final

from api.inbound.mail_parsing.mail_text import part_text
from api.inbound.mail_parsing.returned_mail import MOST, returned_ids

_KIND: Final = re.compile(r"^feedback-type[ \t]*:[ \t]*([a-z][a-z-]*)", re.IGNORECASE | re.MULTILINE)
ABUSE: Final = "abuse"
"""The only kind by which a recipient says that they do not want a mail (RFC 5965 §7.3, RFC 6430, RFC 6591)."""


@dataclass(frozen=True, slots=True)
class ComplaintReport:
    """A feedback report: its `kind` in small letters, and the Message-IDs of the mail, likeliest first."""

    kind: str
    returned: tuple[str, ...]


def read_complaint(mail: EmailMessage) -> ComplaintReport | None:
    """The feedback report in a mail; None for other mails. A report without a kind is about abuse, as older senders mean it."""
    if mail.get_content_maintype() != "multipart":
        return None
    parts = [part for part in mail.walk() if part.get_content_type() == "message/feedback-report"]
    if not parts:
        return None
    kind = next((found[1].lower() for part in parts if (found := _KIND.search(_fields(part)))), ABUSE)
    ids = [message_id for part in mail.iter_parts() for message_id in returned_ids(part)]
    return ComplaintReport(kind, tuple(dict.fromkeys(ids))[:MOST])


def _fields(part: Message) -> str:
    """The fields as text: the library parses a part of type `message` as a mail of its own."""
    payload = part.get_payload()
    if not isinstance(payload, list):
        return part_text(part)
    return "\n".join(_texts([block for block in payload if isinstance(block, Message)]))


def _texts(blocks: list[Message]) -> Iterator[str]:
    for block in blocks:
        yield "\n".join(f"{name}: {value}" for name, value in block.items())
        yield part_text(block)
