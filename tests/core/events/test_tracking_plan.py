"""The tracking plan: types of conditions, validation of events, and faults of the plan itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.events.tracking_plan import TrackingPlan, check_event, read_plan
from journeys.events.validation import InvalidEvent, ValidEvent
from journeys.language.outcome_signals import is_segment_signal
from journeys.language.values import coerce
from store.people.memberships import LEFT
from tests.support import shipped_catalog
from tests.support.reached import must_reach, reached

PLAN = """
sources: {shop: The shop, desk: The desk}
roles: [champion]
profile: {plan: string, rhythm_days: {type: double, personal: true, source: shop}}
account: {renewal_date: timestamp}
signals:
  order_completed:
    source: shop
    from: [Order Completed, {event: Purchase, where: {status: paid}, rename: {order_id: id}}]
    properties: {order_id: string, total: double, quantity: int, gift: bool?, paid_at: timestamp?, tags: strings?}
  order_refused: {source: shop, from: {event: Purchase, where: {status: refused}}}
  ticket_opened: {source: desk, properties: {ticket_id: string}}
"""
ORDER = {"order_id": "o1", "total": 9.5, "quantity": 2}


def plan() -> TrackingPlan:
    parsed, source = read_plan(PLAN)
    assert parsed is not None, source.problems
    return parsed


def faults(name: str, properties: dict[str, object]) -> list[tuple[str, str]]:
    checked = check_event(plan(), name, properties)
    assert isinstance(checked, InvalidEvent)
    return [(fault.code, fault.property) for fault in checked.faults]


def test_the_plan_has_a_type_for_every_field_and_property():
    types = plan().types()
    assert types["profile.rhythm_days"] == "double"
    assert types["account.renewal_date"] == "timestamp"
    assert types["event.order_completed.tags"] == "strings"


def test_outcomes_of_a_journeys_own_actions_have_types():
    types = shipped_catalog.plan().types(shipped_catalog.journey("setup-and-activation"))
    assert types["event.onboarding-call.closed.outcome"] == "string"
    assert types["event.onboarding-call.overdue.level"] == "int"
    assert types["event.send:setup/checklist.sent.channel"] == "string"
    assert "event.onboarding-call.closed.outcome" not in shipped_catalog.plan().types()


def test_a_tools_event_name_and_the_signals_own_name_are_equivalent():
    for name in ("Order Completed", "order_completed"):
        assert check_event(plan(), name, ORDER) == ValidEvent("order_completed", ORDER)


def test_one_event_of_a_tool_maps_to_different_signals_by_its_values():
    paid = check_event(plan(), "Purchase", {"status": "paid", "id": "o1", "total": 1, "quantity": 1})
    assert isinstance(paid, ValidEvent)
    assert (paid.signal, paid.properties["order_id"]) == ("order_completed", "o1")
    assert check_event(plan(), "Purchase", {"status": "refused"}) == ValidEvent("order_refused", {"status": "refused"})
    assert faults("Purchase", {"status": "odd"}) == [("unknown_event", "")]


def test_every_fault_of_an_event_is_reported_at_once():
    given = {"total": "9,50", "gift": "yes", "paid_at": "yesterday", "tags": ["a", 1]}
    assert faults("order_completed", given) == [
        ("missing_property", "order_id"),
        ("wrong_type", "total"),
        ("missing_property", "quantity"),
        ("wrong_type", "gift"),
        ("wrong_type", "paid_at"),
        ("wrong_type", "tags"),
    ]


def test_a_missing_property_is_reported_under_the_tools_name():
    assert faults("Purchase", {"status": "paid", "total": 1, "quantity": 1}) == [("missing_property", "id")]


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("order_id", 17, "17"),
        ("total", 9, 9.0),
        ("quantity", 2.0, 2),
        ("paid_at", "2026-05-01T10:00:00+02:00", "2026-05-01T08:00:00+00:00"),
        ("paid_at", "2026-05-01", "2026-05-01T00:00:00+00:00"),
        ("paid_at", 1_777_629_600, "2026-05-01T10:00:00+00:00"),
        ("paid_at", "1777629600000", "2026-05-01T10:00:00+00:00"),
        ("total", "25.00", 25.0),
        ("total", " 1e3 ", 1000.0),
        ("quantity", "21", 21),
        ("quantity", "2.0", 2),
        ("gift", "True", True),
        ("tags", [], []),
    ],
)
def test_a_convertible_value_is_converted_to_its_type(name, given, kept):
    checked = check_event(plan(), "order_completed", ORDER | {name: given})
    assert isinstance(checked, ValidEvent)
    assert checked.properties[name] == kept
    assert type(checked.properties[name]) is type(kept)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("order_id", True),
        ("order_id", 1.5),
        ("order_id", "a\x00b"),
        ("order_id", ["o1"]),
        ("total", float("nan")),
        ("total", float("inf")),
        ("total", True),
        ("total", 10**400),
        ("quantity", 2.5),
        ("quantity", 2**63),
        ("gift", 1),
        ("gift", "yes"),
        ("total", "1,025.00"),
        ("total", "$25"),
        ("total", "NaN"),
        ("total", ""),
        ("quantity", "2.5"),
        ("quantity", "9" * 19),
        ("quantity", "٣"),
        ("paid_at", "31/12/2026"),
        ("paid_at", 20261231),
        ("paid_at", "9999-12-31T23:59:59-12:00"),
        ("tags", "a"),
        ("tags", ["\x00"]),
    ],
)
def test_a_value_that_cannot_be_converted_is_a_fault(name, given):
    assert faults("order_completed", ORDER | {name: given}) == [("wrong_type", name)]


def test_null_counts_as_missing():
    assert faults("order_completed", ORDER | {"total": None}) == [("missing_property", "total")]
    checked = check_event(plan(), "order_completed", ORDER | {"gift": None})
    assert isinstance(checked, ValidEvent)
    assert "gift" not in checked.properties


def test_undeclared_properties_are_kept_unchanged():
    checked = check_event(plan(), "order_completed", ORDER | {"colour": {"deep": [1]}})
    assert isinstance(checked, ValidEvent)
    assert checked.properties["colour"] == {"deep": [1]}


def test_checking_an_event_does_not_change_it():
    given = ORDER | {"order_id": 7, "gift": None}
    check_event(plan(), "order_completed", given)
    assert given == ORDER | {"order_id": 7, "gift": None}


@pytest.mark.parametrize(
    ("name", "code"), [("Nothing", "unknown_event"), ("tenure.event", "reserved_name"), ("", "unknown_event")]
)
def test_an_unplanned_event_is_refused_with_its_reason(name, code):
    assert faults(name, {}) == [(code, "")]


@pytest.mark.parametrize(
    ("name", "expected"), [("segment.power-users.entered", True), ("segment.x.left", True), ("segment.x", False)]
)
def test_entering_and_leaving_a_segment_are_signals(name, expected):
    assert is_segment_signal(name) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


VALID = {
    "order_id": st.text(min_size=1),
    "total": st.floats(0, 1e6) | st.integers(0, 1000),
    "quantity": st.integers(0, 1000),
    "gift": st.booleans(),
    "paid_at": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    "tags": st.lists(st.text(), max_size=3),
}
ANY = dict.fromkeys((*VALID, "status", "x"), JSON)


@must_reach(accepted=5, rejected=5)
@given(
    st.fixed_dictionaries({}, optional=ANY) | st.fixed_dictionaries({**VALID, "x": JSON}),
    st.sets(st.sampled_from([*VALID])),
)
def test_an_event_is_rejected_with_faults_or_its_properties_have_their_types(properties, left_out):
    optional = left_out & {"gift", "paid_at", "tags"}
    properties = {name: value for name, value in properties.items() if name not in optional}
    checked = check_event(plan(), "order_completed", properties)
    reached("accepted" if isinstance(checked, ValidEvent) else "rejected")
    if isinstance(checked, ValidEvent):
        for name, item in plan().signals["order_completed"].properties.items():
            value = checked.properties.get(name)
            assert (coerce(value, item.type) is not None) == (value is not None)
    else:
        assert checked.faults


def test_twenty_thousand_events_are_checked_within_a_second():
    table = shipped_catalog.plan()
    check_event(table, "Order Completed", ORDER)
    began = time.perf_counter()
    for _ in range(20_000):
        check_event(table, "Order Completed", ORDER)
    assert time.perf_counter() - began < 1


# -- reading a plan ----------------------------------------------------------------------------------------------------


def test_the_shipped_plan_has_the_signals_of_the_shipped_journeys():
    assert {"order_completed", "signed_up", "contract_renewed", "ticket_resolved"} <= set(
        shipped_catalog.plan().signals
    )


def test_segments_event_for_leaving_an_account_maps_to_the_stores_signal():
    assert check_event(shipped_catalog.plan(), "Account Removed User", {}).signal == LEFT


def test_every_fault_of_a_plan_is_reported_at_its_line():
    text = (
        PLAN.replace("total: double", "total: money")
        .replace("source: desk", "source: dask")
        .replace("{plan: string", "{Plan: string")
    )
    problems = [(problem.code, problem.line) for problem in read_plan(text)[1].problems]
    assert problems == [("T111", 4), ("T110", 10)]
    problems = [
        (problem.code, problem.line) for problem in read_plan(PLAN.replace("source: desk", "source: dask"))[1].problems
    ]
    assert problems == [("T702", 12)]


def test_a_mapping_that_an_earlier_signal_always_takes_is_refused():
    text = PLAN.replace("{event: Purchase, where: {status: paid}, rename: {order_id: id}}", "Purchase")
    [problem] = read_plan(text)[1].problems
    assert (problem.code, problem.line) == ("T701", 11)


def test_conditions_read_a_timestamp_property_as_an_instant():
    checked = check_event(plan(), "order_completed", ORDER | {"paid_at": "2026-05-01T10:00:00Z"})
    assert isinstance(checked, ValidEvent)
    assert coerce(checked.properties["paid_at"], "timestamp") == datetime(2026, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("sources: {crm: It}\naccount:\n  plan: {type: string, source: crm, public: true}", "T703", 3),
        ("profile:\n  role: {type: string, public: true}", "T703", 2),
        ("sources: {provider: It}\nsignals:\n  delivered: {source: provider, public: true}", "T703", 3),
        ("sources: {crm: It}\nsignals:\n  survey_answered: {source: crm}", "T704", 3),
        ("sources: {crm: It}\nsignals:\n  message_replied: {source: crm}", "T704", 3),
        ("profile:\n  plan: string\n  tier: {type: string, from: plan}", "T705", 3),
        ("account:\n  a: {type: string, from: x}\n  b: {type: string, from: [y, x]}", "T705", 3),
        ("sources: {crm: It}\nsignals:\n  won: {source: crm, writers: [crm, shop]}", "T702", 3),
    ],
)
def test_marks_that_would_open_what_is_closed_are_reported(text, code, line):
    parsed, source = read_plan(text)
    assert parsed is None
    assert [(problem.code, problem.line) for problem in source.problems] == [(code, line)]
