"""What holds, why, and what must be said so that what was wished for holds; what calls say of consent; the rules' file."""

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


def allowed(policy: Policy, said: dict[tuple[str, str], bool], place: tuple[str, str]) -> bool:
    """The gate's own rule, for what is neither urgent nor transactional."""
    return consent_refusal(policy, place[1], "lifecycle", place[0], said) is None


@given(policies, consents, st.fixed_dictionaries({place: st.booleans() for place in PLACES}))
def test_C5_what_a_person_chose_on_the_page_is_what_the_gate_does(policy, said, wanted):
    after = apply_statements(said, statements_to_make(policy, said, wanted))
    assert {place: allowed(policy, after, place) for place in PLACES} == wanted


@given(policies, consents)
def test_saving_the_page_as_it_was_shown_says_nothing(policy, said):
    as_shown = {place: allowed(policy, said, place) for place in PLACES}
    assert statements_to_make(policy, said, as_shown) == []


@given(policies, consents, st.sampled_from(PLACES))
def test_what_the_page_shows_is_what_the_gate_does(policy, said, place):
    told = {where: PersonStatement(granted, "tests", AT) for where, granted in said.items()}
    found = effective_consents(policy, told, place, frozenset({place}))
    assert found.allowed is allowed(policy, said, place)
    assert found.pending is not found.allowed


def test_the_page_says_why():
    said = {("*", "*"): PersonStatement(False, "one-click", AT)}
    assert effective_consents(Policy(), said, ("email", "offers")).why == "you said no to all messages on 3 May 2026"
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
    ("said", "heard"),
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
def test_C5_what_calls_say(said, heard):
    assert statements.statements_in(RULES, said) == [ConsentStatement(*each) for each in heard]
    assert statements.statement_faults(RULES, said) == []


@pytest.mark.parametrize(
    "said",
    [
        call("identify", traits={"consents": "no"}),
        call("identify", traits={"consents": {"fax": False}}),
        call("identify", traits={"consents": {"email": {"Not A Topic": False}}}),
        call("identify", traits={"consents": {"email": "false"}}),
        call("identify", traits={"consents": {"email": {"offers": 0}}}),
        call("identify", traits={"unsubscribed": "yes"}),
        call("track", "told", data={"channel": 7}),
    ],
)
def test_what_cannot_be_understood_is_a_fault_and_never_a_guess(said):
    assert statements.statements_in(RULES, said) == []
    assert len(statements.statement_faults(RULES, said)) == 1


def test_bounces_are_hard_or_soft_and_complaints_are_complaints():
    heard = [
        statements.bounce_in(RULES, call("track", name, data=data))
        for name, data in (
            ("bounced", {"kind": "hard", "address": "a@b.c"}),
            ("bounced", {}),
            ("spam", {"address": ""}),
            ("left", {}),
        )
    ]
    assert heard == [
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
def test_a_general_yes_is_no_way_around_a_confirmation(place, needed):
    assert RULES.needs_confirming(*place) is needed


def test_a_misspelt_key_or_two_meanings_of_one_signal_are_refused():
    with pytest.raises(ValidationError):
        load_consent_rules({"topic": {}})
    with pytest.raises(ValidationError, match="cannot be under both"):
        load_consent_rules({"signals": {"x": {}}, "suppress": {"x": {"channel": "email", "reason": "complaint"}}})


SHIPPED = load_consent_rules(yaml.safe_load((shipped_catalog.CATALOG / "consent.yaml").read_text()))


def test_every_topic_of_the_shipped_catalogue_is_named_for_people():
    topics = {shipped_catalog.journey(name).topic for name in shipped_catalog.TEXTS} | {
        each.topic for each in shipped_catalog.templates().values()
    }
    assert topics - {None} <= SHIPPED.topics.keys()


def test_the_shipped_rules_hear_signals_that_the_plan_has_and_wait_for_what_is_asked():
    assert {*SHIPPED.signals, *SHIPPED.suppress} <= shipped_catalog.plan().signals.keys()
    policy = load_policy(yaml.safe_load((shipped_catalog.CATALOG / "policy.yaml").read_text()))
    assert list(confirmations_without_effect(policy, SHIPPED)) == []


def test_a_confirmation_that_nothing_would_wait_for_is_told():
    (told,) = confirmations_without_effect(Policy(), RULES)
    assert told.startswith("offers by email needs a confirmation")
