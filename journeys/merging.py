"""What a person said who was thought to be two: a no of either counts wherever it reached, a yes only where it stood."""

from __future__ import annotations

from collections.abc import Mapping

from journeys.verdicts import ANY, Consents


def merged_consents(one: Consents, other: Consents) -> Mapping[tuple[str, str], bool]:
    """By (channel, topic), what holds for both together: a withdrawal wins, also a wide one over a narrow grant."""
    return {
        place: _said(one, place) is not False and _said(other, place) is not False for place in sorted({*one, *other})
    }


def _said(consents: Consents, place: tuple[str, str]) -> bool | None:
    """What one of them said of this place: of itself, or of the nearest that contains it."""
    channel, topic = place
    around = (place, (ANY, topic), (channel, ANY), (ANY, ANY))
    return next((consents[each] for each in around if each in consents), None)
