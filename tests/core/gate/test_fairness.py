"""Fairness of caps and cooldowns: who is queued with a known end is not overtaken by a less pressing message.

Messages are ordered by priority, then by when they were asked for, then by key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.gate.judge import judge
from journeys.gate.policy import load_policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.session import GateSession
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Verdict,
)
from journeys.language.actions import PRIORITIES
from tests.core.gate.queue_model import PERSON, QueueModel, at_hour, ends_of, message

ONE_A_WEEK = {"caps": [{"name": "a-week", "channel": "email", "limit": 1, "window": "P7D"}]}
MORNINGS = {"send_windows": [{"name": "mornings", "priorities": ["lifecycle"], "start": "08:00", "end": "12:00"}]}


def test_C2_a_weekly_promotional_mail_does_not_starve_a_lifecycle_mail_until_it_expires() -> None:
    weekly = [message(f"offer-{week}", 168 * week + 7, "promotional") for week in range(4)]
    tip = message("tip", 30, expires_at=at_hour(30 + 14 * 24))
    ends = ends_of({**ONE_A_WEEK, **MORNINGS}, sorted([*weekly, tip], key=lambda request: request.at))
    assert ends["tip"] == ("sent", at_hour(168 + 8))


NOW = at_hour(24)
IN_A_DAY = at_hour(48)


def waiting(key: str = "tip", due: datetime = IN_A_DAY, priority: str = "lifecycle", **more: Any) -> QueuedMessage:
    values = {"channels": ("email",), "topic": "tips", "priority": priority, "action": key, "journey": "j"}
    return QueuedMessage(key=key, due=due, **{"at": at_hour(20), **values, **more})


def verdict_on(request: SendRequest, *queue: QueuedMessage, rules: dict[str, Any] = ONE_A_WEEK, **more: Any) -> Verdict:
    return judge(load_policy(rules), request, replace(PERSON, queue=queue, **more), NOW)


OFFER = message("offer", 24, "promotional")


def test_C2_a_message_behind_another_waits_until_that_one_is_due_and_says_so() -> None:
    reason = Reason("behind", "tip is ahead of it under cap a-week, due 2026-05-06 00:00 UTC", "a-week")
    assert verdict_on(OFFER, waiting()) == DeferUntil(IN_A_DAY, (reason,))


def test_C2_a_message_waits_for_the_first_of_those_ahead_and_for_hours_after_that() -> None:
    rules = {**ONE_A_WEEK, "quiet_hours": [{"name": "night", "start": "22:00", "end": "07:00"}]}
    awake = replace(OFFER, at=at_hour(30))
    queue = (waiting("late", at_hour(60)), waiting("early", at_hour(48)))
    verdict = judge(load_policy(rules), awake, replace(PERSON, queue=queue), at_hour(32))
    assert isinstance(verdict, DeferUntil)
    assert (verdict.until, [reason.code for reason in verdict.reasons]) == (at_hour(55), ["behind", "quiet_hours"])


@pytest.mark.parametrize(
    "rules", [ONE_A_WEEK, {"cooldowns": [{"name": "calm", "between": "P2D"}]}], ids=["cap", "cooldown"]
)
def test_C2_the_queue_may_be_read_in_any_order(rules: dict[str, Any]) -> None:
    queue = [waiting(name, IN_A_DAY, number=number) for number, name in enumerate(("one", "two", "three"))]
    verdicts = [verdict_on(OFFER, *given, rules=rules) for given in permutations(queue)]
    assert verdicts == [verdicts[0]] * len(verdicts)
    assert verdicts[0].reasons[0].text.startswith("one is ahead of it")


def test_C2_a_message_that_would_expire_behind_another_is_kept_for_that_one_may_be_withdrawn() -> None:
    short = replace(OFFER, expires_at=at_hour(30))
    verdict = verdict_on(short, waiting())
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == at_hour(30)


@pytest.mark.parametrize(
    ("queue", "rules"),
    [
        pytest.param((waiting(has_known_end=False),), ONE_A_WEEK, id="who waits for a person or a provider"),
        pytest.param((waiting(expires_at=at_hour(40)),), ONE_A_WEEK, id="who expires before it is due"),
        pytest.param((waiting(priority="promotional", at=at_hour(25)),), ONE_A_WEEK, id="who was asked for later"),
        pytest.param(
            (waiting(channels=("in_app",)),), ONE_A_WEEK, id="who goes by a channel that the cap does not cover"
        ),
        pytest.param((waiting(channels=("sms",)),), ONE_A_WEEK, id="who has no channel"),
        pytest.param((waiting(due=at_hour(24 + 169)),), ONE_A_WEEK, id="who is due when the place is free again"),
        pytest.param((waiting(),), {"caps": [{**ONE_A_WEEK["caps"][0], "limit": 2}]}, id="who has a place beside it"),
        pytest.param((), ONE_A_WEEK, id="nobody"),
    ],
)
def test_C2_a_message_does_not_wait_behind(queue: tuple[QueuedMessage, ...], rules: dict[str, Any]) -> None:
    assert verdict_on(OFFER, *queue, rules=rules) == SendNow("email")


def test_C2_places_that_are_free_again_when_those_ahead_are_due_count_for_them() -> None:
    two = {"caps": [{**ONE_A_WEEK["caps"][0], "limit": 2}]}
    for ago, expected in ((145, SendNow), (143, DeferUntil)):
        sent = SentMessage(at_hour(24 - ago), "email", "tips", "lifecycle", key="old")
        assert isinstance(verdict_on(OFFER, waiting(), rules=two, sent=(sent,)), expected)


def test_C2_a_cooldown_is_a_place_for_one() -> None:
    calm = {"cooldowns": [{"name": "calm", "between": "P2D"}]}
    verdict = verdict_on(OFFER, waiting(), rules=calm)
    assert [reason.text for reason in verdict.reasons] == [
        "tip is ahead of it under cooldown calm, due 2026-05-06 00:00 UTC"
    ]
    assert verdict_on(replace(OFFER, priority="transactional"), waiting(), rules=calm) == SendNow("email")


def test_C2_a_message_that_may_have_arrived_has_its_place_already() -> None:
    assert verdict_on(replace(OFFER, tried_by="email", alone=True), waiting()) == SendNow("email")


def test_C4_messages_that_would_become_one_do_not_wait_behind_each_other_except_under_a_rule_of_their_topic() -> None:
    together = {"consolidate": [{"name": "one", "channel": "email", "window": "P2D"}]}
    tip = message("second", 24)
    assert [reason.code for reason in verdict_on(tip, waiting(), rules={**ONE_A_WEEK, **together}).reasons] == [
        "consolidating"
    ]
    of_topic = {"caps": [{"name": "tips", "topic": "tips", "limit": 1, "window": "P7D"}], **together}
    assert [reason.code for reason in verdict_on(tip, waiting(), rules=of_topic).reasons] == ["behind"]


def test_C4_a_message_joins_a_digest_although_another_is_ahead_under_a_general_cap() -> None:
    together = {"consolidate": [{"name": "one", "channel": "email", "priorities": ["promotional"], "window": "PT4H"}]}
    head = SentMessage(NOW, "email", "tips", "promotional", "head", key="head")
    going = {"sent": (head,), "heads": frozenset({"head"})}
    assert isinstance(verdict_on(OFFER, waiting(), rules={**ONE_A_WEEK, **together}, **going), MergeInto)
    of_topic = {"caps": [{"name": "tips", "topic": "tips", "limit": 2, "window": "P7D"}], **together}
    assert isinstance(verdict_on(OFFER, waiting(), rules=of_topic, **going), DeferUntil)


def test_C4_a_message_is_not_kept_for_others_until_its_hours_are_over() -> None:
    rules = {
        "consolidate": [{"name": "one", "channel": "email", "window": "P1D"}],
        "quiet_hours": [{"name": "night", "topic": "news", "start": "06:00", "end": "23:00"}],
    }
    news = message("news", 24, topic="news")
    assert verdict_on(news, waiting(due=at_hour(34)), rules=rules) == SendNow("email")
    assert isinstance(verdict_on(news, waiting(due=at_hour(29)), rules=rules), DeferUntil)


def test_C6_a_message_is_replaced_only_by_one_that_goes_no_later() -> None:
    calm = {"cooldowns": [{"name": "calm", "between": "P1D"}]}
    just_sent = {"sent": (SentMessage(at_hour(23), "email", "tips", "lifecycle", key="old"),)}
    first = waiting(due=at_hour(47), rules=frozenset({"calm"}))
    assert isinstance(verdict_on(OFFER, first, rules=calm, **just_sent), Replace)
    for later in (replace(first, due=at_hour(60)), replace(first, has_known_end=False), replace(first, expires_at=NOW)):
        assert isinstance(verdict_on(OFFER, later, rules=calm, **just_sent), DeferUntil)


def test_C6_a_message_that_waits_longer_or_for_a_person_replaces_none() -> None:
    calm = load_policy({
        "cooldowns": [{"name": "calm", "between": "P1D"}],
        "send_windows": [{"name": "noon", "topic": "news", "start": "12:00", "end": "13:00"}],
    })  # fmt: skip
    sent = (SentMessage(at_hour(23), "email", "tips", "lifecycle", key="old"),)
    offer = waiting("offer", at_hour(47), "promotional", rules=frozenset({"calm"}))
    person = replace(PERSON, sent=sent, queue=(offer,))

    def gave_way(request: SendRequest, person: RecipientContext) -> list[str]:
        (decision,) = GateSession(calm, person, NOW).decide([request], lambda _request, _channel: None).decisions
        return [gone.key for gone in decision.gave_way]

    assert gave_way(message("tip", 24), person) == ["offer"]
    assert gave_way(message("tip", 24, topic="news"), person) == [], "it goes at noon, the offer at eleven at night"
    assert gave_way(message("tip", 24), replace(person, urgent_open=True)) == []


def test_C6_a_pass_decides_by_priority_then_by_when_it_was_asked_for() -> None:
    requests = [message("offer", 20, "promotional"), message("young", 22), message("old", 21)]
    plan = GateSession(load_policy(ONE_A_WEEK), PERSON, NOW).decide(requests, lambda _request, _channel: None)
    assert [decision.request.key for decision in plan.decisions] == ["old", "young", "offer"]


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
