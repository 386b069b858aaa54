"""A public signal or field decides no offer and no urgent task, at once or by timers."""

from __future__ import annotations

import pytest

from journeys.checks.checker import check_journey
from journeys.language.parsing import read_journey
from tests.support import shipped_catalog

OFFER = "{send: setup/checklist, priority: promotional}"
PUBLIC, OWN = "pricing_viewed", "setup_completed"
PLAIN = {"entry": "{on: signed_up}", "own": "{}", "here": "{on: {setup_completed: there}}", "there": f"{{do: {OFFER}}}"}


def decided(priority: str = "lifecycle", **parts: str) -> list[tuple[str, str]]:
    """Path and first word of each T534 of a journey with these parts."""
    given = PLAIN | parts
    text = (
        f"journey: example\nentry: {given['entry']}\nexit: [{{on: account_closed}}]\npriority: {priority}\n"
        f"topic: onboarding\nstart: here\n{given['own'][1:-1]}\n"
        f"states:\n  here: {given['here']}\n  there: {given['there']}\n  last: {given.get('last', '{final: done}')}\n"
    )
    journey, source = read_journey(text)
    assert journey is not None, source.problems
    problems = check_journey(journey, shipped_catalog.plan(), shipped_catalog.templates(), source=source)
    return [(problem.place, problem.what.partition(" ")[0]) for problem in problems if problem.code == "T534"]


def test_an_offer_that_only_servers_decide_is_no_problem():
    assert decided() == []
    assert decided(entry="{on: signed_up, when: profile.plan == 'team'}") == []


CASES = {
    "the entry": ({"entry": f"{{on: [signed_up, {PUBLIC}]}}", "here": f"{{do: {OFFER}}}"}, "entry.on[1]", PUBLIC),
    "the entry and timers": (
        {"entry": f"{{on: {PUBLIC}}}", "here": "{after: {P1D: there}}"}, "entry.on", PUBLIC,
    ),
    "the condition of the entry": (
        {"entry": "{on: signed_up, when: profile.campaign == 'x'}", "here": f"{{do: {OFFER}}}"}, "entry.when", "profile.campaign",
    ),
    "a transition into its state": ({"here": f"{{on: {{{PUBLIC}: there}}}}"}, "states.here.on.pricing_viewed", PUBLIC),
    "a transition and timers": (
        {"here": f"{{on: {{{PUBLIC}: last}}}}", "last": "{after: {P1D: there}}"}, "states.here.on.pricing_viewed", PUBLIC,
    ),
    "its own transition": (
        {"here": f"{{on: {{{PUBLIC}: {{do: {OFFER}}}}}}}", "there": "{final: done}"}, "states.here.on.pricing_viewed", PUBLIC,
    ),
    "the condition of a timer": (
        {"here": "{after: {P1D: {when: profile.campaign == 'x', to: there}}}"}, "states.here.after.P1D.when", "profile.campaign",
    ),
    "its own condition": (
        {"there": "{do: {send: setup/checklist, priority: promotional, when: known.profile.campaign}}"},
        "states.there.do.when", "profile.campaign",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_offer_that_a_public_input_decides_is_a_problem_at_the_input(name):
    parts, path, what = CASES[name]
    assert decided(**parts) == [(path, what)]


def test_a_signal_of_a_server_between_them_decides_instead():
    here, last = f"{{on: {{{PUBLIC}: last}}}}", f"{{on: {{{OWN}: there}}}}"
    assert decided(here=here, last=last) == []


def test_a_message_of_another_priority_and_a_task_without_urgency_may_follow():
    here = f"{{on: {{{PUBLIC}: there}}}}"
    assert decided(here=here, there="{do: {send: setup/checklist}}") == []
    assert decided(here=here, there="{do: {task: call, sla: P1D}}") == []


def test_an_urgent_task_is_protected_as_an_offer_is():
    here = f"{{on: {{{PUBLIC}: there}}}}"
    found = decided("urgent_support", here=here, there="{do: {task: call, sla: PT1H}}")
    assert found == [("states.here.on.pricing_viewed", PUBLIC)]
