"""Caught mails: list of a Maildir, and one mail with its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Final

SHOWN: Final = 200
"""Mails on the list, the newest ones."""
HEAD_BYTES: Final = 65_536
_NAME: Final = re.compile(r"[\w.-]{1,200}")


@dataclass(frozen=True, slots=True)
class CaughtMail:
    """One mail as a mail program shows it. `html` and `text` are empty if it has no such part."""

    name: str
    to: str
    sender: str
    subject: str
    date: str
    headers: tuple[tuple[str, str], ...]
    text: str = ""
    html: str = ""
    attachments: tuple[str, ...] = ()


def list_mails(maildir: Path) -> list[CaughtMail]:
    """The newest mails without their parts, newest first. Names begin with the instant of acceptance."""
    files = [file for folder in ("new", "cur") for file in (maildir / folder).glob("*")]
    newest = sorted(files, key=lambda file: file.name, reverse=True)[:SHOWN]
    return [_mail(file.name, _head(file)) for file in newest]


def read_caught_mail(maildir: Path, name: str) -> CaughtMail | None:
    """One mail with its parts; None if there is none of this name."""
    content = read_raw(maildir, name)
    if content is None:
        return None
    message = BytesParser(policy=default).parsebytes(content)
    parts = {kind: _text_of(message.get_body((kind,))) for kind in ("plain", "html")}
    attachments = tuple(part.get_filename() or part.get_content_type() for part in message.iter_attachments())
    return _mail(name, message, parts["plain"], parts["html"], attachments)


def read_raw(maildir: Path, name: str) -> bytes | None:
    """The bytes of one mail; None if there is none of this name."""
    if not _NAME.fullmatch(name):
        return None
    files = (maildir / folder / name for folder in ("new", "cur"))
    return next((file.read_bytes() for file in files if file.is_file()), None)


def _head(file: Path) -> EmailMessage:
    with file.open("rb") as content:
        head = content.read(HEAD_BYTES)
    return BytesParser(policy=default).parsebytes(head, headersonly=True)


def _mail(
    name: str, message: EmailMessage, text: str = "", html: str = "", attachments: tuple[str, ...] = ()
) -> CaughtMail:
    headers = _headers(message)
    to = ", ".join(str(value) for field, value in headers if field.lower() == "delivered-to")
    first = {field.lower(): value for field, value in reversed(headers)}
    return CaughtMail(
        name,
        to or first.get("to", ""),
        first.get("from", ""),
        first.get("subject", ""),
        first.get("date", ""),
        headers,
        text,
        html,
        attachments,
    )


def _headers(message: EmailMessage) -> tuple[tuple[str, str], ...]:
    """All headers, decoded; as they were written if one of them is malformed."""
    try:
        return tuple((field, str(value)) for field, value in message.items())
    except Exception:  # noqa: BLE001 -- the parser of headers raises anything for a malformed one
        return tuple((field, str(value)) for field, value in message.raw_items())


def _text_of(part: MIMEPart | None) -> str:
    """The text of a part; bytes that its charset does not explain are replaced."""
    if part is None:
        return ""
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return content.decode("utf-8", "replace")
