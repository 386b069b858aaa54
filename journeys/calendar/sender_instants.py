"""Instants as senders write them: ISO 8601, RFC 2822, JavaScript's dates, epochs.

Only what has one meaning is read. An instant without an offset is in UTC; `31/12/2026` has no meaning without its country.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = (946_684_800, 4_102_444_800)
"""2000 to 2100. In these years the unit of an epoch is plain from its size: no two units overlap."""
_UNITS: Final = (1, 1_000, 1_000_000)
"""Seconds, milliseconds, microseconds."""
_DIGITS = re.compile(r"\d{9,16}(\.\d{1,9})?")
_OFFSET = r"(Z|[+-]\d\d:?\d\d)?"
_TWELVE_HOURS = re.compile(
    rf"(\d{{4}}-\d\d-\d\d)[T\s]\s*(\d\d?):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*([ap])\.?m\.?\s*{_OFFSET}", re.IGNORECASE
)
"""Some phones format with their own clock's `am` and `pm`, beside hours of 12 or of 24."""
_JAVASCRIPT = re.compile(
    r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2} \d\d? \d{4} \d\d:\d\d:\d\d) (?:GMT|UTC)([+-]\d{4})?(?: \(.*\))?"
)
"""`Date#toString` of ECMAScript §21.4.4.41.4."""
_RFC_2822 = re.compile(r"(?:[A-Z][a-z]{2}, )?\d\d? [A-Z][a-z]{2} \d{4} .+")
_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)|\[[\w/+-]+\]$")
_NAMED_UTC = re.compile(r"\s*(?:UTC|GMT|z)$")


def sender_instant(value: Any) -> datetime | None:
    """An aware UTC instant from a value of JSON, or from a datetime; None without one, or if it cannot be read."""
    try:
        at = value if isinstance(value, datetime) else _read(value)
        return None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read(value: Any) -> datetime | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_epoch(value)
    if not isinstance(value, str):
        return None
    try:  # nearly every instant; of digits alone it would read some epochs as years
        if not _DIGITS.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass
    return _of_text(value.strip()) if len(value) <= 100 else None


def _of_epoch(value: float) -> datetime | None:
    first, last = _SECONDS
    unit = next((unit for unit in _UNITS if first * unit <= value < last * unit), None)
    return None if unit is None else _EPOCH + timedelta(seconds=value / unit)


def _of_text(text: str) -> datetime | None:
    if _DIGITS.fullmatch(text):
        return _of_epoch(float(text))
    if written := _TWELVE_HOURS.fullmatch(text):
        return _of_twelve_hours(written)
    if written := _JAVASCRIPT.fullmatch(text):
        return datetime.strptime(f"{written[1]} {written[2] or '+0000'}", "%b %d %Y %H:%M:%S %z")
    if _RFC_2822.fullmatch(text):
        return parsedate_to_datetime(text)
    return datetime.fromisoformat(_NAMED_UTC.sub("Z", _BEFORE_OFFSET.sub("", text)))


def _of_twelve_hours(written: re.Match[str]) -> datetime | None:
    """`10:06 pm` and `22:06 pm` are the same; `22:06 am` contradicts itself."""
    day, hour, minute, second, half, offset = written.groups()
    given, is_pm = int(hour), half in "pP"
    if given > 12 and not is_pm:
        return None
    hours = given if given > 12 else given % 12 + (12 if is_pm else 0)
    return datetime.fromisoformat(f"{day}T{hours:02}:{minute}:{second or '00'}{offset or ''}")
