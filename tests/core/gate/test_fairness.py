"""Fairness of caps and cooldowns: who is queued with a known end is not overtaken by a less pressing message.

Messages are ordered by priority, then by when they were asked for, then by key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from journeys.gate.policy import load_policy
from journeys.gate.verdicts import SendRequest
from journeys.language.actions import PRIORITIES
from tests.core.gate.queue_model import QueueModel, at_hour, ends_of, message

ONE_A_WEEK = {"caps": [{"name": "a-week", "channel": "email", "limit": 1, "window": "P7D"}]}
MORNINGS = {"send_windows": [{"name": "mornings", "priorities": ["lifecycle"], "start": "08:00", "end": "12:00"}]}


def test_C2_a_weekly_promotional_mail_does_not_starve_a_lifecycle_mail_until_it_expires() -> None:
    weekly = [message(f"offer-{week}", 168 * week + 7, "promotional") for week in range(4)]
    tip = message("tip", 30, expires_at=at_hour(30 + 14 * 24))
    ends = ends_of({**ONE_A_WEEK, **MORNINGS}, sorted([*weekly, tip], key=lambda request: request.at))
    assert ends["tip"] == ("sent", at_hour(168 + 8))


# -- the property ------------------------------------------------------------------------------------------------------

HOURS = (1, 5, 9, 15, 20, 30, 50, 100)


@st.composite
def rules(draw: st.DrawFn, *, together: bool = False) -> dict[str, Any]:
    """A policy of caps, cooldowns, quiet hours and a send window; `together` with consolidation."""

    def place() -> dict[str, Any]:
        return draw(st.sampled_from(({}, {"channel": "email"}, {"topic": "tips"})))

    policy: dict[str, Any] = {"caps": [], "cooldowns": []}
    for number in range(draw(st.integers(1, 2))):
        window = draw(
            st.sampled_from(({"window": "P1D"}, {"window": "P7D"}, {"calendar": "day"}, {"calendar": "week"}))
        )
        priorities = draw(st.sampled_from((("lifecycle", "promotional"), tuple(PRIORITIES), ("promotional",))))
        limit = draw(st.integers(1, 3))
        policy["caps"].append({"name": f"cap-{number}", "limit": limit, "priorities": priorities, **window, **place()})
    if draw(st.booleans()):
        between = draw(st.sampled_from(("PT6H", "PT20H", "P3D")))
        policy["cooldowns"].append({"name": "calm", "between": between, "replaces": draw(st.booleans()), **place()})
    if draw(st.booleans()):
        policy["quiet_hours"] = [{"name": "night", "channel": "email", "start": "20:00", "end": "08:00"}]
    if draw(st.booleans()):
        policy["send_windows"] = [{"name": "office", "topic": "news", "start": "09:00", "end": "12:00"}]
    if together:
        policy["consolidate"] = [
            {"name": "together", "channel": "email", "window": draw(st.sampled_from(("PT4H", "P1D")))}
        ]
    return policy


@st.composite
def asked_for(draw: st.DrawFn) -> list[SendRequest]:
    """Messages in the order in which they are asked for."""
    hour, requests = 0, []
    for number in range(draw(st.integers(2, 9))):
        hour += draw(st.sampled_from((0, *HOURS)))
        lasts = draw(st.sampled_from((None, *HOURS)))
        requests.append(
            message(
                f"m{number}",
                hour,
                draw(st.sampled_from(PRIORITIES[1:])),
                channels=(draw(st.sampled_from(("email", "email", "in_app"))),),
                topic=draw(st.sampled_from(("tips", "news"))),
                expires_at=at_hour(hour + lasts) if lasts is not None else None,
            )
        )
    return requests


def in_order(request: SendRequest) -> tuple[int, datetime, str]:
    return PRIORITIES.index(request.priority), request.at, request.key


def assert_fair(policy: dict[str, Any], requests: list[SendRequest], *, no_later: bool) -> None:
    """Compare each message with its end where no less pressing message goes after the last more pressing one.

    From then on no message that is asked for may take its place: it goes if it would have gone; `no_later` than it would
    have gone, too.
    """
    states = [QueueModel(load_policy(policy))]
    for request in requests:
        state = states[-1].without(())
        state.ask(request)
        states.append(state)
    states[-1].pass_time()
    ends = states[-1].ends
    for number, person in enumerate(requests):
        pressing = [n for n, other in enumerate(requests) if n > number and in_order(other) < in_order(person)]
        since = max((number, *pressing)) + 1
        less = {other.key for other in requests if in_order(other) > in_order(person)}
        alone = states[since].without(less)
        if person.key not in alone.queue:
            continue
        for later in requests[since:]:
            if later.key not in less:
                alone.ask(later)
        alone.pass_time()
        status, at = alone.ends[person.key]
        if status == "sent":
            assert ends[person.key][0] == "sent", (person.key, ends[person.key], alone.ends[person.key])
            assert not no_later or ends[person.key][1] <= at, (person.key, ends[person.key], alone.ends[person.key])


@given(rules(), asked_for())
def test_C2_a_queued_message_goes_when_it_would_go_without_less_pressing_ones(policy, requests) -> None:
    assert_fair(policy, requests, no_later=True)


@given(rules(together=True), asked_for())
def test_C4_a_message_that_waits_to_be_sent_together_does_not_expire_for_that(policy, requests) -> None:
    assert_fair(policy, requests, no_later=False)
