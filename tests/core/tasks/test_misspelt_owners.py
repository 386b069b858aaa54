"""Names that resemble one of the team are taken for misspelt ones; any other word is an owner of its own."""

import pytest

from journeys.checks.warnings import misspelt_owners
from journeys.language.parsing import read_journey
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team

TEAM = "people: {dana: {team: success}, erin: {}}\nteams: {success: {by: load}}\n"
JOURNEY = """
journey: j
entry: {on: signed_up}
start: a
states:
  a:
    owner: sucess
    do: [{task: call, owner: dnaa, sla: PT1H, escalate: [erni, cs-director]}]
    on: {activated: b}
  b: {final: done}
"""


@pytest.fixture
def roster() -> Roster:
    team, source = read_team(TEAM)
    assert team is not None, source.problems
    return Roster(team)


@pytest.mark.parametrize(
    ("name", "near"),
    [("dnaa", "dana"), ("sucess", "success"), ("dana", None), ("success", None), ("cs-director", None), ("bob", None)],
)
def test_only_a_name_like_one_of_the_team_has_a_nearest_name(roster, name, near):
    assert roster.near(name) == near


def test_without_a_team_every_name_is_an_owner():
    assert Roster().near("dnaa") is None


def test_each_misspelt_owner_and_escalation_is_a_warning_with_its_place(roster):
    journey, source = read_journey(JOURNEY)
    assert journey is not None, source.problems
    warnings = dict(misspelt_owners(journey, roster))
    assert sorted(text.partition(" is ")[0] for text in warnings.values()) == ["dnaa", "erni", "sucess"]
    assert warnings["states", "a", "owner"] == "sucess is no person or team of team.yaml: did you mean success?"
    assert len(warnings) == 3
