"""The shipped journeys, simulated for one person over months of plausible events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.checks.checker import publishable_definition
from journeys.decision.compiler import load_chart
from journeys.decision.decide import decide
from journeys.decision.occurrences import Entered, Signal, TimerDue
from journeys.decision.state import RunState
from journeys.gate.policy import Policy
from journeys.simulation.recording import RecordedEvent, RecordedKind
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
from tests.support import shipped_catalog

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def chart(name: str):
    return load_chart(publishable_definition(shipped_catalog.journey(name), shipped_catalog.plan()).artifact_text)


def timeline_of(name: str, events: list[tuple[float, str, dict[str, Any]]], days: float) -> list[tuple[float, str]]:
    """`(day, decision)` of one person; `identify` and `group` set fields."""
    kinds: dict[str, RecordedKind] = {"identify": "profile", "group": "account"}
    recorded = [
        RecordedEvent(BEGIN + timedelta(days=day), "ada", kinds.get(event, "signal"), event, data)
        for day, event, data in events
    ]
    scenario = Scenario((chart(name),), Policy(), frozenset({"email", "in_app"}))
    lines = simulate(scenario, recorded, BEGIN + timedelta(days=days))
    prefix = {"moved": "now in ", "acted": "", "finished": ""}
    return [
        (round((m.at - BEGIN) / timedelta(days=1), 2), m.why.partition(prefix[m.what])[2] if prefix[m.what] else m.why)
        for m in lines
        if m.what in prefix
    ]


def test_setup_help_ends_with_the_setup_and_education_with_activation():
    timeline = timeline_of(
        "setup-and-activation",
        [
            (0, "signed_up", {}),
            (0.5, "integration_failed", {"code": "403"}),
            (2, "setup_completed", {}),
            (6, "activated", {}),
        ],
        60,
    )
    assert timeline == [
        (0, "setting_up"),
        (0.5, "send setup/troubleshoot"),
        (1, "send setup/first-steps"),
        (2, "activating, from setting_up"),
        (2, "send education/first-value"),
        (5, "send education/by-use-case"),
        (6, "goal reached: activated"),
    ]


def test_a_fitting_account_that_is_stuck_gets_a_call_and_the_run_ends_if_it_declines():
    timeline = timeline_of(
        "setup-and-activation",
        [
            (0, "identify", {"account_fit": 0.9}),
            (0, "signed_up", {}),
            (7.5, "onboarding-call.closed", {"outcome": "not_interested"}),
        ],
        60,
    )
    assert timeline[-4:] == [
        (7, "task onboarding-call for customer-success"),
        (7.5, "task onboarding-call was closed"),
        (7.5, "lost, from needs_help"),
        (7.5, "lost is final: not_activated"),
    ]


def test_an_account_of_unknown_fit_gets_no_call():
    timeline = timeline_of("setup-and-activation", [(0, "signed_up", {})], 60)
    assert timeline[-1] == (30, "the goal's time has passed")
    assert all("onboarding-call" not in what for _, what in timeline)


def test_renewal_windows_open_at_180_120_and_90_days_and_move_with_the_date():
    ends = (BEGIN + timedelta(days=365)).isoformat()
    later = (BEGIN + timedelta(days=400)).isoformat()
    timeline = timeline_of(
        "renewal-readiness",
        [
            (0, "group", {"renewal_date": ends}),
            (0, "contract_started", {}),
            (190, "value_review_held", {}),
            (200, "group", {"renewal_date": later}),
            (290, "renewal-plan.closed", {"outcome": "agreed"}),
            (320, "contract_renewed", {}),
        ],
        330,
    )
    assert [item for item in timeline if "task" not in item[1] and "send" not in item[1]] == [
        (0, "serving"),
        (185, "proving_value, from serving"),
        (190, "serving, from proving_value"),
        (220, "proving_value, from serving"),
        (280, "planning, from proving_value"),
        (290, "serving, from planning"),
        (310, "securing, from serving"),
        (320, "serving, from securing"),
    ]


def test_a_run_that_starts_late_enters_the_last_renewal_window_at_once():
    ends = (BEGIN + timedelta(days=30)).isoformat()
    timeline = timeline_of("renewal-readiness", [(0, "group", {"renewal_date": ends}), (0, "contract_started", {})], 10)
    assert [what for _, what in timeline if "from" in what] == ["securing, from serving"]


def test_an_overdue_renewal_call_is_escalated():
    ends = (BEGIN + timedelta(days=120)).isoformat()
    timeline = timeline_of("renewal-readiness", [(0, "group", {"renewal_date": ends}), (0, "contract_started", {})], 40)
    assert (35, "task renewal-call is overdue: escalated to sales-lead") not in timeline
    assert (40, "task renewal-call is overdue: escalated to sales-lead") in timeline


def test_an_urgent_ticket_is_followed_until_it_has_stayed_resolved_for_a_week():
    urgent = {"ticket_id": "7", "priority": "urgent", "subject": "All is down"}
    timeline = timeline_of(
        "urgent-support",
        [
            (0, "ticket_opened", urgent),
            (0.1, "ticket_resolved", {"ticket_id": "8"}),
            (0.125, "ticket_resolved", {"ticket_id": "7"}),
            (2, "ticket_reopened", {"ticket_id": "7", "priority": "urgent"}),
            (2.1, "ticket_resolved", {"ticket_id": "7"}),
        ],
        30,
    )
    assert timeline == [
        (0, "open"),
        (0, "send support/we-are-on-it"),
        (0, "task urgent-ticket for support-team"),
        (0.12, "settling, from open"),
        (1.12, "send support/follow-up"),
        (2, "open, from settling"),
        (2, "send support/we-are-on-it"),
        (2, "task urgent-ticket for support-team"),
        (2.1, "settling, from open"),
        (3.1, "send support/follow-up"),
        (9.1, "settled, from settling"),
        (9.1, "settled is final: resolved"),
    ]


def test_a_ticket_of_low_priority_starts_no_run():
    assert timeline_of("urgent-support", [(0, "ticket_opened", {"ticket_id": "7", "priority": "low"})], 30) == []


def test_replenishment_follows_the_customers_own_rhythm():
    timeline = timeline_of(
        "win-back-and-replenishment", [(0, "identify", {"rhythm_days": 20.0}), (0, "order_completed", {})], 70
    )
    assert timeline == [
        (0, "buying"),
        (20, "send shop/time-to-restock"),
        (61, "silent, from buying"),
        (61, "send shop/win-back"),
    ]


def test_a_rhythm_that_is_known_a_second_after_the_order_counts_from_the_order_and_follows_its_changes():
    second = 1 / 86_400
    known = [(0, "order_completed", {}), (second, "identify", {"rhythm_days": 20.0})]
    assert (20, "send shop/time-to-restock") in timeline_of("win-back-and-replenishment", known, 40)
    changed = [*known, (10, "identify", {"rhythm_days": 30.0})]
    assert [item for item in timeline_of("win-back-and-replenishment", changed, 40) if "restock" in item[1]] == [
        (30, "send shop/time-to-restock")
    ]


@pytest.mark.parametrize(("value", "offered"), [(500.0, True), (50.0, False), (None, False)])
def test_the_offer_is_sent_only_to_customers_of_high_lifetime_value(value, offered):
    fields = {} if value is None else {"lifetime_value": value}
    timeline = timeline_of("win-back-and-replenishment", [(0, "identify", fields), (0, "order_completed", {})], 200)
    assert ((91, "send shop/come-back-offer") in timeline) is offered


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(0, 300))
@settings(max_examples=200)
def test_a_silence_of_more_than_sixty_days_is_noticed_once_and_ends_with_the_next_order(gaps, rest):
    """Compared with an independent count; the demo compares the same over 69,659 real orders."""
    order_days = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    journey, state, log = chart("win-back-and-replenishment"), RunState(), []
    for n, day in enumerate(order_days):
        at = BEGIN + timedelta(days=day)
        decision = decide(journey, state, (Signal if n else Entered)(at, "order_completed"))
        state, log = decision.state, [*log, *decision.log]
    log += decide(journey, state, TimerDue(BEGIN + timedelta(days=order_days[-1] + rest))).log
    moved = [line for line in log if line.kind == "moved"]
    returned = sum(later - earlier > 60 for earlier, later in pairwise(order_days))
    assert sum(line.about == "silent" for line in moved) == returned + (rest > 60)
    assert sum("from silent" in line.text for line in moved) == returned
