"""Journeys built in Python equal those in YAML, to the byte of their canonical JSON."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from journeys.builder import JourneyBuilder, assign, audience, close, emit, iso, send, task
from journeys.calendar.durations import parse_duration
from journeys.language.definition import canonical_json
from tests.support import shipped_catalog


def days(count: int) -> timedelta:
    return timedelta(days=count)


def win_back():
    b = JourneyBuilder(
        "win-back-and-replenishment",
        title="Replenishment in the customer's own rhythm, and help when they fall silent",
        moment="repeat_purchase",
        topic="shop",
    )
    b.enters("order_completed").exit("account_closed")
    buying = b.state("buying", milestone="order_completed", owner="lifecycle-team")
    silent = b.state("silent", milestone="order_completed", owner="lifecycle-team", do=[send("shop/win-back")])
    buying.on("order_completed", to=buying)
    buying.after(
        "days(profile.rhythm_days)",
        when="profile.rhythm_days >= 7.0 && profile.rhythm_days <= 60.0",
        do=[send("shop/time-to-restock", via=["email", "in_app"])],
    )
    buying.after(days(61), to=silent)
    silent.on("order_completed", to=buying)
    silent.after(days(30), when="profile.lifetime_value >= 200.0", do=[send("shop/come-back-offer")])
    return b.build(start=buying)


def setup_and_activation():
    b = JourneyBuilder(
        "setup-and-activation",
        title="Set-up help until it is done, then education until activation",
        moment="activation",
        topic="onboarding",
    )
    b.hands_off("signup", "lifecycle", intent="profile.campaign", promise="profile.use_case", owner="lifecycle-team")
    b.enters("signed_up").goal("activated", within=days(30)).exit("account_closed")
    both = ("in_app", "email")
    setting_up = b.state("setting_up", milestone="setup_completed", owner="onboarding-team")
    call = task(
        "onboarding-call",
        sla="PT24H",
        escalate=["cs-lead", "cs-director"],
        data={"use_case": "profile.use_case", "last_step": "profile.last_step"},
    )
    needs_help = b.state("needs_help", milestone="setup_completed", owner="customer-success", do=[call])
    activating = b.state(
        "activating",
        milestone="activated",
        owner="lifecycle-team",
        do=[send("education/first-value", via=["email", "in_app"])],
    )
    lost = b.state("lost", final="not_activated")
    setting_up.on("setup_completed", to=activating)
    setting_up.on("integration_failed", do=[send("setup/troubleshoot", via=both, data={"error": "event.code"})])
    setting_up.after(days(1), do=[send("setup/first-steps", via=both)]).after(days(3), do=[send("setup/checklist")])
    setting_up.after(days(7), to=needs_help, when="profile.account_fit >= 0.5")
    needs_help.on("setup_completed", to=activating)
    needs_help.on("onboarding-call.closed", to=lost, when='event.outcome == "not_interested"')
    needs_help.after(days(14), to=lost)
    activating.after(days(3), do=[send("education/by-use-case")])
    activating.after(days(7), do=[send("education/invite-your-team", via=["email", "in_app"])])
    return b.build(start=setting_up)


def renewal_readiness():
    b = JourneyBuilder(
        "renewal-readiness",
        title="Value, plan and terms at 180, 120 and 90 days before renewal",
        subject="account",
        moment="renewal",
        topic="renewal",
    )
    b.hands_off("customer-success", "account-management", intent="account.plan", owner="customer-success")
    b.enters("contract_started", again="always").exit("contract_cancelled", "account_closed")
    date = {"renewal_date": "account.renewal_date"}
    serving = b.state("serving")
    report = send(
        "renewal/value-report", to_roles=["champion", "executive_sponsor"], via=["email", "in_app"], data=date
    )
    proving = b.state("proving_value", milestone="value_review_held", owner="customer-success", do=[report])
    together = send("renewal/plan-together", to_roles=["champion", "admin"], data=date)
    plan = task(
        "renewal-plan",
        sla=days(5),
        escalate=["cs-lead", "cs-director"],
        data={"health": "account.health", "value": "account.contract_value"},
    )
    planning = b.state("planning", milestone="renewal_plan_agreed", owner="customer-success", do=[together, plan])
    terms = send("renewal/terms", to_roles=["admin", "finance"], data=date)
    call = task("renewal-call", sla=days(10), escalate=["sales-lead"], data={"value": "account.contract_value"})
    securing = b.state("securing", milestone="contract_renewed", owner="account-management", do=[terms, call])
    executive = task(
        "executive-call", sla="PT48H", escalate=["chief-customer-officer"], data={"health": "account.health"}
    )
    at_risk = b.state("at_risk", milestone="contract_renewed", owner="cs-director", do=[executive])
    b.on("contract_renewed", to=serving)
    b.at("account.renewal_date", name="window-180", before=days(180), to=proving)
    b.at("account.renewal_date", name="window-120", before=days(120), to=planning)
    b.at("account.renewal_date", name="window-90", before=days(90), past="act", to=securing)
    proving.on("value_review_held", to=serving)
    planning.on("renewal_plan_agreed", to=serving)
    planning.on("renewal-plan.closed", to=serving, when='event.outcome == "agreed"')
    planning.on("renewal-plan.closed", to=at_risk, when='event.outcome == "at_risk"')
    securing.on("renewal-call.closed", to=at_risk, when='event.outcome == "at_risk"')
    return b.build(start=serving)


def urgent_support():
    b = JourneyBuilder(
        "urgent-support",
        title="An urgent ticket, until it is resolved and the solution has held",
        case="ticket_id",
        moment="support",
        priority="urgent_support",
        topic="support",
        variables={"ticket_id": "string", "subject": "string"},
    )
    b.enters("ticket_opened", "ticket_reopened", when='event.priority == "urgent"', again="always")
    ticket = {"ticket_id": "journey.ticket_id"}
    both = ("email", "in_app")
    opened = b.state(
        "open",
        milestone="ticket_resolved",
        owner="support-team",
        do=[
            assign(ticket_id="event.ticket_id"),
            assign(subject="event.subject", when="known.event.subject"),
            send("support/we-are-on-it", via=both, data=ticket),
            task(
                "urgent-ticket",
                sla="PT4H",
                escalate=["support-lead", "head-of-support"],
                data=ticket | {"subject": "journey.subject"},
            ),
        ],
    )
    settling = b.state("settling", milestone="resolution_confirmed", owner="support-team")
    settled = b.state("settled", final="resolved")
    opened.on("ticket_resolved", to=settling)
    opened.on(
        "urgent-ticket.overdue", when="event.level == 1", do=[send("support/taking-longer", via=both, data=ticket)]
    )
    settling.on("resolution_confirmed", to=settled).on("ticket_reopened", to=opened)
    settling.after(days(1), do=[send("support/follow-up", via=both, priority="lifecycle", data=ticket)]).after(
        "P7D", to=settled
    )
    return b.build(start=opened)


def confirm_consent():
    b = JourneyBuilder(
        "confirm-consent",
        title="A yes that must be confirmed, until it is or its link has expired",
        case="request",
        moment="consent",
        topic="consent",
        priority="transactional",
    )
    b.enters("consent_requested", again="always").goal("consent_confirmed", within=days(7))
    mail = send("consent/confirm", via=["email"], data={"request": "event.request"})
    return b.build(start=b.state("asking", milestone="consent_confirmed", owner="privacy-team", do=[mail]))


BUILT = [win_back, setup_and_activation, renewal_readiness, urgent_support, confirm_consent]


@pytest.mark.parametrize("build", BUILT)
def test_a_shipped_journey_built_in_python_equals_the_one_in_yaml(build):
    built = build()
    assert built == shipped_catalog.journey(built.journey)
    assert canonical_json(built) == canonical_json(shipped_catalog.journey(built.journey))


def test_every_shipped_journey_is_built_in_these_tests():
    assert {build().journey for build in BUILT} == set(shipped_catalog.TEXTS)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(days=61), "P61D"),
        (timedelta(hours=4), "PT4H"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4), "P1DT2H3M4S"),
        (timedelta(seconds=1.5), "PT1.5S"),
        (timedelta(), "P0D"),
        ("P1M", "P1M"),
    ],
)
def test_a_timedelta_is_written_as_an_iso_duration(span, text):
    assert iso(span) == text
    assert isinstance(span, str) or parse_duration(text).exact == span


def test_a_negative_timedelta_is_refused():
    with pytest.raises(ValueError, match="never negative"):
        iso(timedelta(days=-1))


def test_a_repeated_trigger_makes_a_list_of_transitions():
    b = JourneyBuilder("x").enters("a")
    here = b.state("here")
    here.on("s", to="there", when="true").on("s", do=[close("t"), emit("e"), audience("all", "remove")])
    b.state("there", final="done")
    transitions = b.build(start="here").states["here"].on["s"]
    assert [transition.to for transition in transitions] == ["there", None]
    assert [action.__class__.__name__ for action in transitions[1].do] == ["CloseTask", "Emit", "Audience"]


def test_a_second_state_of_one_name_is_refused():
    b = JourneyBuilder("x")
    b.state("here")
    with pytest.raises(ValueError, match="exists already"):
        b.state("here")


def test_an_invalid_journey_name_is_refused_on_build():
    with pytest.raises(ValidationError):
        JourneyBuilder("Not A Name").enters("a").build(start="x")
