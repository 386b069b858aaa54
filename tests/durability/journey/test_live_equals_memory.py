"""Companies on a test clock are decided as in memory: every decision and verdict, their order and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journeys.simulation.recording import RecordedEvent
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
CASES = {"two rows of an account that wait at once": (TWO_SIGNALS_AT_ONCE, company(), 3)}


@pytest.mark.parametrize("case", sorted(CASES))
async def test_a_company_is_decided_live_as_in_memory(
    database_url: str, temporal_address: str, tmp_path: Path, case: str
) -> None:
    texts, events, days = CASES[case]
    async with rehearsal(
        database_url, temporal_address, tmp_path, begins=ORIGIN, catalog=catalog_with(tmp_path)
    ) as stage:
        charts = await publish_all(stage, texts)
        live = await player_of(stage, stage.catalogue.roster, {"acme": events}).play(at(days))
        assert assert_same(live, scenario_of(stage, charts), {"acme": events}, at(days)) > 10
