"""Parser of inbound mails: message referred to, text, kind of sender, pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from typing import Final

from api.inbound.mail_parsing import automatic_mails
from api.inbound.mail_parsing.automatic_mails import header, is_automatic, is_bounce
from api.inbound.mail_parsing.complaint_report import ComplaintReport, read_complaint
from api.inbound.mail_parsing.delivery_report import DeliveryReport, mail_parts, read_report
from api.inbound.mail_parsing.foreign_bounce import read_foreign_bounce
from api.inbound.mail_parsing.mail_text import html_text, part_text
from api.inbound.mail_parsing.reply_text import written_text
from api.inbound.mail_parsing.returned_mail import message_ids, references

LONGEST: Final = 1_000
MAX_HEAD, MAX_FIELD = 256 * 1024, 4 * 1024
"""Bytes of a mail's headers, and of one of them that is read; the rest of it is cut off."""
MOST_NAMED: Final = 50
"""Most addresses that are read."""
_TO: Final = ("to", "cc", "delivered-to", "x-original-to", "x-forwarded-to")
_READ: Final = frozenset(
    {
        *_TO,
        *automatic_mails.READ,
        *("message-id", "in-reply-to", "references"),
        *("mime-version", "content-type", "content-transfer-encoding"),
    }
)
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_FIELD_BREAK: Final = re.compile(rb"\r?\n(?![ \t])")
_ANSWER: Final = re.compile(r"^(?:\s*(?:re|aw|antw|rif|res|sv|vs)\s*(?:\[\d+\])?\s*:)+\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """`answers` are the Message-IDs it refers to, its direct parent first; `to` its recipients; `text` what a person wrote.

    `automatic`: a program wrote it. `report` and `complaint` are the reports in it. `unread`: it reports a failure that no rule
    understands, so a person has to read it.
    """

    identity: str
    answers: tuple[str, ...]
    to: tuple[str, ...]
    text: str
    automatic: bool
    report: DeliveryReport | None = None
    complaint: ComplaintReport | None = None
    unread: bool = False


def read_mail(raw: bytes) -> ParsedMail:
    """Parse a mail (RFC 5322). Raises ValueError if it is not one, and other errors for what the library cannot take.

    Some inputs take the library very long: call it in a process that can be ended (`mail_process.py`).
    """
    try:
        known = with_known_headers(raw)
        mail = message_from_bytes(known, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        if not mail.keys():
            raise ValueError("it has no header")
        addresses = getaddresses([str(value) for name in _TO for value in mail.get_all(name, [])])
        complaint = read_complaint(mail)
        report = _report(mail, known) if complaint is None else None
        return ParsedMail(
            identity=next(iter(message_ids(mail, "message-id")), ""),
            answers=references(mail),
            to=tuple(dict.fromkeys(address for _, address in addresses if address))[:MOST_NAMED],
            text=_text(mail),
            automatic=complaint is not None or report is not None or is_automatic(mail),
            report=report,
            complaint=complaint,
            unread=complaint is None and report is None and is_bounce(mail),
        )
    except (MessageError, LookupError, UnicodeError, AttributeError, TypeError, IndexError) as fault:
        raise ValueError(f"it cannot be read ({type(fault).__name__})") from fault


def _report(mail: EmailMessage, raw: bytes) -> DeliveryReport | None:
    """The report of a mail system. A mail that only quotes one is none."""
    report = read_report(mail)
    return report if report is not None or not is_bounce(mail) else read_foreign_bounce(mail, raw)


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
    """The person's text: of the plain part, else of the HTML; the subject if they wrote nothing else."""
    bodies = [part for part in mail_parts(mail) if part.get_content_disposition() != "attachment"]
    plain = next((part_text(part) for part in bodies if part.get_content_type() == "text/plain"), "")
    html = next((part_text(part) for part in bodies if part.get_content_type() == "text/html"), "")
    sender = parseaddr(header(mail, "from"))[0]
    text = written_text(plain if plain.strip() else html_text(html), sender)
    text = text or _ANSWER.sub("", header(mail, "subject"))
    return "".join(character for character in text if character.isprintable() or character == "\n").strip()[:LONGEST]
