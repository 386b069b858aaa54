"""What the shipped journeys do to a person, told by the simulator over real-looking months."""

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


def lived(name: str, events: list[tuple[float, str, dict[str, Any]]], days: float) -> list[tuple[float, str]]:
    """`(day, what was decided)` of one person; `identify` and `group` set fields."""
    kinds: dict[str, RecordedKind] = {"identify": "profile", "group": "account"}
    happened = [
        RecordedEvent(BEGIN + timedelta(days=day), "ada", kinds.get(event, "signal"), event, data)
        for day, event, data in events
    ]
    world = Scenario((chart(name),), Policy(), frozenset({"email", "in_app"}))
    told = simulate(world, happened, BEGIN + timedelta(days=days))
    words = {"moved": "now in ", "acted": "", "finished": ""}
    return [
        (round((m.at - BEGIN) / timedelta(days=1), 2), m.why.partition(words[m.what])[2] if words[m.what] else m.why)
        for m in told
        if m.what in words
    ]


def test_setup_help_ends_with_the_setup_and_education_with_activation():
    story = lived(
        "setup-and-activation",
        [
            (0, "signed_up", {}),
            (0.5, "integration_failed", {"code": "403"}),
            (2, "setup_completed", {}),
            (6, "activated", {}),
        ],
        60,
    )
    assert story == [
        (0, "setting_up"),
        (0.5, "send setup/troubleshoot"),
        (1, "send setup/first-steps"),
        (2, "activating, from setting_up"),
        (2, "send education/first-value"),
        (5, "send education/by-use-case"),
        (6, "goal reached: activated"),
    ]


def test_who_fits_and_does_not_get_on_is_called_and_who_declines_is_left_alone():
    story = lived(
        "setup-and-activation",
        [
            (0, "identify", {"account_fit": 0.9}),
            (0, "signed_up", {}),
            (7.5, "onboarding-call.closed", {"outcome": "not_interested"}),
        ],
        60,
    )
    assert story[-4:] == [
        (7, "task onboarding-call for customer-success"),
        (7.5, "task onboarding-call was closed"),
        (7.5, "lost, from needs_help"),
        (7.5, "lost is final: not_activated"),
    ]


def test_nobody_whose_fit_is_unknown_is_called():
    story = lived("setup-and-activation", [(0, "signed_up", {})], 60)
    assert story[-1] == (30, "the goal's time has passed")
    assert all("onboarding-call" not in what for _, what in story)


def test_renewal_windows_open_at_180_120_and_90_days_and_move_with_the_date():
    ends = (BEGIN + timedelta(days=365)).isoformat()
    later = (BEGIN + timedelta(days=400)).isoformat()
    story = lived(
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
    assert [item for item in story if "task" not in item[1] and "send" not in item[1]] == [
        (0, "serving"),
        (185, "proving_value, from serving"),
        (190, "serving, from proving_value"),
        (220, "proving_value, from serving"),
        (280, "planning, from proving_value"),
        (290, "serving, from planning"),
        (310, "securing, from serving"),
        (320, "serving, from securing"),
    ]


def test_who_comes_late_to_renewal_misses_no_last_window():
    ends = (BEGIN + timedelta(days=30)).isoformat()
    story = lived("renewal-readiness", [(0, "group", {"renewal_date": ends}), (0, "contract_started", {})], 10)
    assert [what for _, what in story if "from" in what] == ["securing, from serving"]


def test_a_task_that_is_left_is_escalated():
    ends = (BEGIN + timedelta(days=120)).isoformat()
    story = lived("renewal-readiness", [(0, "group", {"renewal_date": ends}), (0, "contract_started", {})], 40)
    assert (35, "task renewal-call is overdue: escalated to sales-lead") not in story
    assert (40, "task renewal-call is overdue: escalated to sales-lead") in story


def test_an_urgent_ticket_is_followed_until_its_solution_has_held():
    urgent = {"ticket_id": "7", "priority": "urgent", "subject": "All is down"}
    story = lived(
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
    assert story == [
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


def test_a_ticket_that_is_not_urgent_opens_nothing():
    assert lived("urgent-support", [(0, "ticket_opened", {"ticket_id": "7", "priority": "low"})], 30) == []


def test_replenishment_follows_the_customers_own_rhythm():
    story = lived(
        "win-back-and-replenishment", [(0, "identify", {"rhythm_days": 20.0}), (0, "order_completed", {})], 70
    )
    assert story == [
        (0, "buying"),
        (20, "send shop/time-to-restock"),
        (61, "silent, from buying"),
        (61, "send shop/win-back"),
    ]


@pytest.mark.parametrize(("value", "offered"), [(500.0, True), (50.0, False), (None, False)])
def test_help_comes_before_an_offer_and_the_offer_to_good_customers_only(value, offered):
    known = {} if value is None else {"lifetime_value": value}
    story = lived("win-back-and-replenishment", [(0, "identify", known), (0, "order_completed", {})], 200)
    assert ((91, "send shop/come-back-offer") in story) is offered


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(0, 300))
@settings(max_examples=200)
def test_each_silence_of_more_than_sixty_days_is_noticed_once_and_ended_by_the_next_order(gaps, rest):
    """Counted over 69,659 real orders by the demo; here against an independent count over any purchases."""
    bought = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    runs, state, seen = chart("win-back-and-replenishment"), RunState(), []
    for n, day in enumerate(bought):
        at = BEGIN + timedelta(days=day)
        decision = decide(runs, state, (Signal if n else Entered)(at, "order_completed"))
        state, seen = decision.state, [*seen, *decision.log]
    seen += decide(runs, state, TimerDue(BEGIN + timedelta(days=bought[-1] + rest))).log
    moved = [line for line in seen if line.kind == "moved"]
    returned = sum(later - earlier > 60 for earlier, later in pairwise(bought))
    assert sum(line.about == "silent" for line in moved) == returned + (rest > 60)
    assert sum("from silent" in line.text for line in moved) == returned
