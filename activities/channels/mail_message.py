"""A mail as bytes (RFC 5322, MIME): every header goes through a wall that no line break passes."""

from __future__ import annotations

import binascii
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?P<local>{_LOCAL}(?:\.{_LOCAL})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)")
_LONGEST_ADDRESS = 254
_FOLDED = 76


@dataclass(frozen=True, slots=True)
class Mail:
    """What one mail is made of. `sender` is a display name and an address; `message_id` has its angle brackets."""

    sender: tuple[str, str]
    to: str
    subject: str
    date: datetime
    message_id: str
    text: str
    html: str
    extra: tuple[tuple[str, str], ...] = ()


def mail_address(given: object) -> str | None:
    """A value as an address we can send to, its domain in ASCII (RFC 5890), or None. Quoted forms are not taken."""
    if not isinstance(given, str):
        return None
    local, at, domain = unicodedata.normalize("NFC", given.strip()).rpartition("@")
    try:
        address = f"{local}{at}{domain.encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        return None
    hidden = any(unicodedata.category(mark)[0] in "CZ" for mark in address)
    fits = len(address.encode()) <= _LONGEST_ADDRESS and len(local.encode()) <= 64  # RFC 5321 §4.5.3.1
    return address if fits and not hidden and _ADDRESS.fullmatch(address) else None


def mail_bytes(mail: Mail) -> bytes:
    """The mail, the same bytes for the same values. Raises ValueError for a header with a line break in it."""
    policy = SMTP if mail.to.isascii() else SMTPUTF8
    boundary = "=_" + mail.message_id.strip("<>").partition("@")[0]
    head = "".join(
        (
            header("From", named_address(*mail.sender), policy),
            _plain_header("To", mail.to),
            header("Subject", mail.subject, policy),
            _plain_header("Date", format_datetime(mail.date)),
            _plain_header("Message-ID", mail.message_id),
            *(_plain_header(name, value) for name, value in mail.extra),
            "MIME-Version: 1.0\r\n",
            f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n\r\n',
        )
    )
    dash = f"--{boundary}".encode()
    return b"".join(
        (
            head.encode(),
            *(dash, _part("plain", mail.text)),
            *(dash, _part("html", mail.html)),
            *(dash, b"--\r\n"),
        )
    )


def named_address(name: str, address: str) -> str:
    """`Name <address>` as a header's value: quoted where it must be. Its folding encodes what is not ASCII."""
    if not name:
        return address
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def header(name: str, value: str, policy: EmailPolicy[EmailMessage] = SMTP) -> str:
    """A folded header, encoded words where needed. Raises ValueError for CR or LF in the value."""
    if value.isascii() and value.isprintable() and len(name) + len(value) + 2 <= _FOLDED and "=?" not in value:
        return f"{name}: {value}\r\n"
    folded: str = policy.fold(*policy.header_store_parse(name, value))
    return folded


def _plain_header(name: str, value: str) -> str:
    """One of a shape that needs no folding. Only what we made ourselves or have checked comes here."""
    if not value.isprintable():
        raise ValueError(f"{name} holds a control character")
    return f"{name}: {value}\r\n"


def _part(kind: str, content: str) -> bytes:
    """Quoted-printable by the C codec: lines stay short for every relay, and it costs a tenth of the pure one."""
    lines = content.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    # Other line separators are data to a mail reader, but `binascii` must see one kind of line end only.
    coded = binascii.b2a_qp(lines.replace("\n", "\r\n").encode(), istext=True)
    return (
        f'\r\nContent-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'.encode()
        + coded
        + b"\r\n"
    )
