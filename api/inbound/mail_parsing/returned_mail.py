"""Message-IDs of answered mails, and of mails returned in a report, pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email import message_from_string, policy
from email.message import EmailMessage, Message
from typing import Final

from api.inbound.mail_parsing.mail_text import part_text

MOST: Final = 50
"""Most Message-IDs and recipients that are read."""
_ID: Final = re.compile(r"<[^<>\s]{1,250}>")
_ID_LINE: Final = re.compile(r"^[>|\s]*message-?id:\s{1,4}(<[^<>\s]{1,250}>)", re.IGNORECASE | re.MULTILINE)
_RETURNED: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)


def references(mail: EmailMessage) -> tuple[str, ...]:
    """The Message-IDs that a mail answers, its direct parent first."""
    answered = [*message_ids(mail, "in-reply-to"), *reversed(message_ids(mail, "references"))]
    return tuple(dict.fromkeys(answered))[:MOST]


def message_ids(mail: Message, name: str) -> Sequence[str]:
    """The Message-IDs in a header."""
    return _ID.findall(" ".join(str(value) for value in mail.get_all(name, [])))


def returned_ids(part: Message) -> Sequence[str]:
    """The Message-ID of the returned mail, which is included whole or as its headers."""
    if part.get_content_type() not in _RETURNED:
        return ()
    payload = part.get_payload()
    if isinstance(payload, list):  # the library has parsed it as a mail of its own
        inner = (mail for mail in payload if isinstance(mail, Message))
        return [identity for mail in inner for identity in message_ids(mail, "message-id")]
    text = part_text(part)
    return message_ids(message_from_string(text, policy=policy.default), "message-id") or ids_in_text(text)


def ids_in_text(text: str) -> list[str]:
    """The Message-IDs of mails that are quoted in a text with their headers."""
    return list(dict.fromkeys(_ID_LINE.findall(text)))[:MOST]
