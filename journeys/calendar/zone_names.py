"""Names of time zones as senders write them: IANA's, Windows', offsets.

Source of Windows' names: CLDR windowsZones, as Babel keeps it. A name of the server's own zone is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_MAX_LENGTH: Final = 64
_NOBODYS: Final = frozenset({"localtime", "factory", "posixrules", "etc/unknown"})
"""Names in the database that say nothing of a person: the server's own zone, and placeholders."""
_COPIES: Final = ("posix/", "right/")
"""Copies of the database in the folders of some systems; `right` counts leap seconds."""
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?", re.IGNORECASE)
_MOST_EAST: Final = 14
_MOST_WEST: Final = 12
_PARTIAL_HOURS: Final[Mapping[str, str]] = {
    "+0330": "Asia/Tehran",
    "+0430": "Asia/Kabul",
    "+0530": "Asia/Kolkata",
    "+0545": "Asia/Kathmandu",
    "+0630": "Asia/Yangon",
    "+0845": "Australia/Eucla",
    "+0930": "Australia/Darwin",
    "-0930": "Pacific/Marquesas",
}
"""Offsets without a zone of their own in `Etc/`, with a zone that has this offset all the year."""


@lru_cache(maxsize=1024)
def canonical_zone(name: str) -> str | None:
    """The IANA name of a time zone as its sender wrote it; None if there is none.

    An offset stands for itself all the year. Names come from profiles, so they are checked before a file is opened.
    """
    name = name.strip()
    if not name or len(name) > _MAX_LENGTH or not name.isascii() or not name.isprintable():
        return None
    return _of_iana(name) or _of_offset(name) or _windows_zones().get(name.lower())


def _of_iana(name: str) -> str | None:
    lower = name.lower()
    if lower in _NOBODYS or lower.startswith(_COPIES):
        return None
    if _is_zone(name):
        return name
    return "UTC" if lower == "z" else _iana_zones().get(lower)


def _is_zone(name: str) -> bool:
    try:
        return ZoneInfo(name).key == name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _of_offset(name: str) -> str | None:
    written = _OFFSET.fullmatch(name)
    if written is None:
        return None
    sign, hours, minutes = written[1], int(written[2]), written[3] or "00"
    if minutes != "00":
        return _PARTIAL_HOURS.get(f"{sign}{hours:02}{minutes}")
    if hours == 0:
        return "UTC"
    most = _MOST_EAST if sign == "+" else _MOST_WEST
    # POSIX counts westwards: `Etc/GMT-2` is two hours east of Greenwich.
    return f"Etc/GMT{'-' if sign == '+' else '+'}{hours}" if hours <= most else None


@cache
def _iana_zones() -> Mapping[str, str]:
    """Names of the database by their small letters: senders write `europe/berlin`."""
    return {name.lower(): name for name in available_timezones() if name.lower() not in _NOBODYS}


@cache
def _windows_zones() -> Mapping[str, str]:
    """Windows' names by their small letters, each with the zone of its largest territory (CLDR territory 001)."""
    from babel.core import get_global  # noqa: PLC0415 — start-up time: few senders write Windows' names

    return {name.lower(): zone for name, zone in get_global("windows_zone_mapping").items()}
