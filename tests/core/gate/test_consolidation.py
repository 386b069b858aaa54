"""C2, C4, C6: what waits together comes as one, and the lesser of two gives way; stops, holds and calendars at the gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from journeys.gate.consolidation import outranked_by
from journeys.gate.judge import SUPPRESSED, judge
from journeys.gate.policy import Policy, load_policy
from journeys.gate.verdicts import (
    DeferUntil,
    Hold,
    KillSwitch,
    MergeInto,
    QueuedMessage,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Withhold,
)
from store.consent.suppressions import SuppressionReason

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)  # a Monday
ASK = SendRequest(("email",), "tips", "lifecycle", NOW, key="mine", journey="education", template="tips/first")
ALL = RecipientContext({"email": True, "in_app": True, "sms": True})
TOGETHER = {"consolidate": [{"name": "together", "channel": "email", "window": "PT4H"}]}
COOLING = {"cooldowns": [{"name": "breath", "channel": "email", "between": "PT20H"}]}


def policy(*parts: dict[str, Any]) -> Policy:
    return load_policy({name: value for part in parts for name, value in part.items()})


def queued(key: str = "other", *, hours: float = 2, priority: str = "lifecycle", rule: str = "breath") -> QueuedMessage:
    return QueuedMessage(
        key, NOW + timedelta(hours=hours), ("email",), "news", priority, "send:other", rules=frozenset({rule} - {""})
    )


def head(priority: str = "lifecycle", channel: str = "email") -> RecipientContext:
    sent = SentMessage(NOW, channel, "news", priority, "send:head", "news", "news/one", key="head")
    return replace(ALL, sent=(sent,), heads=frozenset({"head"}))


def codes(verdict: Any) -> list[str]:
    return [reason.code for reason in verdict.reasons]


# -- C4: several become one --------------------------------------------------------------------------------------------


def test_C4_one_that_may_go_joins_the_one_of_its_kind_that_goes_now() -> None:
    verdict = judge(policy(TOGETHER, COOLING), ASK, head(), NOW)
    assert verdict == MergeInto("head", "email", verdict.reasons)
    assert codes(verdict) == ["merged"]


def test_C4_what_is_merged_needs_no_room_under_a_cap_over_all_but_its_own_topic_counts() -> None:
    cap = {"caps": [{"name": "one", "limit": 1, "window": "P1D"}]}
    assert isinstance(judge(policy(TOGETHER, cap), ASK, head(), NOW), MergeInto)
    of_topic = {"caps": [{"name": "tips", "topic": "tips", "limit": 1, "window": "P1D"}]}
    told = replace(head(), sent=(*head().sent, SentMessage(NOW, "email", "tips", "lifecycle", key="x", is_part=True)))
    assert isinstance(judge(policy(TOGETHER, of_topic), ASK, told, NOW), DeferUntil)
    assert isinstance(judge(policy(TOGETHER, cap), replace(ASK, channels=("in_app",)), told, NOW), DeferUntil), "head"


@pytest.mark.parametrize(
    "rule",
    [
        {"caps": [{"name": "one", "topic": "news", "limit": 1, "window": "P1D"}]},
        {"caps": [{"name": "one", "journey": "news", "limit": 1, "calendar": "day"}]},
        {"cooldowns": [{"name": "one", "topic": "news", "between": "P3D", "replaces": False}]},
    ],
)
def test_C2_the_one_that_takes_others_along_counts_for_its_own_topic_and_journey(rule: dict[str, Any]) -> None:
    ask = replace(ASK, topic="news", journey="news")
    verdict = judge(policy(TOGETHER, rule), ask, head(), NOW)
    assert isinstance(verdict, DeferUntil), "the ledger would hold two of one"
    assert judge(policy(TOGETHER, rule), ASK, head(), NOW).channel == "email", "another topic, another journey"
    two = {name: [{**each, "limit": 2} for each in rules] for name, rules in rule.items() if name == "caps"}
    assert isinstance(judge(policy(TOGETHER, two), ask, head(), NOW), MergeInto)


@pytest.mark.parametrize("standing", [head("promotional"), head(channel="in_app")])
def test_C4_never_across_priorities_or_channels(standing: RecipientContext) -> None:
    assert judge(policy(TOGETHER), ASK, standing, NOW) == SendNow("email")


def test_C4_without_a_rule_each_goes_by_itself() -> None:
    assert judge(policy(), ASK, head(), NOW) == SendNow("email")


def test_C4_it_waits_for_others_that_fall_due_within_the_window_and_no_longer() -> None:
    rules = policy(TOGETHER)
    waiting = replace(ALL, queue=(queued(hours=2), queued("later", hours=5)))
    verdict = judge(rules, ASK, waiting, NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == NOW + timedelta(hours=2)
    assert codes(verdict) == ["consolidating"]
    waited = replace(ASK, ready_at=NOW - timedelta(hours=3))
    assert judge(rules, waited, waiting, NOW) == SendNow("email"), "the window began when it could have gone"


def test_C4_it_does_not_wait_past_its_own_deadline_nor_for_what_has_no_known_end() -> None:
    rules = policy(TOGETHER)
    short = replace(ASK, expires_at=NOW + timedelta(hours=1))
    assert judge(rules, short, replace(ALL, queue=(queued(),)), NOW) == SendNow("email")
    assert judge(rules, ASK, replace(ALL, queue=(queued(rule=""),)), NOW) == SendNow("email")


def test_C4_what_may_have_arrived_goes_again_alone() -> None:
    again = replace(ASK, alone=True)
    assert judge(policy(TOGETHER), again, head(), NOW) == SendNow("email")


def test_C4_of_one_made_of_several_every_topic_needs_consent() -> None:
    parts = replace(ASK, topic=None, topics=("tips", "news"))
    refused = replace(ALL, consents={("email", "news"): False})
    assert codes(judge(policy(), parts, refused, NOW)) == ["consent_withdrawn"]


# -- C6: the lesser gives way ------------------------------------------------------------------------------------------


def test_C6_the_lesser_one_that_waits_in_the_same_cooldown_is_replaced() -> None:
    waiting = replace(ALL, queue=(queued("offer", priority="promotional"), queued("tip", rule="other-rule")))
    assert judge(policy(COOLING), ASK, waiting, NOW) == SendNow("email")
    assert outranked_by(policy(COOLING), ASK, waiting, "email") == ("offer",)


def test_C6_the_lesser_one_that_comes_later_is_replaced_at_once() -> None:
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle")
    waiting = replace(ALL, sent=(sent,), queue=(queued("tip", hours=19),))
    offer = replace(ASK, priority="promotional")
    verdict = judge(policy(COOLING), offer, waiting, NOW)
    assert isinstance(verdict, Replace)
    assert verdict.by == "tip"
    assert codes(verdict) == ["cooldown", "replaced"]
    keeps = {"cooldowns": [{"name": "breath", "channel": "email", "between": "PT20H", "replaces": False}]}
    assert isinstance(judge(policy(keeps), offer, waiting, NOW), DeferUntil)


def test_C6_equals_do_not_replace_each_other_and_the_pressing_replace_nobody() -> None:
    waiting = replace(ALL, queue=(queued("offer", priority="promotional"),))
    for priority in ("promotional", "transactional"):
        ask = replace(ASK, priority=priority)
        assert judge(policy(COOLING), ask, waiting, NOW) == SendNow("email")
        assert outranked_by(policy(COOLING), ask, waiting, "email") == ()


# -- stops, holds, suppression, accounts -------------------------------------------------------------------------------


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
def test_a_stop_holds_what_it_names_of_every_priority_and_nothing_else(stop: KillSwitch, holds: bool) -> None:
    for priority in ("urgent_support", "transactional", "lifecycle", "promotional"):
        verdict = judge(policy(), replace(ASK, priority=priority), replace(ALL, stops=(stop,)), NOW)
        assert isinstance(verdict, DeferUntil) == holds
        assert not holds or codes(verdict) == ["stopped"]


def test_a_held_account_hears_only_what_presses() -> None:
    held = replace(ALL, held=(Hold(NOW + timedelta(days=2), "dana", "they talk"),))
    verdict = judge(policy(), ASK, held, NOW)
    assert isinstance(verdict, DeferUntil)
    assert (codes(verdict), verdict.until) == (["held"], NOW + timedelta(days=2))
    assert judge(policy(), replace(ASK, priority="transactional"), held, NOW) == SendNow("email")


def test_a_suppressed_address_is_none_and_another_channel_may_go() -> None:
    bounced = replace(ALL, suppressed={"email": "hard_bounce"})
    assert codes(judge(policy(), ASK, bounced, NOW)) == ["suppressed"]
    assert judge(policy(), replace(ASK, channels=("email", "in_app")), bounced, NOW).channel == "in_app"


@pytest.mark.parametrize("because", get_args(SuppressionReason))
def test_each_reason_for_which_an_address_is_suppressed_is_said_in_its_own_words(because: str) -> None:
    (reason,) = judge(policy(), ASK, replace(ALL, suppressed={"email": because}), NOW).reasons
    assert reason.text == f"the address for email is suppressed: {SUPPRESSED[because]}"
    assert len(set(SUPPRESSED.values())) == len(get_args(SuppressionReason))


@pytest.mark.parametrize(
    ("accounts", "role", "said"),
    [
        ({"a_1", "a_2"}, "admin", None),
        ({"a_2"}, "admin", "the person no longer belongs to this account"),
        ({"a_1"}, "finance", "it is for the account's champion or admin, and the person no longer has that role"),
    ],
)
def test_C8_a_message_of_an_account_is_for_whom_it_is_for_when_it_is_decided(accounts, role, said) -> None:
    ask = replace(ASK, account="a_1", roles=("champion", "admin"), priority="urgent_support")
    verdict = judge(policy(), ask, replace(ALL, accounts=frozenset(accounts), role=role), NOW)
    assert [(reason.code, reason.text) for reason in verdict.reasons] == ([("no_recipient", said)] if said else [])
    assert judge(policy(), replace(ask, roles=()), ALL, NOW) == SendNow("email"), "who does not say is not asked"


def test_C8_who_belongs_to_several_accounts_is_told_once() -> None:
    ask = replace(ASK, account="a_1")
    other = SentMessage(NOW - timedelta(hours=2), "email", "tips", "lifecycle", template="tips/first", account="a_2")
    assert codes(judge(policy(), ask, replace(ALL, sent=(other,)), NOW)) == ["told_already"]
    assert judge(policy(), ask, replace(ALL, sent=(replace(other, account="a_1"),)), NOW) == SendNow("email")
    assert judge(policy(), ask, replace(ALL, sent=(replace(other, template="tips/two"),)), NOW) == SendNow("email")


# -- C2, C7: calendars and hours in the person's zone ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calendar", "frees"),
    [
        ("day", datetime(2026, 5, 4, 22, 0, tzinfo=UTC)),
        ("week", datetime(2026, 5, 10, 22, 0, tzinfo=UTC)),
        ("month", datetime(2026, 5, 31, 22, 0, tzinfo=UTC)),
    ],
)
def test_C2_a_calendar_cap_frees_at_the_persons_own_midnight(calendar: str, frees: datetime) -> None:
    rules = policy({"caps": [{"name": "one", "limit": 1, "calendar": calendar}]})
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle")
    verdict = judge(rules, ASK, replace(ALL, sent=(sent,), zone="Europe/Vienna"), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == frees


def test_C2_a_cap_of_one_journey_counts_only_that_one() -> None:
    rules = policy({"caps": [{"name": "one", "journey": "education", "limit": 1, "window": "P1D"}]})
    sent = SentMessage(NOW - timedelta(hours=1), "email", "news", "lifecycle", journey="win-back")
    assert judge(rules, ASK, replace(ALL, sent=(sent,)), NOW) == SendNow("email")
    assert isinstance(judge(rules, ASK, replace(ALL, sent=(replace(sent, journey="education"),)), NOW), DeferUntil)


def test_C7_hours_count_from_where_the_other_waits_end() -> None:
    night = {"quiet_hours": [{"name": "night", "start": "21:00", "end": "08:00"}]}
    sent = SentMessage(NOW - timedelta(hours=2), "email", "news", "lifecycle")
    verdict = judge(policy(COOLING, night), ASK, replace(ALL, sent=(sent,), zone="Europe/Vienna"), NOW)
    assert isinstance(verdict, DeferUntil)
    assert verdict.until == datetime(2026, 5, 5, 6, 0, tzinfo=UTC), "not at four in the morning, when the cooldown ends"
    assert codes(verdict) == ["cooldown", "quiet_hours"]


def test_C7_a_message_that_is_of_use_only_at_night_is_withheld_at_once() -> None:
    night = {"quiet_hours": [{"name": "night", "start": "09:00", "end": "08:00"}]}
    verdict = judge(policy(night), replace(ASK, expires_at=NOW + timedelta(hours=3)), ALL, NOW)
    assert isinstance(verdict, Withhold)
    assert codes(verdict) == ["quiet_hours", "expires_first"]
