"""Bounds of a profile: declared fields only, and so many bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from journeys.events.profile_bounds import PLATFORM_FIELDS, ProfileBounds, size_of
from journeys.events.tracking_plan import TrackingPlan
from journeys.fields.origins import ADDRESSES

PLAN = TrackingPlan.model_validate({"profile": {"plan": "string"}, "account": {"seats": "int"}})
BOUNDS = ProfileBounds.of(PLAN, most_bytes=100)
_fields = st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=60) | st.none() | st.integers(), max_size=6)


def test_declared_fields_and_those_that_are_read_change_a_profile_and_null_forgets_any():
    traits = {"plan": "team", "seats": 3, "email": "a@x.example", "shoe_size": 43, "old": None, "of_a_journey": 1}
    kept = BOUNDS.kept("profile", traits, {"of_a_journey"})
    assert kept == {"plan": "team", "email": "a@x.example", "old": None, "of_a_journey": 1}
    assert BOUNDS.kept("account", {"seats": 3, "plan": "team"}, ()) == {"seats": 3}
    assert ProfileBounds().kept("profile", traits, ()) == traits


def test_every_address_is_a_field_of_the_platform():
    assert PLATFORM_FIELDS["profile"] >= ADDRESSES


@given(_fields, _fields)
def test_a_profile_within_its_bound_stays_so_and_a_larger_one_only_shrinks(profile, traits):
    profile = {name: value for name, value in profile.items() if value is not None}
    after = {name: value for name, value in {**profile, **traits}.items() if value is not None}
    assert BOUNDS.is_exceeded(profile, traits) == (size_of(after) > max(100, size_of(profile)))


@given(_fields, _fields)
def test_a_merge_never_exceeds_the_bound(profile, more):
    profile = {name: value for name, value in profile.items() if value is not None}
    merged = {**profile, **BOUNDS.fitting(profile, more)}
    merged = {name: value for name, value in merged.items() if value is not None}
    assert size_of(merged) <= max(100, size_of(profile))
