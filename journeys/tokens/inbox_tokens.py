"""What a person's browser shows: a signed, short-lived token by which one person's in-app messages are read, and no other's.

It is signed as links are (`links.py`), for this only: no link opens an inbox, and no such token opens a link. It names the
person by the store's random key. There is nothing to revoke: it is over soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from journeys.tokens.signed_links import LinkError, LinkExpired, opened, signed

LONGEST_LIFE: Final = timedelta(hours=1)
USUAL_LIFE: Final = timedelta(minutes=15)
_CONTEXT: Final = b"tenure.front.1\x00"
_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class FrontPass:
    """Whose it is, and until when it is good."""

    person: str
    until: datetime


def front_token(keys: tuple[str, ...], person: str, until: datetime) -> str:
    """A token for this person. `until` is rounded down to the second. Raises ValueError for a key that cannot be part of it."""
    if _SEPARATOR in person or not person.isprintable():
        raise ValueError("a person's key holds what separates a token's fields")
    return signed(keys, f"{person}{_SEPARATOR}{int(until.timestamp()):x}".encode(), _CONTEXT)


def read_front_token(keys: tuple[str, ...], token: str, now: datetime) -> FrontPass:
    """Whose token this is. Raises LinkError, or LinkExpired when it was ours once."""
    person, _, until = opened(keys, token, _CONTEXT).decode().partition(_SEPARATOR)
    found = FrontPass(person, datetime.fromtimestamp(int(until, 16), UTC))
    if found.until <= now:
        raise LinkExpired("the token was good for a short time only")
    return found


__all__ = ["LONGEST_LIFE", "USUAL_LIFE", "FrontPass", "LinkError", "LinkExpired", "front_token", "read_front_token"]
