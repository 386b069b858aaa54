"""What holds for a person who was thought to be two (U2, C5)."""

from __future__ import annotations

import pytest

from journeys.consent.preferences import merged_consents

ALL, MAIL, NEWS = ("*", "*"), ("email", "*"), ("email", "news")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({NEWS: True}, {}, {NEWS: True}),
        ({NEWS: False}, {NEWS: True}, {NEWS: False}),
        ({ALL: False}, {NEWS: True}, {ALL: False, NEWS: False}),
        ({ALL: False, NEWS: True}, {NEWS: True}, {ALL: False, NEWS: True}),
        ({NEWS: False}, {MAIL: True}, {MAIL: True, NEWS: False}),
        ({("*", "news"): False}, {NEWS: True, MAIL: True}, {("*", "news"): False, NEWS: False, MAIL: True}),
    ],
)
def test_U2_a_no_of_either_counts_wherever_it_reached(one, other, both):
    assert merged_consents(one, other) == both
    assert merged_consents(other, one) == both
