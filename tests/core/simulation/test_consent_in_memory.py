"""Consent in memory: traits, declared signals, double opt-in, bounces; as the store records them."""

from __future__ import annotations

from journeys.consent.rules import load_consent_rules
from journeys.simulation.recording import RecordedEvent, read_recorded
from tests.core.simulation.worlds import consent, happen, identify, messages, signal, world
from tests.support.run_script import day

RULES = load_consent_rules(
    {
        "confirm": [{"channel": "email", "topic": "t"}],
        "signals": {"unsubscribed": {"channel": "email", "granted": False}, "consent_changed": {}},
        "suppress": {
            "message_bounced": {"channel": "email", "reason": "bounce"},
            "message_complained": {"channel": "email", "reason": "complaint"},
        },
        "soft_bounces": {"limit": 2, "within": "P5D"},
    }
)
TEXT = "states: {a: {do: {send: one, via: [email]}, on: {go: {do: {send: two, via: [email]}}}}}"
CONFIRM = (
    "journey: c\nentry: {on: consent_requested, again: always}\ntopic: u\nstart: a\n"
    "states: {a: {do: {send: link, via: [in_app]}, final: asked}}"
)
REQUIRED = {"consent": [{"default": "granted"}, {"channel": "email", "topic": "t", "default": "required"}]}


def played(*events: RecordedEvent, **rules: object) -> list[tuple[float, str, str]]:
    simulated = happen(world(TEXT, CONFIRM, rules=rules or None, consent=RULES), *events, until=30)
    return [(at, verdict, template) for at, _, verdict, template in messages(simulated)]


def test_C5_a_consent_that_needs_confirming_counts_once_its_link_was_followed():
    yes, confirmed = consent(0, "p", granted=True, channel="email", topic="t"), {"channel": "email", "topic": "t"}
    begin = signal(1, "p", "begin")
    assert played(yes, begin, **REQUIRED) == [(0, "sent", "link"), (1, "withheld", "one")]
    link = RecordedEvent(day(0.5), "p", "consent", "consent", {**confirmed, "granted": True, "confirmed": True})
    assert played(yes, link, begin, **REQUIRED) == [(0, "sent", "link"), (1, "sent", "one")]


def test_C5_a_second_request_within_ten_minutes_sends_no_second_link():
    again = [consent(at, "p", granted=True, channel="email", topic="t") for at in (0, 0.005, 0.01)]
    assert played(*again, **REQUIRED) == [(0, "sent", "link"), (0.01, "sent", "link")]


def test_C5_statements_in_traits_and_in_declared_signals_change_consent_and_not_the_profile():
    traits = identify(1.5, "p", consents={"email": {"t": False}}, plan="pro")
    for refusal in (traits, signal(1.5, "p", "unsubscribed"), identify(1.5, "p", unsubscribed=True)):
        simulated = happen(world(TEXT, consent=RULES), signal(1, "p", "begin"), refusal, signal(2, "p", "go"))
        assert [line.about for line in simulated.lines() if line.kind == "finished"] == ["opted_out"]
        assert not {"consents", "unsubscribed"} & simulated.subjects.user("p").subject.profile.keys()


def test_a_hard_bounce_a_complaint_or_enough_soft_bounces_suppress_an_address_until_it_changes():
    hard = signal(1, "p", "message_bounced", kind="hard")
    begin, go = signal(0, "p", "begin"), signal(8, "p", "go")
    known = identify(0, "p", email="a@example.com")
    assert played(known, begin, hard, go)[-1] == (8, "withheld", "two")
    assert played(known, begin, signal(1, "p", "message_complained"), go)[-1] == (8, "withheld", "two")
    soft = [signal(at, "p", "message_bounced", kind="soft") for at in (1, 2)]
    assert played(known, begin, soft[0], go)[-1] == (8, "sent", "two")
    assert played(known, begin, *soft, go)[-1] == (8, "withheld", "two")
    apart = [signal(at, "p", "message_bounced", kind="soft") for at in (1, 7)]
    assert played(known, begin, *apart, go)[-1] == (8, "sent", "two")
    assert played(known, begin, hard, identify(3, "p", email="b@example.com"), go)[-1] == (8, "sent", "two")


def test_a_record_of_a_confirmed_consent_is_read():
    raw = {
        "type": "consent",
        "userId": "p",
        "channel": "email",
        "granted": True,
        "confirmed": True,
        "timestamp": "2024-01-01",
    }
    assert read_recorded(raw).data["confirmed"] is True
