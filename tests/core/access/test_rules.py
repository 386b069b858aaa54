"""Who may send and write what: every signal and field of the shipped plan × every kind of caller."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from journeys.access.callers import (
    KINDS_OF_SCOPE,
    NOBODY,
    OPERATOR_SCOPES,
    PERSON,
    PROVIDER,
    Caller,
    CallerKind,
    Scope,
)
from journeys.access.demands import EventDemands
from journeys.access.refusals import REFUSAL_SENTENCES, AccessRefusal
from journeys.access.rules import MadeKey, NamedPerson, RouteCall, StatedConsent, UsedTestClock, refusal_of
from journeys.consent.rules import ConsentRules, NeedsConfirming, read_consent_rules
from journeys.events.inbound import CallKind, InboundEvent
from journeys.events.tracking_plan import Origin, TrackingPlan, read_plan
from journeys.fields.origins import ADDRESSES
from journeys.language import signal_names
from tests.support import shipped_catalog

PLAN = shipped_catalog.plan()
RULES = read_consent_rules((shipped_catalog.CATALOG / "consent.yaml").read_bytes())[0] or ConsentRules()
ALL = Caller(CallerKind.OPERATOR, frozenset(OPERATOR_SCOPES))
CALLERS = {
    "nobody": NOBODY,
    "public": Caller(CallerKind.PUBLIC, source="website"),
    "secret": Caller(CallerKind.SECRET, source="server"),
    "operator": ALL,
    "read-only operator": Caller(CallerKind.OPERATOR, frozenset({Scope.READ, Scope.PUBLISH, Scope.ADMIN})),
    "person": PERSON,
    "provider": PROVIDER,
}
PUBLIC, SECRET = CALLERS["public"], CALLERS["secret"]

PUBLIC_KEYS = {"public", "secret", "operator", "provider"}
KEYS = {"secret", "operator", "provider"}
HOOKS = {"operator", "provider"}
SIGNALS: dict[str, set[str]] = {
    **dict.fromkeys(
        (
            "cart_viewed", "checkout_started", "checkout_step_taken", "consent_changed", "coupon_used", "feature_used",
            "pricing_viewed", "product_added", "product_browsed", "product_removed", "product_reviewed", "product_shared",
            "promotion_used", "unsubscribed", "wishlist_changed",
        ),
        PUBLIC_KEYS,
    ),
    **dict.fromkeys(
        (
            "account_closed", "account_joined", "account_left", "activated", "cancellation_clicked", "champion_left", "contract_cancelled",
            "contract_renewed", "contract_started", "integration_connected", "integration_failed", "invite_sent",
            "order_cancelled", "order_completed", "order_refunded", "order_updated", "payment_failed", "renewal_plan_agreed", "resolution_confirmed", "setup_completed", "setup_step_completed",
            "signed_in", "signed_out", "signed_up", "ticket_opened", "ticket_reopened", "ticket_resolved", "trial_ended",
            "trial_started", "value_review_held",
        ),
        KEYS,
    ),
    **dict.fromkeys(
        (
            "message_bounced", "message_complained", "message_delivered", "message_replied", "webinar_attended",
            "webinar_missed", "webinar_registered",
        ),
        HOOKS,
    ),
    **{
        name: set[str]()
        for name in (
            "checklist_completed", "consent_confirmed", "consent_requested", "conversation_closed", "message_acted",
            "message_clicked", "message_dismissed", "message_seen", "survey_answered",
        )
    },
}  # fmt: skip
"""By signal, the callers that may send it. A new signal needs a row."""
ANY_KEY = {"public", "secret", "operator"}
SERVERS = {"secret", "operator"}
FIELDS: dict[str, set[str]] = {
    **dict.fromkeys(("profile.campaign", "profile.email", "profile.locale", "profile.timezone"), ANY_KEY),
    **dict.fromkeys(
        (
            "profile.account_fit", "profile.activation_status", "profile.company_name", "profile.created_at",
            "profile.first_name", "profile.last_name", "profile.last_step", "profile.lifetime_value", "profile.name",
            "profile.phone", "profile.plan", "profile.rhythm_days", "profile.role", "profile.setup_status",
            "profile.stage", "profile.title", "profile.use_case", "account.contract_value", "account.created_at",
            "account.employees", "account.health", "account.industry", "account.name", "account.website",
            "account.owner_email", "account.owner_name", "account.plan", "account.renewal_date", "account.seats_used",
        ),
        SERVERS,
    ),
}  # fmt: skip
"""By field, the callers that may write it. A new field needs a row."""


def call(kind: CallKind, name: str = "", **more) -> InboundEvent:
    return InboundEvent(kind, "m", name or kind, **{"anonymous_id": "visitor", **more})


def reasons(caller: Caller, event: InboundEvent, *, proven: bool = False, plan: TrackingPlan = PLAN, rules=RULES):
    return [part.reason for part in EventDemands(plan, rules).refused(caller, event, proven=proven)]


def test_every_signal_and_every_field_of_the_plan_has_a_row():
    fields = {f"profile.{name}" for name in PLAN.profile} | {f"account.{name}" for name in PLAN.account}
    assert set(SIGNALS) == set(PLAN.signals)
    assert set(FIELDS) == fields


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_is_taken_from_these_callers_only(signal):
    data = {"granted": False, "channel": "email", "topic": "offers"} if signal == "consent_changed" else {}
    event = call("track", signal, data=data)
    assert {name for name, caller in CALLERS.items() if not reasons(caller, event)} == SIGNALS[signal]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_written_by_these_callers_only(field):
    owner, _, name = field.partition(".")
    event = (
        call("identify", traits={name: "x"}) if owner == "profile" else call("group", account_id="a", traits={name: 1})
    )
    assert {name for name, caller in CALLERS.items() if not reasons(caller, event)} == FIELDS[field]


def test_a_field_that_the_plan_does_not_declare_is_closed_to_public_keys():
    event = call("identify", traits={"shoe_size": 43})
    assert reasons(PUBLIC, event) == [AccessRefusal.FIELD_NOT_PUBLIC]
    assert reasons(SECRET, event) == []


def test_a_public_key_names_visitors_and_users_with_their_hash():
    assert reasons(PUBLIC, call("page")) == []
    named = call("page", user_id="ada")
    assert reasons(PUBLIC, named) == [AccessRefusal.UNPROVEN_USER]
    assert reasons(PUBLIC, named, proven=True) == []
    assert reasons(SECRET, named) == []


@pytest.mark.parametrize("field", sorted(ADDRESSES))
def test_a_public_key_gives_a_visitor_an_address_and_never_a_known_user(field):
    marked, source = read_plan(f"profile: {{{field}: {{type: string, public: true}}}}")
    assert marked is not None, source.problems
    traits = {field: "ada@example.com"}
    assert reasons(PUBLIC, call("identify", traits=traits), plan=marked) == []
    of_user = call("identify", traits=traits, user_id="ada")
    assert reasons(PUBLIC, of_user, proven=True, plan=marked) == [AccessRefusal.ADDRESS_OF_USER]


@pytest.mark.parametrize("kind", ["alias", "group"])
def test_a_public_key_joins_nobody_to_anybody(kind):
    event = call(kind, user_id="ada", previous_id="eve", account_id="acme" if kind == "group" else None)
    assert AccessRefusal.ALIAS_OR_GROUP in reasons(PUBLIC, event, proven=True)
    assert reasons(SECRET, event) == []
    named = call("track", "pricing_viewed", account_id="acme")
    assert reasons(PUBLIC, named) == [AccessRefusal.ACCOUNT]


def test_a_signal_with_writers_is_taken_from_keys_of_these_sources_only():
    plan, source = read_plan(
        "sources: {crm: The CRM, server: The server}\n"
        "profile: {stage: {type: string, source: crm, writers: [crm, server]}, plan: {type: string, writers: crm}}\n"
        "signals: {contract_started: {source: crm, writers: crm}}"
    )
    assert plan is not None, source.problems
    signal = call("track", "contract_started")
    assert reasons(SECRET, signal, plan=plan) == [AccessRefusal.OTHER_WRITER]
    assert reasons(replace(SECRET, source="crm"), signal, plan=plan) == []
    fields = call("identify", traits={"stage": "renewal", "plan": "team"})
    assert reasons(SECRET, fields, plan=plan) == [AccessRefusal.OTHER_WRITER]


def test_a_signal_that_suppresses_an_address_is_a_providers_under_any_name():
    rules = ConsentRules.model_validate({"suppress": {"signed_up": {"channel": "email", "reason": "bounce"}}})
    assert reasons(SECRET, call("track", "signed_up"), rules=rules) == [AccessRefusal.PROVIDER_SIGNAL]


ONCE_CONFIRMED = StatedConsent(True, waits=True)
CONSENTS = [
    (StatedConsent(False), {"public", "secret", "operator", "person", "provider"}),
    (ONCE_CONFIRMED, {"public", "secret", "operator", "person", "provider"}),
    (StatedConsent(True), {"operator", "person", "provider"}),
    (StatedConsent(True, proven=True), {"secret", "operator", "person", "provider"}),
    (StatedConsent(None), {"operator", "person", "provider"}),
    (StatedConsent(None, proven=True), {"secret", "operator", "person", "provider"}),
    (StatedConsent(True, waits=True, proven=True, confirmed=True), {"operator", "person", "provider"}),
]


def label(value: object) -> str:
    """The id of a parameter: equal in every process, whatever the hash seed."""
    return " ".join(sorted(value)) if isinstance(value, set) else str(value)


@pytest.mark.parametrize(("consent", "allowed"), CONSENTS, ids=label)
def test_a_refusal_is_always_heard_and_a_grant_needs_more(consent, allowed):
    assert {name for name, caller in CALLERS.items() if refusal_of(caller, consent) is None} == allowed


@pytest.mark.parametrize(
    ("traits", "context", "expected"),
    [
        ({"consents": {"email": {"offers": True}}}, None, []),
        ({"consents": {"email": {"onboarding": True}}}, None, [AccessRefusal.GRANT]),
        ({"consents": {"*": {"*": False}}, "unsubscribed": True}, None, []),
        ({"unsubscribed": False}, {"consent": {"wording": "All mails"}}, [AccessRefusal.GRANT]),
    ],
)
def test_a_public_key_refuses_or_asks_for_a_confirmation(traits, context, expected):
    assert reasons(PUBLIC, call("identify", traits=traits, context=context)) == expected


def test_a_secret_key_grants_with_what_the_person_was_shown():
    grant = call("identify", traits={"consents": {"email": {"onboarding": True}}})
    assert reasons(SECRET, grant) == [AccessRefusal.UNPROVEN_GRANT]
    for consent in ({"wording": "Tips by mail"}, {"proof": {"form": "f-17"}}):
        assert reasons(SECRET, replace(grant, context={"consent": consent})) == []


def test_a_test_clock_needs_an_operator_and_is_never_in_production():
    allowed = {name for name, caller in CALLERS.items() if refusal_of(caller, UsedTestClock(False)) is None}
    assert allowed == {"operator"}
    assert refusal_of(ALL, UsedTestClock(in_production=True)) is AccessRefusal.CLOCK_IN_PRODUCTION


def test_a_route_is_open_to_the_kinds_of_its_scope():
    assert set(KINDS_OF_SCOPE) == set(Scope)
    for scope in Scope:
        kinds = {caller.kind for caller in CALLERS.values() if refusal_of(caller, RouteCall(scope)) is None}
        assert kinds == KINDS_OF_SCOPE[scope]
    assert {scope for scope in Scope if CallerKind.NOBODY in KINDS_OF_SCOPE[scope]} == {Scope.ANYONE}


@pytest.mark.parametrize(
    "scopes", [set(some) for n in range(5) for some in combinations(OPERATOR_SCOPES, n)], ids=label
)
def test_each_scope_of_an_operator_stands_by_itself(scopes):
    caller = Caller(CallerKind.OPERATOR, frozenset(scopes))
    open_to = {scope for scope in OPERATOR_SCOPES if refusal_of(caller, RouteCall(scope)) is None}
    assert open_to == scopes
    assert (refusal_of(caller, RouteCall(Scope.SEND)) is None) == (Scope.OPERATE in scopes)
    may = refusal_of(caller, MadeKey(frozenset({Scope.READ})))
    assert (may is None) == ({Scope.ADMIN, Scope.READ} <= scopes)


def test_only_operators_have_scopes_and_only_an_administrator_makes_keys():
    for name, caller in CALLERS.items():
        assert (refusal_of(caller, MadeKey()) is None) == ("operator" in name)


def test_every_reason_has_a_sentence():
    assert set(REFUSAL_SENTENCES) == set(AccessRefusal)


def test_signals_of_tenure_have_their_origin_in_a_plan_that_does_not_declare_them():
    empty = TrackingPlan()
    assert {empty.origin(name) for name in signal_names.PLATFORM_SIGNALS} == {Origin.PLATFORM}
    assert {empty.origin(name) for name in signal_names.PROVIDER_SIGNALS} == {Origin.PROVIDER}
    assert empty.origin("signed_up") is Origin.COMPANY


def test_a_page_call_that_is_a_signal_is_judged_as_that_signal():
    rules = ConsentRules(confirm=(NeedsConfirming(),))
    assert [type(demand) for _, demand in EventDemands(PLAN, rules).of(call("page"))] == [NamedPerson]
    assert len(list(EventDemands(PLAN, rules).of(call("page", "pricing_viewed")))) == 2
    assert reasons(PUBLIC, call("page", "order_completed")) == [AccessRefusal.NOT_PUBLIC]
