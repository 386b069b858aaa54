"""`judge`: the gate's verdict, rule by rule; ids are those of the handbook."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from journeys.gate.consent import has_opted_out
from journeys.gate.judge import judge
from journeys.gate.policy import Policy, horizon, load_policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.tickets import TicketTimes
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Verdict,
    Withhold,
)
from tests.support.run_script import chart

NOW = datetime(2024, 5, 15, 12, tzinfo=UTC)
REQUEST = SendRequest(("email", "in_app"), "onboarding", "lifecycle", NOW)
ALL = RecipientContext({"email": True, "in_app": True})


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def sent(*ago: float, **more: Any) -> tuple[SentMessage, ...]:
    known = {"channel": "email", "topic": "onboarding", "priority": "lifecycle", **more}
    return tuple(SentMessage(NOW - hours(hours_ago), **known) for hours_ago in ago)


def policy(**rules: Any) -> Policy:
    return load_policy(rules)


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def test_an_empty_policy_sends_by_the_first_channel() -> None:
    assert judge(policy(), REQUEST, ALL, NOW) == SendNow("email")


# -- relevance ---------------------------------------------------------------------------------------------------------


def test_H7_a_message_whose_state_was_left_is_withheld() -> None:
    verdict = judge(policy(), replace(REQUEST, holds=False, holds_why="set-up was completed on 3 May"), ALL, NOW)
    assert isinstance(verdict, Withhold)
    assert codes(verdict) == ["state_left"]
    assert verdict.reasons[0].text == "set-up was completed on 3 May"


def test_a_message_of_a_final_state_is_sent() -> None:
    assert judge(policy(), replace(REQUEST, holds=False, stands=True), ALL, NOW) == SendNow("email")


@pytest.mark.parametrize(("hour", "expected"), [(-1, Withhold), (0, Withhold), (1, SendNow)])
def test_a_message_is_withheld_from_its_expiry_on(hour: float, expected: type) -> None:
    assert isinstance(judge(policy(), replace(REQUEST, expires_at=NOW + hours(hour)), ALL, NOW), expected)


def test_the_policys_expiry_applies_to_a_message_without_its_own() -> None:
    rules, old = policy(expires_after="P2D"), replace(REQUEST, at=NOW - hours(48))
    assert codes(judge(rules, old, ALL, NOW)) == ["expired"]
    assert isinstance(judge(rules, replace(old, expires_at=NOW + hours(1)), ALL, NOW), SendNow)


@pytest.mark.parametrize(
    ("priority", "expected"),
    [("promotional", Withhold), ("lifecycle", Withhold), ("transactional", SendNow), ("urgent_support", SendNow)],
)
def test_H8_missing_fields_withhold_a_campaign_but_no_transactional_message(priority: str, expected: type) -> None:
    verdict = judge(policy(), replace(REQUEST, missing=("profile.plan",), priority=priority), ALL, NOW)
    assert isinstance(verdict, expected)
    assert all("profile.plan" in reason.text for reason in verdict.reasons)


# -- addresses and consent ---------------------------------------------------------------------------------------------


def test_the_first_channel_with_an_address_is_used_and_skipped_ones_are_named() -> None:
    verdict = judge(policy(), REQUEST, RecipientContext({"in_app": True}), NOW)
    assert isinstance(verdict, SendNow)
    assert (verdict.channel, codes(verdict)) == ("in_app", ["no_address"])


def test_a_message_without_a_usable_channel_is_withheld_with_each_channels_reason() -> None:
    verdict = judge(policy(), REQUEST, RecipientContext({"email": True}, {("email", "onboarding"): False}), NOW)
    assert isinstance(verdict, Withhold)
    assert codes(verdict) == ["consent_withdrawn", "no_address"]


@pytest.mark.parametrize("place", [("email", "onboarding"), ("*", "onboarding"), ("email", "*"), ("*", "*")])
def test_C5_an_opt_out_at_any_level_takes_precedence_over_consent(place: tuple[str, str]) -> None:
    consents = {("email", "onboarding"): True, ("*", "*"): True, place: False}
    verdict = judge(policy(), replace(REQUEST, channels=("email",)), replace(ALL, consents=consents), NOW)
    assert codes(verdict) == ["consent_withdrawn"]


@pytest.mark.parametrize("place", [("in_app", "onboarding"), ("email", "offers"), ("*", "offers"), ("in_app", "*")])
def test_C5_an_opt_out_of_another_channel_or_topic_has_no_effect(place: tuple[str, str]) -> None:
    assert judge(policy(), REQUEST, replace(ALL, consents={place: False}), NOW) == SendNow("email")


@pytest.mark.parametrize("priority", ["transactional", "urgent_support"])
def test_a_general_opt_out_exempts_transactional_messages_but_one_of_their_topic_does_not(priority: str) -> None:
    request = replace(REQUEST, priority=priority, channels=("email",))
    for place in (("email", "*"), ("*", "*")):
        assert isinstance(judge(policy(), request, replace(ALL, consents={place: False}), NOW), SendNow)
    assert isinstance(judge(policy(), request, replace(ALL, consents={("email", "onboarding"): False}), NOW), Withhold)


DEFAULTS = {
    "consent": [
        {"default": "granted"},
        {"topic": "offers", "default": "required"},
        {"channel": "email", "default": "granted"},
    ]
}


def test_C5_a_message_that_requires_consent_is_withheld_without_it() -> None:
    request = replace(REQUEST, topic="offers", channels=("email",))
    assert codes(judge(load_policy(DEFAULTS), request, ALL, NOW)) == ["consent_required"]
    assert isinstance(judge(load_policy(DEFAULTS), REQUEST, ALL, NOW), SendNow)
    for place in (("email", "offers"), ("*", "offers"), ("email", "*")):
        assert isinstance(judge(load_policy(DEFAULTS), request, replace(ALL, consents={place: True}), NOW), SendNow)


def test_a_default_may_exempt_a_priority() -> None:
    rules = policy(consent=[{"channel": "email", "default": "required", "exempt": ["transactional"]}])
    request = replace(REQUEST, channels=("email",))
    assert isinstance(judge(rules, request, ALL, NOW), Withhold)
    assert isinstance(judge(rules, replace(request, priority="transactional"), ALL, NOW), SendNow)


def test_C5_an_opt_out_ends_a_journey_only_when_no_channel_of_its_topic_remains() -> None:
    both = chart("states: {a: {do: [{send: x, via: [email]}, {send: y, via: [in_app]}]}}")
    assert not has_opted_out(policy(), both, {("email", "t"): False})
    assert has_opted_out(policy(), both, {("email", "t"): False, ("in_app", "t"): False})
    assert has_opted_out(policy(), both, {("*", "*"): False})
    assert not has_opted_out(policy(), chart("states: {a: {do: {task: call}}}"), {("*", "*"): False})
    assert not has_opted_out(load_policy({"consent": [{"default": "required"}]}), both, {})


def test_C5_messages_of_another_topic_neither_keep_a_run_open_nor_end_it() -> None:
    mixed = chart("states: {a: {do: [{send: x, via: [email, in_app]}, {send: y, topic: bills}]}}")
    assert has_opted_out(policy(), mixed, {("*", "t"): False})
    assert not has_opted_out(policy(), mixed, {("*", "bills"): False})
    assert not has_opted_out(policy(), mixed, {("email", "t"): False})


def test_C5_a_transactional_message_of_the_journeys_topic_keeps_its_run_open() -> None:
    transactional = chart("states: {a: {do: [{send: x}, {send: receipt, priority: transactional}]}}")
    assert not has_opted_out(policy(), transactional, {("*", "*"): False})
    assert has_opted_out(policy(), transactional, {("*", "t"): False})


def test_C5_a_journey_without_messages_of_its_topic_is_judged_by_its_messages_topics() -> None:
    others = chart("states: {a: {do: [{send: x, topic: news}, {send: y, topic: bills}]}}")
    assert not has_opted_out(policy(), others, {("*", "news"): False})
    assert has_opted_out(policy(), others, {("*", "news"): False, ("*", "bills"): False})


# -- caps, cooldowns and urgent tickets --------------------------------------------------------------------------------

CAP = {"caps": [{"name": "three", "channel": "email", "limit": 3, "window": "P7D"}]}


def test_C2_a_cap_defers_until_a_message_leaves_its_window() -> None:
    verdict = judge(load_policy(CAP), REQUEST, replace(ALL, sent=sent(100, 20, 50)), NOW)
    assert isinstance(verdict, DeferUntil)
    assert (verdict.until, codes(verdict)) == (NOW + hours(168 - 100), ["cap_reached"])
    assert "3 of 3" in verdict.reasons[0].text


def test_C2_an_exceeded_cap_defers_until_enough_messages_have_left_its_window() -> None:
    verdict = judge(load_policy(CAP), REQUEST, replace(ALL, sent=sent(100, 90, 80, 70, 60)), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == NOW + hours(168 - 80)


ONE_IN_APP = [{"name": "one", "channel": "in_app", "limit": 1, "window": "P1D"}]
TOGETHER = [{"name": "one-message", "channel": "in_app", "window": "PT4H", "template": "digest/together"}]
MINDFUL = [{"name": "calm", "channel": "in_app", "between": "P1D"}]


@pytest.mark.parametrize(
    ("rules", "send_request", "known", "expected", "first"),
    [
        ({}, REQUEST, {}, SendNow, "no_address"),
        ({"caps": ONE_IN_APP}, REQUEST, {"sent": sent(1, channel="in_app")}, DeferUntil, "cap_reached"),
        (
            {"caps": ONE_IN_APP},
            replace(REQUEST, expires_at=NOW + hours(2)),
            {"sent": sent(1, channel="in_app")},
            Withhold,
            "cap_reached",
        ),
        (
            {"cooldowns": MINDFUL},
            replace(REQUEST, priority="promotional"),
            {
                "sent": sent(1, channel="in_app"),
                "queue": (QueuedMessage("k", NOW, NOW, ("in_app",), "x", "lifecycle", rules=frozenset({"calm"})),),
            },
            Replace,
            "cooldown",
        ),
        (
            {"consolidate": TOGETHER},
            REQUEST,
            {
                "queue": (
                    QueuedMessage("k", NOW + hours(1), NOW, ("in_app",), "x", "lifecycle", rules=frozenset({"night"})),
                )
            },
            DeferUntil,
            "consolidating",
        ),
        (
            {"consolidate": TOGETHER},
            REQUEST,
            {"sent": sent(0, channel="in_app", key="k"), "heads": frozenset({"k"})},
            MergeInto,
            "no_address",
        ),
    ],
)
def test_every_verdict_begins_with_its_own_reason_and_names_the_skipped_channel(
    rules: dict[str, Any], send_request: SendRequest, known: dict[str, Any], expected: type, first: str
) -> None:
    verdict = judge(policy(**rules), send_request, RecipientContext({"in_app": True}, **known), NOW)
    assert isinstance(verdict, expected), verdict
    assert codes(verdict)[0] == first
    assert codes(verdict).count("no_address") == 1
    assert "the person has no address for email" in [reason.text for reason in verdict.reasons]


@pytest.mark.parametrize(("ago", "expected"), [(168, SendNow), (167.9, DeferUntil)])
def test_C2_a_message_leaves_the_window_exactly_at_its_length(ago: float, expected: type) -> None:
    assert isinstance(judge(load_policy(CAP), REQUEST, replace(ALL, sent=sent(ago, 20, 50)), NOW), expected)


def test_C2_a_cap_withholds_a_message_that_expires_before_the_window_allows_it() -> None:
    recipient = replace(ALL, sent=sent(100, 20, 50))
    late = judge(load_policy(CAP), replace(REQUEST, expires_at=NOW + hours(68)), recipient, NOW)
    assert isinstance(late, Withhold)
    assert codes(late) == ["cap_reached", "expires_first"]
    assert isinstance(judge(load_policy(CAP), replace(REQUEST, expires_at=NOW + hours(69)), recipient, NOW), DeferUntil)


@pytest.mark.parametrize(
    "other", [{"channel": "in_app"}, {"priority": "transactional"}], ids=["another channel", "a receipt"]
)
def test_C2_a_cap_does_not_count_other_channels_or_transactional_messages(other: dict[str, str]) -> None:
    recipient = replace(ALL, sent=sent(100, 20) + sent(50, **other))
    assert isinstance(judge(load_policy(CAP), REQUEST, recipient, NOW), SendNow)


def test_C2_a_cap_counts_all_topics_and_channels_unless_it_names_one() -> None:
    rules = policy(caps=[{"name": "all", "limit": 2, "window": "P1D"}])
    recipient = replace(ALL, sent=sent(1, topic="offers") + sent(2, channel="in_app"))
    assert isinstance(judge(rules, REQUEST, recipient, NOW), DeferUntil)
    topical = policy(caps=[{"name": "topic", "topic": "offers", "limit": 1, "window": "P1D"}])
    assert isinstance(judge(topical, REQUEST, recipient, NOW), SendNow)
    assert isinstance(judge(topical, replace(REQUEST, topic="offers"), recipient, NOW), DeferUntil)


@pytest.mark.parametrize("priority", ["transactional", "urgent_support"])
def test_C6_transactional_and_urgent_messages_are_exempt_from_caps_and_cooldowns(priority: str) -> None:
    rules = load_policy({**CAP, "cooldowns": [{"name": "c", "between": "P9D"}]})
    recipient = replace(ALL, sent=sent(1, 2, 3, 4), urgent_open=True)
    assert isinstance(judge(rules, replace(REQUEST, priority=priority), recipient, NOW), SendNow)


def test_a_cap_of_zero_withholds() -> None:
    verdict = judge(policy(caps=[{"name": "off", "limit": 0, "window": "P1D"}]), REQUEST, ALL, NOW)
    assert isinstance(verdict, Withhold)
    assert codes(verdict) == ["cap_reached", "expires_first"]


COOL = {"cooldowns": [{"name": "calm", "channel": "email", "between": "PT20H"}]}


@pytest.mark.parametrize(("ago", "until"), [(19, 1), (5, 15), (20, None), (30, None)])
def test_C2_a_cooldown_defers_until_its_end(ago: float, until: float | None) -> None:
    verdict = judge(load_policy(COOL), REQUEST, replace(ALL, sent=sent(ago, 40)), NOW)
    if until is None:
        assert isinstance(verdict, SendNow)
    else:
        assert isinstance(verdict, DeferUntil)
        assert (verdict.until, codes(verdict)) == (NOW + hours(until), ["cooldown"])


def test_C2_an_exempt_message_starts_no_cooldown() -> None:
    assert isinstance(
        judge(load_policy(COOL), REQUEST, replace(ALL, sent=sent(1, priority="transactional")), NOW), SendNow
    )


def test_several_deferrals_last_until_the_latest_and_all_are_named() -> None:
    verdict = judge(load_policy({**CAP, **COOL}), REQUEST, replace(ALL, sent=sent(100, 50, 5)), NOW)
    assert isinstance(verdict, DeferUntil)
    assert (verdict.until, codes(verdict)) == (NOW + hours(68), ["cooldown", "cap_reached"])


@pytest.mark.parametrize("priority", ["promotional", "lifecycle"])
def test_C6_an_open_urgent_ticket_defers_campaigns_until_the_next_check(priority: str) -> None:
    rules = policy(urgent_ticket={"recheck": "PT2H"})
    verdict = judge(rules, replace(REQUEST, priority=priority), replace(ALL, urgent_open=True), NOW)
    assert isinstance(verdict, DeferUntil)
    assert (verdict.until, codes(verdict)) == (NOW + hours(2), ["urgent_ticket"])


def test_J7_an_urgent_ticket_defers_a_message_to_its_expiry_at_most() -> None:
    rules = policy(urgent_ticket={"recheck": "PT2H"})
    verdict = judge(rules, replace(REQUEST, expires_at=NOW + hours(1)), replace(ALL, urgent_open=True), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == NOW + hours(1)


@pytest.mark.parametrize(
    ("name", "data", "after"),
    [
        ("ticket_opened", {"ticket_id": "2", "priority": "urgent"}, {"1", "2"}),
        ("ticket_opened", {"ticket_id": "2", "priority": "low"}, {"1"}),
        ("ticket_opened", {"priority": "urgent"}, {"1"}),
        ("ticket_resolved", {"ticket_id": "1"}, set()),
        ("ticket_resolved", {"ticket_id": "3"}, {"1"}),
        ("page_viewed", {"ticket_id": "1"}, {"1"}),
    ],
)
def test_urgent_tickets_are_open_from_opened_to_resolved(name: str, data: dict[str, Any], after: set[str]) -> None:
    tickets = policy().urgent_ticket
    before = {"1": TicketTimes(NOW)}
    assert set(tickets.open_of(tickets.after(before, name, data, NOW + hours(1)), NOW + hours(1))) == after


OPENED = ("ticket_opened", {"ticket_id": "1", "priority": "urgent"})
RESOLVED = ("ticket_resolved", {"ticket_id": "1"})


@pytest.mark.parametrize(
    ("signals", "is_open"),
    [
        ([(2, RESOLVED), (1, OPENED)], False),
        ([(1, RESOLVED), (2, OPENED)], True),
        ([(1, RESOLVED), (1, OPENED)], False),
        ([(1, OPENED), (1, RESOLVED)], False),
        ([(1, OPENED), (2, RESOLVED), (3, OPENED), (2, RESOLVED)], True),
        ([(3, OPENED), (1, OPENED), (2, RESOLVED)], True),
    ],
)
def test_A8_of_ticket_signals_in_any_order_the_later_one_counts(
    signals: list[tuple[int, tuple[str, dict[str, Any]]]], is_open: bool
) -> None:
    rules, tickets = policy().urgent_ticket, dict[str, TicketTimes]()
    for hour, (name, data) in signals:
        tickets = dict(rules.after(tickets, name, data, NOW + hours(hour)))
    assert rules.open_of(tickets, NOW + hours(4)) == (["1"] if is_open else [])


def test_A8_an_open_ticket_counts_no_more_after_the_longest_time() -> None:
    rules = policy(urgent_ticket={"longest": "P10D"}).urgent_ticket
    tickets = rules.after({}, *OPENED, NOW)
    assert rules.open_of(tickets, NOW + hours(239)) == ["1"]
    assert rules.open_of(tickets, NOW + hours(240)) == []


def test_the_verdict_does_not_depend_on_the_order_of_messages_or_rules() -> None:
    rules = [*CAP["caps"], {"name": "a-day", "limit": 2, "window": "P1D"}]
    verdicts = {
        judge(load_policy({"caps": list(order)}), REQUEST, replace(ALL, sent=messages), NOW)
        for order in itertools.permutations(rules)
        for messages in itertools.permutations(sent(100, 20, 5))
    }
    assert len(verdicts) == 1


# -- the policy --------------------------------------------------------------------------------------------------------


def test_the_shipped_policy_is_valid_and_round_trips() -> None:
    shipped = load_policy(yaml.safe_load(Path("catalog/policy.yaml").read_text(encoding="utf-8")))
    assert load_policy(shipped.model_dump(mode="json")) == shipped
    assert shipped.caps
    assert shipped.cooldowns


@pytest.mark.parametrize(
    "rules",
    [
        {"cap": []},
        {"caps": [{"name": "x", "limit": -1, "window": "P1D"}]},
        {"caps": [{"name": "x", "limit": 1, "window": "P0D"}]},
        {"caps": [{"name": "x", "limit": 1, "window": 7}]},
        {"caps": [{"name": "x", "limit": 1, "window": "P1D"}] * 2},
        {"cooldowns": [{"name": "x", "between": "soon"}]},
        {"consent": [{"default": "granted"}, {"default": "required"}]},
        {"consent": [{"default": "maybe"}]},
    ],
)
def test_an_invalid_policy_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load_policy(rules)


def test_the_horizon_covers_the_longest_rule() -> None:
    assert horizon(policy()) == timedelta(days=1)  # messages of another account to the same person
    rules = {**CAP, "cooldowns": [{"name": "x", "between": "P1M"}]}
    assert horizon(load_policy(rules)) == timedelta(days=31)
