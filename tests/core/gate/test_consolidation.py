"""Digests and replacement (C4, C6); kill switches, holds, suppression, accounts and calendars in `judge` (C2, C7, C8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from journeys.gate.consent import SUPPRESSED
from journeys.gate.consolidation import outranked_by
from journeys.gate.judge import judge
from journeys.gate.policy import Policy, load_policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.verdicts import (
    DeferUntil,
    Hold,
    KillSwitch,
    MergeInto,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Withhold,
)
from store.consent.suppressions import SuppressionReason

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)  # a Monday
REQUEST = SendRequest(("email",), "tips", "lifecycle", NOW, key="mine", journey="education", template="tips/first")
ALL = RecipientContext({"email": True, "in_app": True, "sms": True})
TOGETHER = {"consolidate": [{"name": "together", "channel": "email", "window": "PT4H"}]}
COOLING = {"cooldowns": [{"name": "breath", "channel": "email", "between": "PT20H"}]}


def policy(*parts: dict[str, Any]) -> Policy:
    return load_policy({name: value for part in parts for name, value in part.items()})


def queued(key: str = "other", *, hours: float = 2, priority: str = "lifecycle", rule: str = "breath") -> QueuedMessage:
    return QueuedMessage(
        key,
        NOW + timedelta(hours=hours),
        NOW,
        ("email",),
        "news",
        priority,
        "send:other",
        rules=frozenset({rule} - {""}),
        has_known_end=rule != "",
    )


def head(priority: str = "lifecycle", channel: str = "email") -> RecipientContext:
    sent = SentMessage(NOW, channel, "news", priority, "send:head", "news", "news/one", key="head")
    return replace(ALL, sent=(sent,), heads=frozenset({"head"}))


def codes(verdict: Any) -> list[str]:
    return [reason.code for reason in verdict.reasons]


# -- C4: digests -------------------------------------------------------------------------------------------------------


def test_C4_a_message_is_merged_into_one_of_its_channel_and_priority_that_is_sent_now() -> None:
    verdict = judge(policy(TOGETHER, COOLING), REQUEST, head(), NOW)
    assert verdict == MergeInto("head", "email", verdict.reasons)
    assert codes(verdict) == ["merged"]


def test_C4_a_merged_message_counts_for_caps_of_its_topic_but_not_for_general_caps() -> None:
    cap = {"caps": [{"name": "one", "limit": 1, "window": "P1D"}]}
    assert isinstance(judge(policy(TOGETHER, cap), REQUEST, head(), NOW), MergeInto)
    of_topic = {"caps": [{"name": "tips", "topic": "tips", "limit": 1, "window": "P1D"}]}
    recipient = replace(
        head(), sent=(*head().sent, SentMessage(NOW, "email", "tips", "lifecycle", key="x", is_part=True))
    )
    assert isinstance(judge(policy(TOGETHER, of_topic), REQUEST, recipient, NOW), DeferUntil)
    assert isinstance(
        judge(policy(TOGETHER, cap), replace(REQUEST, channels=("in_app",)), recipient, NOW), DeferUntil
    ), "head"


@pytest.mark.parametrize(
    "rule",
    [
        {"caps": [{"name": "one", "topic": "news", "limit": 1, "window": "P1D"}]},
        {"caps": [{"name": "one", "journey": "news", "limit": 1, "calendar": "day"}]},
        {"cooldowns": [{"name": "one", "topic": "news", "between": "P3D", "replaces": False}]},
    ],
)
def test_C2_the_head_of_a_digest_counts_for_rules_of_its_own_topic_and_journey(rule: dict[str, Any]) -> None:
    request = replace(REQUEST, topic="news", journey="news")
    verdict = judge(policy(TOGETHER, rule), request, head(), NOW)
    assert isinstance(verdict, DeferUntil), "the ledger would count two of one topic"
    assert judge(policy(TOGETHER, rule), REQUEST, head(), NOW).channel == "email", "another topic, another journey"
    two = {name: [{**cap, "limit": 2} for cap in rules] for name, rules in rule.items() if name == "caps"}
    assert isinstance(judge(policy(TOGETHER, two), request, head(), NOW), MergeInto)


@pytest.mark.parametrize("recipient", [head("promotional"), head(channel="in_app")])
def test_C4_messages_of_different_priorities_or_channels_are_not_merged(recipient: RecipientContext) -> None:
    assert judge(policy(TOGETHER), REQUEST, recipient, NOW) == SendNow("email")


def test_C4_without_a_consolidation_rule_each_message_is_sent_alone() -> None:
    assert judge(policy(), REQUEST, head(), NOW) == SendNow("email")


def test_C4_a_message_waits_for_others_due_within_the_window_and_no_longer() -> None:
    rules = policy(TOGETHER)
    waiting = replace(ALL, queue=(queued(hours=2), queued("later", hours=5)))
    verdict = judge(rules, REQUEST, waiting, NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == NOW + timedelta(hours=2)
    assert codes(verdict) == ["consolidating"]
    waited = replace(REQUEST, ready_at=NOW - timedelta(hours=3))
    assert judge(rules, waited, waiting, NOW) == SendNow("email"), "the window began when it could have gone"


def test_C4_a_message_does_not_wait_past_its_expiry_or_for_an_open_ended_deferral() -> None:
    rules = policy(TOGETHER)
    short = replace(REQUEST, expires_at=NOW + timedelta(hours=1))
    assert judge(rules, short, replace(ALL, queue=(queued(),)), NOW) == SendNow("email")
    assert judge(rules, REQUEST, replace(ALL, queue=(queued(rule=""),)), NOW) == SendNow("email")


def test_C4_a_message_that_may_have_arrived_is_retried_alone() -> None:
    again = replace(REQUEST, alone=True)
    assert judge(policy(TOGETHER), again, head(), NOW) == SendNow("email")


def test_C4_a_digest_needs_consent_for_every_topic_in_it() -> None:
    parts = replace(REQUEST, topic=None, topics=("tips", "news"))
    refused = replace(ALL, consents={("email", "news"): False})
    assert codes(judge(policy(), parts, refused, NOW)) == ["consent_withdrawn"]


# -- C6: replacement ---------------------------------------------------------------------------------------------------


def test_C6_a_queued_message_of_lower_priority_in_the_same_cooldown_is_replaced() -> None:
    waiting = replace(ALL, queue=(queued("offer", priority="promotional"), queued("tip", rule="other-rule")))
    assert judge(policy(COOLING), REQUEST, waiting, NOW) == SendNow("email")
    assert outranked_by(policy(COOLING), REQUEST, waiting, "email", NOW, NOW) == ("offer",)


def test_C6_a_new_message_of_lower_priority_than_a_queued_one_is_replaced_at_once() -> None:
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle")
    waiting = replace(ALL, sent=(sent,), queue=(queued("tip", hours=19),))
    offer = replace(REQUEST, priority="promotional")
    verdict = judge(policy(COOLING), offer, waiting, NOW)
    assert isinstance(verdict, Replace)
    assert verdict.by == "tip"
    assert codes(verdict) == ["cooldown", "replaced"]
    keeps = {"cooldowns": [{"name": "breath", "channel": "email", "between": "PT20H", "replaces": False}]}
    assert isinstance(judge(policy(keeps), offer, waiting, NOW), DeferUntil)


def test_C6_messages_of_equal_priority_and_transactional_ones_replace_nothing() -> None:
    waiting = replace(ALL, queue=(queued("offer", priority="promotional"),))
    for priority in ("promotional", "transactional"):
        request = replace(REQUEST, priority=priority)
        assert judge(policy(COOLING), request, waiting, NOW) == SendNow("email")
        assert outranked_by(policy(COOLING), request, waiting, "email", NOW, NOW) == ()


# -- kill switches, holds, suppression, accounts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "holds"),
    [
        (KillSwitch("all", "", "a fire"), True),
        (KillSwitch("channel", "email"), True),
        (KillSwitch("journey", "education"), True),
        (KillSwitch("template", "tips/first"), True),
        (KillSwitch("channel", "sms"), False),
        (KillSwitch("journey", "win-back"), False),
        (KillSwitch("template", "education"), False),
    ],
)
def test_a_kill_switch_defers_only_what_it_names_at_every_priority(stop: KillSwitch, holds: bool) -> None:
    for priority in ("urgent_support", "transactional", "lifecycle", "promotional"):
        verdict = judge(policy(), replace(REQUEST, priority=priority), replace(ALL, stops=(stop,)), NOW)
        assert isinstance(verdict, DeferUntil) == holds
        assert not holds or codes(verdict) == ["stopped"]


def test_a_hold_defers_lifecycle_but_not_transactional_messages() -> None:
    held = replace(ALL, held=(Hold(NOW + timedelta(days=2), "dana", "they talk"),))
    verdict = judge(policy(), REQUEST, held, NOW)
    assert isinstance(verdict, DeferUntil)
    assert (codes(verdict), verdict.until) == (["held"], NOW + timedelta(days=2))
    assert judge(policy(), replace(REQUEST, priority="transactional"), held, NOW) == SendNow("email")


def test_a_suppressed_address_is_skipped_for_another_channel() -> None:
    bounced = replace(ALL, suppressed={"email": "hard_bounce"})
    assert codes(judge(policy(), REQUEST, bounced, NOW)) == ["suppressed"]
    assert judge(policy(), replace(REQUEST, channels=("email", "in_app")), bounced, NOW).channel == "in_app"


@pytest.mark.parametrize("because", get_args(SuppressionReason))
def test_each_cause_of_a_suppression_has_its_own_reason_text(because: str) -> None:
    (reason,) = judge(policy(), REQUEST, replace(ALL, suppressed={"email": because}), NOW).reasons
    assert reason.text == f"the address for email is suppressed: {SUPPRESSED[because]}"
    assert len(set(SUPPRESSED.values())) == len(get_args(SuppressionReason))


@pytest.mark.parametrize(
    ("accounts", "role", "text"),
    [
        ({"a_1", "a_2"}, "admin", None),
        ({"a_2"}, "admin", "the person no longer belongs to this account"),
        ({"a_1"}, "finance", "it is for the account's champion or admin, and the person no longer has that role"),
    ],
)
def test_C8_a_message_of_an_account_needs_current_membership_and_role(accounts, role, text) -> None:
    request = replace(REQUEST, account="a_1", roles=("champion", "admin"), priority="urgent_support")
    verdict = judge(policy(), request, replace(ALL, accounts=frozenset(accounts), role=role), NOW)
    assert [(reason.code, reason.text) for reason in verdict.reasons] == ([("no_recipient", text)] if text else [])
    assert judge(policy(), replace(request, roles=()), ALL, NOW) == SendNow("email"), (
        "a message without roles is for any role"
    )


def test_C8_a_person_of_several_accounts_receives_the_same_template_once() -> None:
    request = replace(REQUEST, account="a_1")
    other = SentMessage(NOW - timedelta(hours=2), "email", "tips", "lifecycle", template="tips/first", account="a_2")
    assert codes(judge(policy(), request, replace(ALL, sent=(other,)), NOW)) == ["told_already"]
    assert judge(policy(), request, replace(ALL, sent=(replace(other, account="a_1"),)), NOW) == SendNow("email")
    assert judge(policy(), request, replace(ALL, sent=(replace(other, template="tips/two"),)), NOW) == SendNow("email")


# -- C2, C7: calendar caps and quiet hours in the person's zone --------------------------------------------------------


@pytest.mark.parametrize(
    ("calendar", "frees"),
    [
        ("day", datetime(2026, 5, 4, 22, 0, tzinfo=UTC)),
        ("week", datetime(2026, 5, 10, 22, 0, tzinfo=UTC)),
        ("month", datetime(2026, 5, 31, 22, 0, tzinfo=UTC)),
    ],
)
def test_C2_a_calendar_cap_resets_at_midnight_in_the_persons_zone(calendar: str, frees: datetime) -> None:
    rules = policy({"caps": [{"name": "one", "limit": 1, "calendar": calendar}]})
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle")
    verdict = judge(rules, REQUEST, replace(ALL, sent=(sent,), zone="Europe/Vienna"), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == frees


def test_C2_a_cap_of_a_journey_counts_only_its_messages() -> None:
    rules = policy({"caps": [{"name": "one", "journey": "education", "limit": 1, "window": "P1D"}]})
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle", journey="win-back")
    assert judge(rules, REQUEST, replace(ALL, sent=(sent,)), NOW) == SendNow("email")
    assert isinstance(judge(rules, REQUEST, replace(ALL, sent=(replace(sent, journey="education"),)), NOW), DeferUntil)


def test_C7_quiet_hours_are_applied_at_the_end_of_other_deferrals() -> None:
    night = {"quiet_hours": [{"name": "night", "start": "21:00", "end": "08:00"}]}
    sent = SentMessage(NOW - timedelta(hours=2), "email", "news", "lifecycle")
    verdict = judge(policy(COOLING, night), REQUEST, replace(ALL, sent=(sent,), zone="Europe/Vienna"), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == datetime(2026, 5, 5, 6, 0, tzinfo=UTC), "not at four in the morning, when the cooldown ends"
    assert codes(verdict) == ["cooldown", "quiet_hours"]


def test_C7_a_message_that_expires_within_quiet_hours_is_withheld_at_once() -> None:
    night = {"quiet_hours": [{"name": "night", "start": "09:00", "end": "08:00"}]}
    verdict = judge(policy(night), replace(REQUEST, expires_at=NOW + timedelta(hours=3)), ALL, NOW)
    assert isinstance(verdict, Withhold)
    assert codes(verdict) == ["quiet_hours", "expires_first"]
