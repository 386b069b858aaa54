"""Companies on a test clock are decided as in memory: every decision and verdict, their order and reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journeys.simulation.recording import RecordedEvent
from journeys.simulation.responder import Responder
from tests.support.equality.comparison import assert_same, catalog_with, player_of, publish_all, scenario_of
from worker.testing.stage import rehearsal

ORIGIN = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
PEOPLE = ("ada", "bob", "cy")


def at(days: float) -> datetime:
    return ORIGIN + timedelta(days=days)


def company(*more: RecordedEvent, roles: Sequence[str] = ("champion", "admin", "user")) -> list[RecordedEvent]:
    """Three members of acme who sign up, then its contract starts."""
    events = []
    for person, role in zip(PEOPLE, roles, strict=True):
        traits = {"email": f"{person}@example.com", "first_name": person, "role": role}
        events.append(RecordedEvent(ORIGIN, person, "profile", "identify", traits))
        events.append(RecordedEvent(ORIGIN, person, "account", "group", {"name": "Acme"}, account="acme"))
        events.append(RecordedEvent(ORIGIN, person, "signal", "signed_up"))
    return [*events, of_account(0, "contract_started"), *more]


def of_account(days: float, name: str) -> RecordedEvent:
    return RecordedEvent(at(days), "acme", "signal", name, subject="account")


def signal(days: float, who: str, name: str, **data: object) -> RecordedEvent:
    return RecordedEvent(at(days), who, "signal", name, data)


TWO_SIGNALS_AT_ONCE = (
    """
journey: member
entry: {on: signed_up}
topic: onboarding
start: a
states:
  a:
    on:
      value_review_held: {do: [{send: education/first-value, name: first, via: [in_app]}]}
      renewal_plan_agreed: {do: [{send: education/invite-your-team, name: second, via: [in_app]}]}
""",
    """
journey: of-account
subject: account
entry: {on: contract_started}
topic: renewal
start: a
states:
  a: {after: {P1D: {do: [{emit: value_review_held}, {emit: renewal_plan_agreed}]}}}
""",
)
NOBODY_HAS_THE_ROLE = (
    """
journey: of-account
subject: account
entry: {on: contract_started}
topic: renewal
start: a
states:
  a:
    do:
      - {send: renewal/value-report, name: report, for: [finance], via: [in_app], data: {renewal_date: account.renewal_date}}
      - {task: renewal-call, owner: anna, within: PT4H}
    on: {report.withheld: b}
    after: {P2D: b}
  b: {after: {P1D: c}}
  c: {final: done}
""",
)
"""The step's deadline is told before its verdict, though the message stands first in the journey."""
SHARED_TASK = tuple(
    f"""
journey: {name}
entry: {{on: signed_up}}
topic: onboarding
start: a
states:
  a:
    do: [{{task: onboarding-call, owner: anna, within: PT4H, escalate: [bea]}}]
    on: {{onboarding-call.closed: b}}
  b: {{do: [{{send: education/first-value, via: [in_app]}}], after: {{P1D: c}}}}
  c: {{final: done}}
"""
    for name in ("b-asks", "a-asks")
)
"""Each member's two runs ask for one task of the account, in another order than that of their names."""
LEFT_AT_ONCE = (
    """
journey: looks-back
entry: {on: signed_up}
topic: onboarding
start: a
states:
  a: {on: {setup_completed: b}}
  b:
    do: [{send: education/first-value, via: [in_app]}]
    on: {activated: {to: c, lookback: P7D}}
  c: {final: done}
""",
)
"""The message of b is withheld, because the step that requests it leaves b for c."""
CONTINUED = (
    """
journey: member
entry: {on: signed_up}
topic: onboarding
start: a
states:
  a:
    on:
      setup_completed: {do: [{emit: renewal_plan_agreed}]}
      renewal_plan_agreed: {do: [{set: {agreed: "1"}}]}
      activated: {do: [{set: {agreed: "2"}}]}
variables: {agreed: int}
""",
    """
journey: of-account
subject: account
entry: {on: contract_started}
topic: renewal
start: a
states:
  a: {on: {setup_completed: {do: [{set: {completed: "1"}}]}}}
variables: {completed: int}
""",
)
"""A run that continues in a new workflow after its step has emitted leaves the account's row its turn."""
ANSWERED_DIGEST = tuple(
    f"""
journey: {name}
entry: {{on: {signal}}}
topic: onboarding
start: a
states:
  a: {{do: [{{send: education/first-value, name: one, via: [email]}}], on: {{one.sent: b}}}}
  b: {{do: [{{send: education/invite-your-team, name: two, via: [email]}}], after: {{P9D: c}}}}
  c: {{final: done}}
"""
    for name, signal in (("z-first", "feature_used"), ("a-second", "pricing_viewed"), ("k-third", "activated"))
)
"""Two messages wait for the morning and become one; the reply to it withdraws what each of its runs sends next."""
MORNING = {
    "quiet_hours": [{"name": "night", "channel": "email", "start": "21:00", "end": "08:00"}],
    "cooldowns": [{"name": "calm", "channel": "email", "between": "P3D"}],
    "consolidate": [{"name": "one", "channel": "email", "priorities": ["lifecycle"], "window": "PT4H"}],
    "consent": [{"default": "granted"}],
    "link_domains": ["example.com"],
}
TWO_MAILS = (
    """
journey: member
entry: {on: signed_up}
topic: onboarding
start: a
states:
  a:
    do: [{send: education/first-value, name: one, via: [email]}]
    on: {activated: {do: [{send: education/invite-your-team, name: two, via: [email]}]}, one.withheld: b}
  b: {final: over}
""",
)
ONE_A_DAY = {
    "cooldowns": [{"name": "apart", "channel": "email", "between": "P1D"}],
    "caps": [{"name": "mails", "channel": "email", "limit": 2, "window": "P3D"}],
    "consent": [{"default": "granted"}],
    "link_domains": ["example.com"],
}


GOALS_BEFORE = (
    """
journey: of-people
entry: {on: [feature_used, signed_up], again: always, lookback: {goal: PT1H, exit: P1D}}
goal: {on: activated}
exit: [{on: account_closed}]
topic: onboarding
start: a
states:
  a: {do: [{send: education/first-value, via: [in_app]}], on: {pricing_viewed: {do: [{set: {seen: "1"}}]}}}
variables: {seen: int}
""",
    """
journey: of-account
subject: account
entry: {on: contract_started, again: always}
goal: {on: renewal_plan_agreed}
topic: renewal
start: a
states:
  a: {on: {setup_completed: {do: [{set: {completed: "1"}}]}}}
variables: {completed: int}
""",
)
"""A goal or an exit that comes shortly before an entry, and history, which opens and moves nothing."""


def goals_before() -> list[RecordedEvent]:
    """Each of three people enters at once; later goals, an exit, a member's goal and history come before other entries."""
    half_an_hour = 1 / 48
    return [
        *company(),
        signal(1, "ada", "activated"),
        signal(1 + half_an_hour, "ada", "feature_used"),
        signal(1.2, "ada", "feature_used"),
        signal(1.3, "bob", "account_closed"),
        signal(1.4, "bob", "account_closed"),
        signal(2, "bob", "feature_used"),
        signal(2, "cy", "pricing_viewed")._replace(historical=True),
        signal(2.1, "cy", "activated")._replace(historical=True),
        signal(2.2, "cy", "renewal_plan_agreed"),
        signal(2.3, "cy", "renewal_plan_agreed"),
        of_account(2.3, "contract_started"),
        of_account(2.4, "setup_completed")._replace(historical=True),
        of_account(2.5, "contract_started"),
        signal(3, "ada", "signed_up")._replace(historical=True),
    ]


def at_one_mailbox() -> list[RecordedEvent]:
    """Three people without an account, all with one mailbox; one of them opts out there while the others' messages wait."""
    spelled = dict(zip(PEOPLE, ("office@example.com", "Office@example.com", "OFFICE@example.com"), strict=True))
    known = [
        RecordedEvent(ORIGIN, who, "profile", "identify", {"email": spelled[who], "first_name": who}) for who in PEOPLE
    ]
    no = {"channel": "email", "topic": "onboarding", "granted": False, "by": "person"}
    return [
        *known,
        *(signal(0.01, who, "signed_up") for who in reversed(PEOPLE)),
        signal(0.5, "bob", "activated"),
        RecordedEvent(at(2.2), "ada", "consent", "consent", no),
        signal(4, "cy", "activated"),
    ]


IN_THE_NIGHT = [signal(0.6, "ada", name) for name in ("feature_used", "pricing_viewed", "activated")]
TEAM = """
zone: UTC
hours: {mon-sun: "09:00-17:00"}
people: {anna: {team: t}, bea: {team: t}}
teams: {t: {by: round_robin}}
"""


@dataclass(frozen=True)
class Case:
    """Journeys, events of one company, and what is special about it."""

    texts: Sequence[str]
    events: Sequence[RecordedEvent]
    policy: Mapping[str, Any] | None = None
    responder: Responder | None = None


CASES = {
    "two rows of an account that wait at once": Case(TWO_SIGNALS_AT_ONCE, company()),
    "a deadline and a verdict of one step": Case(NOBODY_HAS_THE_ROLE, company()),
    "runs that share a task": Case(SHARED_TASK, company(), responder=Responder(closed=1.0, slowest=30)),
    "a state that is left in the step that enters it": Case(
        LEFT_AT_ONCE, company(signal(1, "ada", "activated"), signal(2, "ada", "setup_completed"))
    ),
    "a run that continues in a new workflow": Case(
        CONTINUED,
        company(*(signal(n / 12, "ada", "setup_completed" if n % 5 else "activated") for n in range(1, 46))),
    ),
    "a digest that is answered": Case(
        ANSWERED_DIGEST,
        company(*IN_THE_NIGHT),
        MORNING,
        Responder(replied=1.0, opted_out=0.0, clicked=0.0, closed=0.0, slowest=1),
    ),
    "goals shortly before entries, and history": Case(GOALS_BEFORE, goals_before()),
    "people of one mailbox": Case(TWO_MAILS, at_one_mailbox(), ONE_A_DAY),
}
DAYS = 6


@pytest.mark.parametrize("case", sorted(CASES))
async def test_a_company_is_decided_live_as_in_memory(
    database_url: str, temporal_address: str, tmp_path: Path, case: str
) -> None:
    played = CASES[case]
    streams, until = {"acme": played.events}, at(DAYS)
    catalog = catalog_with(tmp_path, played.policy, TEAM)
    async with rehearsal(database_url, temporal_address, tmp_path, begins=ORIGIN, catalog=catalog) as stage:
        charts = await publish_all(stage, played.texts)
        live = await player_of(stage, stage.catalogue.roster, streams, played.responder).play(until)
        assert assert_same(live, scenario_of(stage, charts), streams, until, played.responder) >= 5
