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
"""Addresses that are looked at."""
_TO: Final = ("to", "cc", "delivered-to", "x-original-to", "x-forwarded-to")
_QUOTED: Final = re.compile(
    r"^(>|On .{0,200} wrote:$|Am .{0,200} schrieb.{0,200}:$|-{2,} ?Original Message)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """`answers` are the Message-IDs that it names, the one it answers first; `to` where it went; `text` without the quotation.

    `automatic`: no person has written it (RFC 3834, and what programs do that never read it). `report`: it tells of a mail that
    did not arrive.
    """

    identity: str
    answers: tuple[str, ...]
    to: tuple[str, ...]
    text: str
    automatic: bool
    report: DeliveryReport | None = None


def read_mail(raw: bytes) -> ParsedMail:
    """What a mail says (RFC 5322). Raises ValueError for what is none."""
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
    """What they wrote: the plain part, up to what they quote."""
    part = mail.get_body(preferencelist=("plain",))
    said = part.get_content() if part is not None else str(mail.get("subject", ""))
    said = said.replace("\r\n", "\n")
    found = _QUOTED.search(said)
    said = said[: found.start()] if found is not None and found.start() > 0 else said
    return "".join(mark for mark in said if mark.isprintable() or mark == "\n").strip()[:LONGEST]


def _automatic(mail: EmailMessage) -> bool:
    return any(_signs(mail))


def _signs(mail: EmailMessage) -> Iterator[bool]:
    yield str(mail.get("auto-submitted", "no")).split(";")[0].strip().lower() != "no"
    yield str(mail.get("precedence", "")).strip().lower() in {"bulk", "junk", "list", "auto_reply"}
    yield any(name in mail for name in ("x-autoreply", "x-autorespond", "x-auto-response-suppress", "list-id"))
    yield mail.get_content_type() in {"multipart/report", "message/delivery-status"}
    yield str(mail.get("return-path", "")).strip() == "<>"
