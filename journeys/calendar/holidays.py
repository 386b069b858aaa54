"""Public holidays of a country or a part of it, by year.

Places are ISO 3166-1, with a part by ISO 3166-2: `DE`, `DE-BY`, `US-CA`. Source: the `holidays` library.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache


@lru_cache(maxsize=256)
def holidays_in(place: str, year: int) -> frozenset[date]:
    """The public holidays of a year. Raises ValueError for an unknown place."""
    import holidays  # noqa: PLC0415 — start-up time: its calendars load slowly, and few rules name a country

    country, _, part = place.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
    except NotImplementedError as fault:
        raise ValueError(f"no holidays are known for {place}: {fault}") from None
