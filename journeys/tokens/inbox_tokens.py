"""Inbox tokens: signed, short-lived access of a browser to one person's in-app messages.

Signed like links (`signed_links`) in a context of their own: no link opens an inbox, and no inbox token works as a link.
A token names the person by the store's random key. It expires soon and cannot be revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from journeys.tokens.signed_links import LinkExpired, sign_token, verify_token

MAX_LIFETIME: Final = timedelta(hours=1)
DEFAULT_LIFETIME: Final = timedelta(minutes=15)
_CONTEXT: Final = b"tenure.front.1\x00"
_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class InboxPass:
    """The person of a token, and until when it is valid."""

    person: str
    until: datetime


def inbox_token(keys: tuple[str, ...], person: str, until: datetime) -> str:
    """A token for a person; `until` is rounded down to the second. Raises ValueError for a malformed person key."""
    if _SEPARATOR in person or not person.isprintable():
        raise ValueError("the person's key contains the separator of a token's fields")
    return sign_token(keys, f"{person}{_SEPARATOR}{int(until.timestamp()):x}".encode(), _CONTEXT)


def read_inbox_token(keys: tuple[str, ...], token: str, now: datetime) -> InboxPass:
    """The person of a token. Raises LinkError, or LinkExpired for a token that was valid before."""
    person, _, until = verify_token(keys, token, _CONTEXT).decode().partition(_SEPARATOR)
    inbox_pass = InboxPass(person, datetime.fromtimestamp(int(until, 16), UTC))
    if inbox_pass.until <= now:
        raise LinkExpired("the token has expired")
    return inbox_pass
