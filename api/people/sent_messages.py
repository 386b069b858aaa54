"""Messages that were sent to a person, as they can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from typing import Any, Final

from store.rows import RowDict

_TEXTS: Final = ("body_text", "text", "body", "Body")
"""Members of a provider's JSON that have the text of a message."""


def sent_messages(ledger: Sequence[RowDict]) -> list[dict[str, Any]]:
    """What has left, or may have, the oldest first, with its text."""
    sent = [row for row in ledger if row["sent_at"] is not None]
    return [_sent(row) for row in sorted(sent, key=lambda row: (row["sent_at"], row["id"]))]


def _sent(row: RowDict) -> dict[str, Any]:
    summary = row["summary"] if isinstance(row["summary"], Mapping) else {}
    return {
        "id": row["id"],
        "sent_at": row["sent_at"],
        "status": row["status"],
        "channel": row["channel"],
        "address": row["address"],
        "template": row["template"],
        "digest": row["merged_into"],
        "subject": summary.get("subject"),
        "text": readable_body(row["channel"], row["body"]),
    }


def readable_body(channel: str | None, body: str | None) -> str | None:
    """The text of a stored body: the plain part of a mail, the text in a provider's JSON, else the whole."""
    if body is None:
        return None
    try:
        content = json.loads(body)
    except ValueError:
        return _plain_part(body) if channel == "email" else body
    return "\n".join(_texts_in(content)) or json.dumps(content, ensure_ascii=False, indent=2)


def _plain_part(mail: str) -> str:
    """Our own mails only: the parser of the standard library is slow on what a stranger may write."""
    message = message_from_string(mail, _class=EmailMessage, policy=default)
    part = message.get_body(("plain", "html"))
    return str(part.get_content()).strip() if part is not None else mail


def _texts_in(content: Any) -> Iterator[str]:
    match content:
        case dict():
            yield from (content[name] for name in _TEXTS if isinstance(content.get(name), str))
            yield from (
                text for value in content.values() if isinstance(value, dict | list) for text in _texts_in(value)
            )
        case list():
            yield from (text for value in content for text in _texts_in(value))
        case _:
            return
