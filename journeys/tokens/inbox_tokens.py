"""What a person's browser shows: a signed, short-lived token by which one person's in-app messages are read, and no other's.

It is signed as links are (`links.py`), for this only: no link opens an inbox, and no such token opens a link. It names the
person by the store's random key. There is nothing to revoke: it is over soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from journeys.tokens.signed_links import LinkExpired, sign_token, verify_token

LONGEST_LIFE: Final = timedelta(hours=1)
USUAL_LIFE: Final = timedelta(minutes=15)
_CONTEXT: Final = b"tenure.front.1\x00"
_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class InboxPass:
    """Whose it is, and until when it is good."""

    person: str
    until: datetime


def inbox_token(keys: tuple[str, ...], person: str, until: datetime) -> str:
    """A token for this person. `until` is rounded down to the second. Raises ValueError for a key that cannot be part of it."""
    if _SEPARATOR in person or not person.isprintable():
        raise ValueError("a person's key holds what separates a token's fields")
    return sign_token(keys, f"{person}{_SEPARATOR}{int(until.timestamp()):x}".encode(), _CONTEXT)


def read_inbox_token(keys: tuple[str, ...], token: str, now: datetime) -> InboxPass:
    """Whose token this is. Raises LinkError, or LinkExpired when it was ours once."""
    person, _, until = verify_token(keys, token, _CONTEXT).decode().partition(_SEPARATOR)
    found = InboxPass(person, datetime.fromtimestamp(int(until, 16), UTC))
    if found.until <= now:
        raise LinkExpired("the token was good for a short time only")
    return found
