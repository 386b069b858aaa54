"""Consent of a visitor and a user who are merged into one person (U2, C5)."""

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
def test_U2_an_opt_out_of_either_profile_stays_in_force_after_a_merge(one, other, both):
    assert merged_consents(one, other) == both
    assert merged_consents(other, one) == both
