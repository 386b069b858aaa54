"""Traits are read as fields by the tracking plan; what cannot be read changes nothing and is held."""

from __future__ import annotations

from typing import Any

import pytest

from journeys.events.inbound import InboundEvent
from journeys.events.segment import read_call
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import ValidEvent
from journeys.fields.table import NO_FIELDS
from journeys.simulation.recording import read_recorded
from tests.support import shipped_catalog

PLAN = TrackingPlan.model_validate(
    {
        "profile": {
            "first_name": {"type": "string", "from": ["firstName", "given_name"]},
            "score": "double",
            "seats": "int",
            "trial": "bool",
            "signed_at": {"type": "timestamp", "from": "createdAt"},
            "company": {"type": "string", "from": "company.name"},
            "tags": "strings",
        },
        "account": {"renewal_date": "timestamp"},
    }
)


def read(traits: dict[str, Any], owner="profile"):
    given = PLAN.traits.read(owner, traits)
    return dict(given.values), [trait.what for trait in given.unreadable]


def call(kind: str = "identify", **raw: Any) -> InboundEvent:
    """A call of somebody, read by the plan."""
    raw = {"type": kind, "messageId": "m1", "userId": "ada", "groupId": "acme", **raw}
    event = read_call(
        raw, plan=lambda _, name, data: ValidEvent(name, data), own_id=lambda *_: "own", nobody={}, fields=PLAN.traits
    )
    assert isinstance(event, InboundEvent)
    return event


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("score", "0.9", 0.9),
        ("score", 1, 1.0),
        ("seats", "21", 21),
        ("trial", "false", False),
        ("signed_at", 1798675200, "2026-12-31T00:00:00+00:00"),
        ("signed_at", "1798675200000", "2026-12-31T00:00:00+00:00"),
        ("signed_at", "2026-12-31", "2026-12-31"),
        ("signed_at", "2026-12-31T10:00:00+02:00", "2026-12-31T08:00:00+00:00"),
        ("first_name", 7, "7"),
        ("first_name", "", ""),
        ("tags", ["a"], ["a"]),
        ("seats", None, None),
        ("timezone", "europe/berlin", "Europe/Berlin"),
        ("timezone", "", ""),
    ],
)
def test_a_value_with_one_meaning_in_its_type_is_read(name, given, value):
    assert read({name: given}) == ({name: value}, [])


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        ("score", "0,9", "traits: score is not a double"),
        ("seats", "", "traits: seats is not an int"),
        ("seats", 2.5, "traits: seats is not an int"),
        ("trial", "yes", "traits: trial is not a bool"),
        ("signed_at", "31/12/2026", "traits: signed_at is not a timestamp"),
        ("signed_at", 20261231, "traits: signed_at is not a timestamp"),
        ("first_name", ["Ann"], "traits: first_name is not a string"),
        ("tags", "a", "traits: tags is not a strings"),
        ("timezone", "Berlin", "traits: timezone is not a time zone"),
        ("timezone", "localtime", "traits: timezone is not a time zone"),
    ],
)
def test_a_value_that_cannot_be_read_is_no_field_and_the_others_are(name, given, fault):
    assert read({name: given, "score": 1.0} | {name: given}) == ({"score": 1.0} if name != "score" else {}, [fault])


@pytest.mark.parametrize(
    ("traits", "fields"),
    [
        ({"firstName": "Ann"}, {"first_name": "Ann"}),
        ({"given_name": "Ann"}, {"first_name": "Ann"}),
        ({"first_name": "Eve", "firstName": "Ann"}, {"first_name": "Eve", "firstName": "Ann"}),
        ({"createdAt": 1798675200}, {"signed_at": "2026-12-31T00:00:00+00:00"}),
        ({"company": "Acme"}, {"company": "Acme"}),
        ({"company.name": "Acme"}, {"company": "Acme"}),
        ({"shoeSize": 43}, {"shoeSize": 43}),
    ],
)
def test_a_field_is_read_by_its_own_name_before_the_names_of_its_senders(traits, fields):
    assert read(traits) == (fields, [])


def test_a_member_of_an_object_is_a_field():
    plan = TrackingPlan.model_validate({"profile": {"company_name": {"type": "string", "from": "company.name"}}})
    given = plan.traits.read("profile", {"company": {"name": "Acme", "id": 7}})
    assert given.values == {"company": {"name": "Acme", "id": 7}, "company_name": "Acme"}
    wrong = plan.traits.read("profile", {"company": {"name": ["Acme"]}})
    assert [trait.path for trait in wrong.unreadable] == [("company", "name")]


def test_without_a_plan_traits_are_fields_as_they_came():
    traits = {"score": "high", "timezone": "nowhere"}
    assert NO_FIELDS.read("profile", traits).values == traits


def test_an_unreadable_trait_is_held_as_a_call_of_its_own_and_the_rest_of_its_call_counts():
    event = call(traits={"score": "high", "createdAt": "31/12/2026", "seats": 3}, timestamp="2026-05-01T10:00:00Z")
    assert event.traits == {"seats": 3}
    held = event.held
    assert held is not None
    assert (held.message_id, held.name) == ("m1:traits", "identify")
    assert held.faults == ("traits: score is not a double", "traits: createdAt is not a timestamp")
    assert held.raw["traits"] == {"score": "high", "createdAt": "31/12/2026"}
    assert (held.raw["userId"], held.raw["timestamp"]) == ("ada", "2026-05-01T10:00:00Z")


def test_a_held_call_of_a_long_message_id_has_an_id_within_its_bound():
    held = call(messageId="m" * 255, traits={"score": "high"}).held
    assert held is not None
    assert len(held.message_id) <= 255


def test_traits_of_the_context_count_where_the_call_has_none_of_its_own():
    context = {"traits": {"firstName": "Ann", "score": "high", "seats": 3}}
    event = call(traits={"seats": 5}, context=context)
    assert event.traits == {"first_name": "Ann", "seats": 5}
    assert event.held is not None
    assert event.held.raw["traits"] == {"score": "high"}
    assert "traits" not in event.held.raw["context"]
    assert call("group", traits={}, context=context).traits == {}
    assert call(traits={"firstName": "Eve"}, context={"traits": {"first_name": "Ann"}}).traits == {"first_name": "Eve"}
    assert call(traits={"score": "high"}, context={"traits": {"score": 1}}).traits == {}


def test_zone_and_language_of_the_context_are_implied_unless_a_trait_names_them():
    context = {"timezone": "europe/vienna", "locale": "de-AT"}
    assert call(context=context).implied == {"timezone": "Europe/Vienna", "locale": "de-AT"}
    assert call(context=context, traits={"timezone": "Europe/Berlin"}).implied == {"locale": "de-AT"}
    assert call(context={"timezone": "localtime", "locale": 7}).implied == {}
    assert call(context={"timezone": "localtime"}).held is None
    assert call("group", context=context).implied == {}


def test_the_simulator_reads_the_same_fields():
    raw = {
        "type": "identify", "userId": "ada", "timestamp": "2026-05-01",
        "traits": {"firstName": "Ann", "score": "high"}, "context": {"timezone": "europe/berlin"},
    }  # fmt: skip
    recorded = read_recorded(raw, PLAN.events, PLAN.traits)
    assert recorded.data == {"first_name": "Ann"}
    assert recorded.implied == {"timezone": "Europe/Berlin"}
    assert recorded.unread == ("traits: score is not a double",)


def test_the_shipped_plan_reads_segments_reserved_traits():
    traits = {
        "firstName": "Ann", "lastName": "Lee", "name": "Ann Lee", "email": "ann@x.example", "phone": "+4312345",
        "title": "CTO", "createdAt": "2026-05-01T10:00:00Z", "company": {"name": "Acme", "employee_count": 9},
    }  # fmt: skip
    given = shipped_catalog.plan().traits.read("profile", traits)
    assert given.unreadable == ()
    assert {name: given.values[name] for name in ("first_name", "last_name", "company_name", "created_at")} == {
        "first_name": "Ann", "last_name": "Lee", "company_name": "Acme", "created_at": "2026-05-01T10:00:00+00:00",
    }  # fmt: skip
    account = {"name": "Acme", "employees": "420", "industry": "Tools", "createdAt": 1798675200, "website": "x.example"}
    given = shipped_catalog.plan().traits.read("account", account)
    assert (given.unreadable, given.values["employees"]) == ((), 420)
