"""Resolve a person's time zone: profile, phone number, account, policy default (C7).

Only zones that can be read are used, else the next source; a number used in several zones resolves none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from journeys.calendar.zone_names import canonical_zone

TIMEZONE_FIELDS = frozenset({"timezone", "phone"})
"""Fields of a profile or an account that decide the time zone."""
_UNKNOWN = "Etc/Unknown"
_MAX_LENGTH = 64


def zone_of(profile: Mapping[str, Any], account: Mapping[str, Any], default: str) -> str:
    """The IANA name of a person's time zone; `default` if none of their fields resolves."""
    for name in (profile.get("timezone"), _by_phone(profile.get("phone")), account.get("timezone")):
        if isinstance(name, str) and (zone := canonical_zone(name)) is not None:
            return zone
    return default


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The zone of a name as `canonical_zone` reads it, or None."""
    zone = canonical_zone(name)
    return None if zone is None else ZoneInfo(zone)


def _by_phone(number: Any) -> str | None:
    return _zone_of_number(number) if isinstance(number, str) and number.startswith("+") else None


@lru_cache(maxsize=4096)
def _zone_of_number(number: str) -> str | None:
    """The zone of a number in international form (E.164); other forms depend on where they are dialled."""
    import phonenumbers  # noqa: PLC0415 — start-up time: its metadata costs more than the rest of this package
    from phonenumbers.timezone import time_zones_for_number  # noqa: PLC0415 — as above

    try:
        parsed = phonenumbers.parse(number[:_MAX_LENGTH])
    except phonenumbers.NumberParseException:
        return None
    zones = time_zones_for_number(parsed)
    return zones[0] if len(zones) == 1 and zones[0] != _UNKNOWN else None
