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
MAX_TEXT: Final = 50_000
"""Characters of a text in which the quotation is searched."""
MAX_HEAD, MAX_FIELD = 256 * 1024, 4 * 1024
"""Bytes of a mail's headers, and of one of them that is read; the rest of it is cut off."""
MOST_NAMED: Final = 50
"""Most addresses that are read."""
_TO: Final = ("to", "cc", "delivered-to", "x-original-to", "x-forwarded-to")
_READ: Final = frozenset(
    {
        *_TO,
        *("message-id", "in-reply-to", "references", "subject", "return-path", "auto-submitted", "precedence"),
        *("x-autoreply", "x-autorespond", "x-auto-response-suppress", "list-id"),
        *("mime-version", "content-type", "content-transfer-encoding"),
    }
)
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_FIELD_BREAK: Final = re.compile(rb"\r?\n(?![ \t])")
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
    """Parse a mail (RFC 5322). Raises ValueError if it is not one, and other errors for what the library cannot take.

    Some inputs take the library very long: call it in a process that can be ended (`mail_process.py`).
    """
    try:
        mail = message_from_bytes(with_known_headers(raw), policy=policy.default)
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


def with_known_headers(raw: bytes) -> bytes:
    """The mail with those of its headers that are read, each cut at `MAX_FIELD`. Raises ValueError for too many bytes of them.

    The library needs quadratic time for some header fields.
    """
    match = _END_OF_HEAD.search(raw)
    head, body = (raw[: match.start()], raw[match.end() :]) if match is not None else (raw, b"")
    if len(head) > MAX_HEAD:
        raise ValueError(f"its headers have more than {MAX_HEAD // 1024} KB")
    fields = [field[:MAX_FIELD] for field in _FIELD_BREAK.split(head) if _name(field) in _READ]
    return b"\r\n".join([*fields, b"", body])


def _name(field: bytes) -> str:
    return field[:100].partition(b":")[0].strip().decode("ascii", "replace").lower()


def _text(mail: EmailMessage) -> str:
    """The person's text: the plain part up to the quotation."""
    part = mail.get_body(preferencelist=("plain",))
    text = part.get_content() if part is not None else str(mail.get("subject", ""))
    text = text.replace("\r\n", "\n")[:MAX_TEXT]
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
