"""Effective consent and its reason, statements made by the preference page and by calls, and the consent rules."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from journeys.consent import statements
from journeys.consent.preferences import PersonStatement, apply_statements, effective_consents, statements_to_make
from journeys.consent.rules import confirmations_without_effect, load_consent_rules
from journeys.consent.statements import Bounced, ConsentStatement
from journeys.events.inbound import CallKind, InboundEvent
from journeys.gate.consent import consent_refusal
from journeys.gate.policy import ConsentDefault, Policy, load_policy
from tests.support import shipped_catalog

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)
CHANNELS, TOPICS = ("email", "in_app"), ("offers", "onboarding", "support")
PLACES = [(channel, topic) for channel in CHANNELS for topic in TOPICS]
policies = st.lists(
    st.builds(
        ConsentDefault,
        channel=st.sampled_from((None, *CHANNELS)),
        topic=st.sampled_from((None, *TOPICS)),
        default=st.sampled_from(("granted", "required")),
    ),
    max_size=4,
    unique_by=lambda rule: (rule.channel, rule.topic),
).map(lambda rules: Policy(consent=tuple(rules)))
consents = st.dictionaries(
    st.tuples(st.sampled_from((*CHANNELS, "*")), st.sampled_from((*TOPICS, "*"))), st.booleans(), max_size=8
)


def allowed(policy: Policy, given_consents: dict[tuple[str, str], bool], place: tuple[str, str]) -> bool:
    """Whether the gate allows a lifecycle message."""
    return consent_refusal(policy, place[1], "lifecycle", place[0], given_consents) is None


@given(policies, consents, st.fixed_dictionaries({place: st.booleans() for place in PLACES}))
def test_C5_the_gate_obeys_the_choices_made_on_the_preference_page(policy, given_consents, wanted):
    after = apply_statements(given_consents, statements_to_make(policy, given_consents, wanted))
    assert {place: allowed(policy, after, place) for place in PLACES} == wanted


@given(policies, consents)
def test_saving_the_page_unchanged_makes_no_statement(policy, given_consents):
    as_shown = {place: allowed(policy, given_consents, place) for place in PLACES}
    assert statements_to_make(policy, given_consents, as_shown) == []


@given(policies, consents, st.sampled_from(PLACES))
def test_the_page_shows_the_consent_that_the_gate_applies(policy, given_consents, place):
    stated = {where: PersonStatement(granted, "tests", AT) for where, granted in given_consents.items()}
    shown = effective_consents(policy, stated, place, frozenset({place}))
    assert shown.allowed is allowed(policy, given_consents, place)
    assert shown.pending is not shown.allowed


def test_the_page_shows_the_reason_of_each_consent():
    no_to_all = {("*", "*"): PersonStatement(False, "one-click", AT)}
    assert (
        effective_consents(Policy(), no_to_all, ("email", "offers")).why == "you said no to all messages on 3 May 2026"
    )
    assert effective_consents(Policy(), {}, ("email", "offers")).why == "you have not chosen yet"
    titled = effective_consents(
        Policy(), {("*", "offers"): PersonStatement(False, "form", AT)}, ("email", "offers"), titles={"offers": "Deals"}
    )
    assert titled.why == "you said no to Deals on 3 May 2026"
    own = {("email", "offers"): PersonStatement(True, "form", AT)}
    assert (
        effective_consents(Policy(), own, ("email", "offers")).why == "you said yes to offers by e-mail on 3 May 2026"
    )


RULES = load_consent_rules(
    {
        "confirm": [{"channel": "email", "topic": "offers"}],
        "signals": {"left": {"channel": "email", "granted": False}, "told": {}},
        "suppress": {
            "bounced": {"channel": "email", "reason": "bounce"},
            "spam": {"channel": "email", "reason": "complaint"},
        },
    }
)


def call(kind: CallKind, name: str = "identify", **given) -> InboundEvent:
    return InboundEvent(kind, "m1", name, user_id="ada", **given)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (call("identify", traits={"consents": {"email": {"offers": False}}}), [("email", "offers", False)]),
        (call("identify", traits={"consents": {"email": {"offers": True, "*": None}}}),
         [("email", "offers", True), ("email", "*", None)]),
        (call("identify", traits={"consents": {"in_app": False}}), [("in_app", "*", False)]),
        (call("identify", traits={"unsubscribed": True}), [("*", "*", False)]),
        (call("identify", traits={"unsubscribed": False}), [("*", "*", None)]),
        (call("identify", traits={"plan": "team"}), []),
        (call("track", "left", data={"topic": "offers"}), [("email", "offers", False)]),
        (call("track", "left"), [("email", "*", False)]),
        (call("track", "told", data={"channel": "*", "topic": "*", "granted": False}), [("*", "*", False)]),
        (call("track", "unheard", data={"channel": "*"}), []),
    ],
)  # fmt: skip
def test_C5_a_call_makes_the_statements_that_it_contains(event, expected):
    assert statements.statements_in(RULES, event) == [ConsentStatement(*statement) for statement in expected]
    assert statements.statement_faults(RULES, event) == []


@pytest.mark.parametrize(
    ("event", "widest"),
    [
        (call("identify", traits={"consents": "no"}), ("*", "*")),
        (call("identify", traits={"consents": False}), ("*", "*")),
        (call("identify", traits={"consents": ["email"]}), ("*", "*")),
        (call("identify", traits={"consents": {"fax": False}}), ("*", "*")),
        (call("identify", traits={"consents": {"fax": {"offers": False}}}), ("*", "offers")),
        (call("identify", traits={"consents": {"email": {"Not A Topic": False}}}), ("email", "*")),
        (call("identify", traits={"consents": {"email": "false"}}), ("email", "*")),
        (call("identify", traits={"consents": {"email": {"offers": 0}}}), ("email", "offers")),
        (call("identify", traits={"consents": {"email": {"offers": {"granted": False}}}}), ("email", "offers")),
        (call("identify", traits={"unsubscribed": "yes"}), ("*", "*")),
        (call("identify", traits={"unsubscribed": 1}), ("*", "*")),
        (call("track", "told", data={"channel": 7}), ("*", "*")),
        (call("track", "told", data={"channel": "email", "topic": "offers"}), ("email", "offers")),
        (call("track", "told", data={"channel": "email", "topic": "offers", "granted": "revoked"}), ("email", "offers")),
        (call("track", "left", data={"topic": ["offers"]}), ("email", "*")),
    ],
)  # fmt: skip
def test_C5_an_opt_out_that_cannot_be_read_counts_as_one_of_everything_it_can_mean(event, widest):
    (stated,) = statements.statements_in(RULES, event)
    assert (stated.channel, stated.topic, stated.granted, bool(stated.unreadable)) == (*widest, False, True)
    assert statements.statement_faults(RULES, event) == []


@pytest.mark.parametrize(
    "event",
    [
        call("identify", traits={"consents": True}),
        call("identify", traits={"consents": {"fax": True}}),
        call("identify", traits={"consents": {"fax": None}}),
        call("identify", traits={"consents": {"email": {"Not A Topic": "Yes"}}}),
        call("identify", traits={"consents": {"email": {"offers": 1}}}),
        call("identify", traits={"unsubscribed": "No"}),
        call("track", "told", data={"channel": 7, "granted": True}),
    ],
)
def test_a_grant_that_cannot_be_read_is_a_fault_and_makes_no_statement(event):
    assert statements.statements_in(RULES, event) == []
    assert len(statements.statement_faults(RULES, event)) == 1


def test_bounces_and_complaints_are_read_from_signals():
    bounces = [
        statements.bounce_in(RULES, call("track", name, data=data))
        for name, data in (
            ("bounced", {"kind": "hard", "address": "a@b.c"}),
            ("bounced", {}),
            ("spam", {"address": ""}),
            ("left", {}),
        )
    ]
    assert bounces == [
        Bounced("email", "a@b.c", "hard_bounce", True),
        Bounced("email", None, "soft_bounces", False),
        Bounced("email", None, "complaint", True),
        None,
    ]


@pytest.mark.parametrize(
    ("place", "needed"),
    [
        (("email", "offers"), True),
        (("*", "offers"), True),
        (("email", "*"), True),
        (("*", "*"), True),
        (("in_app", "offers"), False),
        (("email", "onboarding"), False),
    ],
)
def test_a_general_consent_that_includes_a_confirmed_topic_needs_confirmation(place, needed):
    assert RULES.needs_confirming(*place) is needed


def test_an_unknown_key_or_a_signal_with_two_meanings_is_refused():
    with pytest.raises(ValidationError):
        load_consent_rules({"topic": {}})
    with pytest.raises(ValidationError, match="cannot be under both"):
        load_consent_rules({"signals": {"x": {}}, "suppress": {"x": {"channel": "email", "reason": "complaint"}}})


SHIPPED = load_consent_rules(yaml.safe_load((shipped_catalog.CATALOG / "consent.yaml").read_text()))


def test_every_topic_of_the_shipped_catalogue_has_a_title():
    topics = {shipped_catalog.journey(name).topic for name in shipped_catalog.TEXTS} | {
        template.topic for template in shipped_catalog.templates().values()
    }
    assert topics - {None} <= SHIPPED.topics.keys()


def test_the_shipped_rules_name_only_planned_signals_and_effective_confirmations():
    assert {*SHIPPED.signals, *SHIPPED.suppress} <= shipped_catalog.plan().signals.keys()
    policy = load_policy(yaml.safe_load((shipped_catalog.CATALOG / "policy.yaml").read_text()))
    assert list(confirmations_without_effect(policy, SHIPPED)) == []


def test_a_confirmation_without_effect_is_reported():
    (message,) = confirmations_without_effect(Policy(), RULES)
    assert message.startswith("offers by email needs a confirmation")
