"""The newest statement of a field counts, whatever the order of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.fields.origins import (
    ADDRESSES,
    MOST_FORGOTTEN,
    FieldOrigin,
    forgotten_without_bound,
    newer_fields,
    newer_traits,
)
from journeys.simulation.subjects import SimulatedSubject

DAY = datetime(2026, 11, 29, tzinfo=UTC)
Statement = tuple[int, bool, dict[str, Any]]
_traits = st.dictionaries(st.sampled_from(["plan", "zone", "name"]), st.sampled_from(["a", "b", None]), min_size=1)
_statements = st.lists(st.tuples(st.integers(0, 1439), st.booleans(), _traits), max_size=6, unique_by=lambda s: s[0])


def after(statements: list[tuple[Statement, int]]) -> SimulatedSubject:
    """Somebody of whom statements are accepted in this order, each so many minutes after it was made."""
    subject = SimulatedSubject("ada", "user")
    accepted = DAY
    for (minute, is_implied, traits), late in statements:
        said = DAY + timedelta(minutes=minute)
        accepted = max(accepted, said) + timedelta(minutes=late)
        subject.update_fields(traits, FieldOrigin(said, accepted, "segment:write", is_implied))
    return subject


@given(_statements, st.data())
def test_any_order_and_lateness_of_a_days_statements_gives_the_same_profile(statements, data):
    in_order = after([(statement, 0) for statement in statements])
    order = data.draw(st.permutations(statements))
    late = data.draw(st.lists(st.integers(0, 1440), min_size=len(order), max_size=len(order)))
    shuffled = after(list(zip(order, late, strict=True)))
    assert shuffled.profile == in_order.profile
    expected = {}
    for _, _, traits in sorted(statements, key=lambda statement: (not statement[1], statement[0])):
        expected |= traits
    assert shuffled.profile == {name: value for name, value in expected.items() if value is not None}


@given(_statements, _statements, st.data())
def test_a_merge_is_as_if_both_had_been_one_person(mine, theirs, data):
    taken = {minute for minute, _, _ in mine}
    theirs = [statement for statement in theirs if statement[0] not in taken]
    into, gone = after([(each, 0) for each in mine]), after([(each, 0) for each in theirs])
    newer = newer_fields(into.origins, gone.origins, into.profile, gone.profile)
    merged = {name: value for name, value in {**into.profile, **newer}.items() if value is not None}
    assert merged == after([(each, 0) for each in data.draw(st.permutations([*mine, *theirs]))]).profile


def test_what_is_only_implied_replaces_no_value_of_unknown_origin():
    origin = FieldOrigin(DAY, DAY, "a", is_implied=True)
    assert newer_traits({}, {"zone": "Asia/Tokyo"}, {"zone": "UTC", "lang": "de"}, origin) == {"lang": "de"}
    assert newer_traits({}, {"zone": "Asia/Tokyo"}, {"zone": "UTC"}, FieldOrigin(DAY, DAY, "a")) == {"zone": "UTC"}


def test_of_two_statements_of_one_instant_the_later_accepted_counts():
    first = FieldOrigin(DAY, DAY, "a")
    assert FieldOrigin(DAY, DAY + timedelta(seconds=1), "b").replaces(first)
    assert FieldOrigin(DAY, DAY, "b").replaces(first)
    assert not first.replaces(FieldOrigin(DAY, DAY + timedelta(seconds=1), "b"))


def test_a_value_of_unknown_origin_is_older_than_any_statement():
    assert newer_fields({}, {}, {"plan": "pro"}, {"plan": "free", "name": "Ann"}) == {"name": "Ann"}
    origin = FieldOrigin(DAY, DAY, "a")
    assert newer_fields({}, {"plan": origin}, {"plan": "pro"}, {"plan": "free"}) == {"plan": "free"}
    assert newer_fields({"plan": origin}, {}, {"plan": "pro"}, {"plan": "free"}) == {}


def test_origins_of_forgotten_fields_have_a_bound():
    forgotten = {f"f{n}": FieldOrigin(DAY + timedelta(seconds=n), DAY, "a") for n in range(1000)}
    assert forgotten_without_bound(forgotten, None) == {f"f{n}" for n in range(1000 - MOST_FORGOTTEN)}
    assert forgotten_without_bound(forgotten, {"f2"}) == forgotten.keys() - {"f2"}
    assert forgotten_without_bound({"n" * 65: forgotten["f0"]}, None) == {"n" * 65}
    assert forgotten_without_bound({"$member:a_1": forgotten["f0"]}, set()) == set()


@pytest.mark.parametrize("field", sorted(ADDRESSES))
def test_C5_a_merge_replaces_no_address_of_the_user(field: str) -> None:
    """Somebody else may have used the device: their newer address would get the user's messages."""
    older, newer = FieldOrigin(DAY, DAY, "s"), FieldOrigin(DAY + timedelta(hours=1), DAY, "s")
    merged = newer_fields({field: older}, {field: newer}, {field: "mine"}, {field: "theirs"})
    assert merged == {}
    assert newer_fields({}, {field: newer}, {}, {field: "theirs"}) == {field: "theirs"}
