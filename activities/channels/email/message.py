"""Mail as bytes (RFC 5322, MIME).

No header value can contain a line break.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?P<local>{_LOCAL}(?:\.{_LOCAL})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)")
_LONGEST_ADDRESS = 254
_LINE = 76


@dataclass(frozen=True, slots=True)
class MailMessage:
    """Parts of a mail. `sender` is a display name and an address; `message_id` includes its angle brackets."""

    sender: tuple[str, str]
    to: str
    subject: str
    date: datetime
    message_id: str
    text: str
    html: str
    extra: tuple[tuple[str, str], ...] = ()


def mail_address(value: object) -> str | None:
    """A value as a mail address with its domain in ASCII (RFC 5890), or None. Quoted local parts are not accepted."""
    if not isinstance(value, str):
        return None
    local, at, domain = unicodedata.normalize("NFC", value.strip()).rpartition("@")
    try:
        address = f"{local}{at}{domain.encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        return None
    hidden = any(unicodedata.category(mark)[0] in "CZ" for mark in address)
    fits = len(address.encode()) <= _LONGEST_ADDRESS and len(local.encode()) <= 64  # RFC 5321 §4.5.3.1
    return address if fits and not hidden and _ADDRESS.fullmatch(address) else None


def mail_bytes(mail: MailMessage) -> bytes:
    """The mail; equal values give equal bytes. Raises ValueError for a header with a control character."""
    boundary = "=_" + mail.message_id.strip("<>").partition("@")[0][:32]
    head = "".join(
        (
            _header("From", named_address(*mail.sender)),
            _header("To", mail.to),
            _subject(mail.subject),
            _header("Date", format_datetime(mail.date)),
            _header("Message-ID", mail.message_id),
            *(_header(name, value) for name, value in mail.extra),
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
    """`Name <address>` as the value of a header, the name quoted or encoded. Raises ValueError for a control character."""
    if not name:
        return address
    _check_header("From", name)
    if name.isascii() and "=?" not in name:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{address}>'
    return f"{_encoded(name, used=len('From: '))} <{address}>"


def _header(name: str, value: str) -> str:
    """A header with a value of our own, which needs no folding."""
    _check_header(name, value.replace("\r\n ", ""))
    return f"{name}: {value}\r\n"


def _subject(text: str) -> str:
    """The subject as folded ASCII, or as encoded words (RFC 2047).

    `email.policy` decodes encoded words before it folds: a customer called `=?utf-8?q?=0D=0ABcc:_eve?=` would add a header. Here
    such a name is encoded itself and shown as it is.
    """
    _check_header("Subject", text)
    words = text.split()
    if not text.isascii() or "=?" in text or any(len(word) > _LINE // 2 for word in words):
        return f"Subject: {_encoded(text, used=len('Subject: '))}\r\n"
    lines = ["Subject:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"


def _encoded(text: str, used: int) -> str:
    """Encoded words of whole characters, none longer than its line; `used` characters of the first line are taken."""
    words: list[bytes] = [b""]
    capacity = _capacity(used)
    for mark in text:
        coded = mark.encode()
        if len(words[-1]) + len(coded) > capacity:
            words.append(b"")
            capacity = _capacity(1)
        words[-1] += coded
    return "\r\n ".join(f"=?utf-8?b?{binascii.b2a_base64(word, newline=False).decode()}?=" for word in words)


def _capacity(used: int) -> int:
    """Bytes whose base64 fits the rest of a line and RFC 2047's 75 characters of a word."""
    return (min(_LINE - used, 75) - len("=?utf-8?b??=")) // 4 * 3


def _check_header(name: str, value: str) -> None:
    if not value.isprintable():
        raise ValueError(f"{name} contains a line break or another control character")


def _part(kind: str, content: str) -> bytes:
    """A MIME part in quoted-printable, so that lines stay short; by the C codec, at a tenth of the cost of Python's."""
    lines = content.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    # `binascii` must see one kind of line end; other separators are data to mail clients.
    coded = binascii.b2a_qp(lines.replace("\n", "\r\n").encode(), istext=True)
    return (
        f'\r\nContent-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'.encode()
        + coded
        + b"\r\n"
    )
