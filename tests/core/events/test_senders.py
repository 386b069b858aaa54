"""Senders of signals: every signal of the shipped plan by its source, for the write key and for the operator's."""

from __future__ import annotations

from typing import get_args

import pytest

from api.events.tracking_plan import EventCheck
from journeys.consent.rules import ConsentRules, SuppressSignal
from journeys.events.senders import PLATFORM_SOURCES, PROVIDER_SOURCE, SenderKind, sender_fault
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import InvalidEvent, ValidEvent
from journeys.language.signal_names import PLATFORM_SIGNALS, PROVIDER_SIGNALS
from tests.support import shipped_catalog

SIGNALS = shipped_catalog.plan().signals
PERMITTED = {"platform": set(), "provider": {"operator"}, "other": {"write", "operator"}}


def group_of(source: str) -> str:
    return "platform" if source in PLATFORM_SOURCES else "provider" if source == PROVIDER_SOURCE else "other"


@pytest.mark.parametrize("sender", get_args(SenderKind))
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_is_accepted_from_the_senders_of_its_source(signal, sender):
    fault = sender_fault(signal, SIGNALS[signal].source, sender)
    assert (fault == "") is (sender in PERMITTED[group_of(SIGNALS[signal].source)])
    assert fault == "" or fault.startswith(signal)


def test_the_names_of_the_platforms_and_providers_signals_are_those_of_the_shipped_plan():
    by_group = {
        group: {name for name, item in SIGNALS.items() if group_of(item.source) == group} for group in PERMITTED
    }
    assert by_group["platform"] == PLATFORM_SIGNALS
    assert by_group["provider"] == PROVIDER_SIGNALS


@pytest.mark.parametrize("signal", sorted(PLATFORM_SIGNALS | PROVIDER_SIGNALS))
def test_a_tracking_plan_cannot_give_the_platforms_signals_another_source(signal):
    plan = TrackingPlan.model_validate(
        {
            "sources": {"product": "ours"},
            "signals": {signal: {"source": "product", "from": ["Anything"]}},
        }
    )
    check = EventCheck(plan, ConsentRules())
    for name in (signal, "Anything"):
        checked = check.planned("track", name, {}, "write")
        assert isinstance(checked, InvalidEvent)
        assert checked.faults[0].code == "sender_not_allowed"


def test_a_signal_that_suppresses_an_address_is_for_providers_and_operators_whatever_its_name():
    plan = TrackingPlan.model_validate({"sources": {"product": "ours"}, "signals": {"dropped": {"source": "product"}}})
    check = EventCheck(plan, ConsentRules(suppress={"dropped": SuppressSignal(channel="email", reason="bounce")}))
    assert isinstance(check.planned("track", "dropped", {}, "write"), InvalidEvent)
    assert isinstance(check.planned("track", "dropped", {}, "operator"), ValidEvent)


def test_a_page_that_the_plan_reads_as_a_platform_signal_is_refused():
    plan = TrackingPlan.model_validate(
        {"sources": {"journeys": "by emit"}, "signals": {"offer_due": {"source": "journeys", "from": ["page"]}}}
    )
    for sender in get_args(SenderKind):
        assert isinstance(EventCheck(plan, ConsentRules()).planned("page", "page", {}, sender), InvalidEvent)
