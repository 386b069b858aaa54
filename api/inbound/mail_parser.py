"""Parser of inbound mails: message referred to, text, kind of sender, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Final

from api.inbound.delivery_report import DeliveryReport, message_ids, read_report, references

LONGEST: Final = 1_000
MOST_NAMED: Final = 50
"""Most addresses that are read."""
_TO: Final = ("to", "cc", "delivered-to", "x-original-to", "x-forwarded-to")
_QUOTED: Final = re.compile(
    r"^(>|On .{0,200} wrote:$|Am .{0,200} schrieb.{0,200}:$|-{2,} ?Original Message)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """`answers` are the Message-IDs it refers to, its direct parent first; `to` its recipients; `text` is without quotation.

    `automatic`: a program wrote it (RFC 3834, and the habits of programs that ignore it). `report`: the delivery report in it.
    """

    identity: str
    answers: tuple[str, ...]
    to: tuple[str, ...]
    text: str
    automatic: bool
    report: DeliveryReport | None = None


def read_mail(raw: bytes) -> ParsedMail:
    """Parse a mail (RFC 5322). Raises ValueError if it is not one."""
    try:
        mail = message_from_bytes(raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        if not mail.keys():
            raise ValueError("it has no header")
        addresses = getaddresses([str(value) for name in _TO for value in mail.get_all(name, [])])
        return ParsedMail(
            identity=next(iter(message_ids(mail, "message-id")), ""),
            answers=references(mail),
            to=tuple(dict.fromkeys(address for _, address in addresses if address))[:MOST_NAMED],
            text=_text(mail),
            automatic=_automatic(mail),
            report=read_report(mail),
        )
    except (MessageError, LookupError, UnicodeError, AttributeError, TypeError, IndexError) as fault:
        raise ValueError(f"it cannot be read ({type(fault).__name__})") from fault


def _text(mail: EmailMessage) -> str:
    """The person's text: the plain part up to the quotation."""
    part = mail.get_body(preferencelist=("plain",))
    text = part.get_content() if part is not None else str(mail.get("subject", ""))
    text = text.replace("\r\n", "\n")
    quotation = _QUOTED.search(text)
    text = text[: quotation.start()] if quotation is not None and quotation.start() > 0 else text
    return "".join(character for character in text if character.isprintable() or character == "\n").strip()[:LONGEST]


def _automatic(mail: EmailMessage) -> bool:
    return any(_signs(mail))


def _signs(mail: EmailMessage) -> Iterator[bool]:
    yield str(mail.get("auto-submitted", "no")).split(";")[0].strip().lower() != "no"
    yield str(mail.get("precedence", "")).strip().lower() in {"bulk", "junk", "list", "auto_reply"}
    yield any(name in mail for name in ("x-autoreply", "x-autorespond", "x-auto-response-suppress", "list-id"))
    yield mail.get_content_type() in {"multipart/report", "message/delivery-status"}
    yield str(mail.get("return-path", "")).strip() == "<>"
