"""Which clock hangs on a person's wall: from their profile, else their phone number, their account, the policy (C7)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

TIMEZONE_FIELDS = frozenset({"timezone", "phone"})
"""What of a person or an account their clock is told by."""
UNKNOWN = "Etc/Unknown"
LONGEST = 64


def zone_of(profile: Mapping[str, Any], account: Mapping[str, Any], default: str) -> str:
    """An IANA name that exists. A number that is used in several zones, as of a whole country, says nothing."""
    for name in (profile.get("timezone"), _by_phone(profile.get("phone")), account.get("timezone")):
        if isinstance(name, str) and zone_named(name) is not None:
            return name
    return default


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The zone of that name, or None: what people type is not a path to be opened."""
    if not name or len(name) > LONGEST or not name.isascii() or name == UNKNOWN:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _by_phone(number: Any) -> str | None:
    return _zone_of_number(number) if isinstance(number, str) and number.startswith("+") else None


@lru_cache(maxsize=4096)
def _zone_of_number(number: str) -> str | None:
    """Only of numbers in international form (E.164): the others depend on where they are dialled."""
    import phonenumbers
    from phonenumbers.timezone import time_zones_for_number

    try:
        parsed = phonenumbers.parse(number[:LONGEST])
    except phonenumbers.NumberParseException:
        return None
    zones = time_zones_for_number(parsed)
    return zones[0] if len(zones) == 1 and zones[0] != UNKNOWN else None
