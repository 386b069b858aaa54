"""Who gets a task and why: the journey's word, the team's rules, who is there and who has room (C10)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.checks.checker import check_journey
from journeys.language.parsing import read_journey
from journeys.tasks.assignment import AssignmentRequest, Roster, assign_task, deputy_of
from journeys.tasks.team import read_team
from tests.support import shipped_catalog
from tests.support.reached import must_reach, reached

AT = datetime(2026, 6, 10, 12, tzinfo=UTC)
TEXT = """
owner: csm
people:
  abe: {team: success, capacity: 10}
  bea: {team: success, capacity: 20, known_as: [bea@acme.example], deputies: [cid]}
  cid: {team: [success, sales], capacity: 10}
  dan: {team: sales, away: [{from: 2026-06-01, to: 2026-06-30, deputy: eve}]}
  eve: {away: [{from: 2026-06-10, to: 2026-06-10}], deputies: [cid]}
  fay: {away: [{from: 2026-06-10, to: 2026-06-12}]}
teams:
  success: {by: [owner, load]}
  sales: {by: round_robin}
tasks:
  renewal-call: {by: owner}
"""


def roster(text: str = TEXT) -> Roster:
    found, source = read_team(text)
    assert found is not None, source.problems
    return Roster(found)


def given_to(named: str, owner=None, loads=None, last=None, task: str = "call", text: str = TEXT) -> tuple[str, str]:
    found = assign_task(roster(text), AssignmentRequest(task, named, AT, owner), loads or {}, last)
    return found.owner, found.why


@pytest.mark.parametrize(
    ("why", "named", "owner", "loads", "expected"),
    [
        ("the account's owner", "success", "abe", {"abe": 9}, ("abe", "abe owns the account")),
        ("by another system's name", "success", "bea@acme.example", {}, ("bea", "bea owns the account")),
        ("an owner of another team", "success", "dan", {"abe": 5, "bea": 5}, ("cid", "no owner in success; cid has")),
        ("an owner who is full", "success", "abe", {"abe": 10}, ("bea", "abe is full with 10 of 10; bea has")),
        ("the least part of a capacity", "success", None, {"abe": 3, "bea": 5, "cid": 4}, ("bea", "bea has the least to do in success: 5 of 20")),
        ("all are full: the least full", "success", None, {"abe": 12, "bea": 23, "cid": 11}, ("cid", "everybody in success is full")),
        ("a person by name", "abe", "bea", {}, ("abe", "abe is named")),
        ("a person who is away", "dan", None, {}, ("cid", "dan is named, but away until 2026-06-30: cid stands in")),
        ("nobody stands in", "fay", None, {}, ("fay", "nobody stands in")),
        ("a word that is nobody's", "cs-director", "abe", {}, ("cs-director", "as the journey says")),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)  # fmt: skip
def test_C10_a_task_goes_to(why, named, owner, loads, expected):
    name, told = given_to(named, owner, loads)
    assert (name, expected[1] in told) == (expected[0], True), told


def test_C10_an_account_owner_who_is_away_is_stood_in_for():
    text = TEXT.replace(
        "deputies: [cid]}\n  cid", "deputies: [cid], away: [{from: 2026-06-09, to: 2026-06-11}]}\n  cid", 1
    )
    assert given_to("success", "bea", text=text) == (
        "cid",
        "bea owns the account, but is away until 2026-06-11: cid stands in",
    )


def test_C10_a_team_in_which_nobody_is_there_keeps_its_task():
    text = "people: {gus: {team: night, away: [{from: 2026-06-01, to: 2026-07-01}]}}\nteams: {night: {}}"
    assert given_to("night", text=text)[0] == "night"


def test_a_kind_of_task_may_have_ways_of_its_own():
    assert "least to do" not in given_to("sales", "cid", task="renewal-call")[1]
    assert given_to("sales", "cid", task="renewal-call")[0] == "cid"


def test_C10_round_robin_passes_over_who_is_away_or_full_and_begins_again():
    text = "people: {a: {team: t, capacity: 1}, b: {team: t, away: [{from: 2026-06-01, to: 2026-07-01}]}, c: {team: t}, d: {team: t}}\nteams: {t: {by: round_robin}}"
    turns, last = [], None
    for _ in range(4):
        last, _ = given_to("t", last=last, text=text)
        turns.append(last)
    assert turns == ["a", "c", "d", "a"]
    assert given_to("t", last="d", loads={"a": 1}, text=text)[0] == "c"


def test_an_absence_begins_and_ends_with_the_persons_own_day():
    """Eve is away on 10 June in her zone, where that day began eleven hours before it did in Greenwich."""
    text = TEXT.replace("eve: {", "eve: {zone: Pacific/Auckland, ")
    assert (
        assign_task(roster(text), AssignmentRequest("call", "eve", datetime(2026, 6, 9, 13, tzinfo=UTC)), {}).owner
        == "cid"
    )
    assert (
        assign_task(roster(text), AssignmentRequest("call", "eve", datetime(2026, 6, 10, 13, tzinfo=UTC)), {}).owner
        == "eve"
    )


@must_reach(person=5)
@given(st.data())
def test_C10_whoever_gets_a_task_is_there(data):
    """Any people, absences, deputies in circles, loads and rules: the answer is a person who is there, or says why not."""
    names = ["a", "b", "c", "d"]
    people = {
        name: {
            "team": data.draw(st.lists(st.sampled_from(["t", "u"]), unique=True)),
            "deputies": data.draw(st.lists(st.sampled_from(names), max_size=3)),
            "capacity": data.draw(st.integers(1, 3)),
            "away": [{"from": "2026-06-01", "to": "2026-07-01"}] if data.draw(st.booleans()) else [],
        }
        for name in names
    }
    ways = st.lists(st.sampled_from(["owner", "load", "round_robin"]), min_size=1)
    rules = {"teams": {"t": {"by": data.draw(ways)}, "u": {"by": data.draw(ways)}}}
    found = Roster(Roster().team.model_validate({"people": people, **rules}))
    named, owner = data.draw(st.sampled_from([*names, "t", "u", "x"])), data.draw(st.sampled_from([*names, None, 7]))
    loads = data.draw(st.dictionaries(st.sampled_from(names), st.integers(0, 5)))
    answer = assign_task(
        found, AssignmentRequest("call", named, AT, owner), loads, data.draw(st.sampled_from([*names, None]))
    )
    there = answer.owner in names and found.away_until(answer.owner, AT) is None
    team = answer.owner in {"t", "u"} and not any(
        answer.owner in people[name]["team"] and found.away_until(name, AT) is None for name in names
    )
    alone = answer.owner == named and deputy_of(found, named, AT) is None if named in names else False
    reached("person", there)
    assert there or team or alone or (named, answer.owner) == ("x", "x")
    assert answer.why


# -- the file ----------------------------------------------------------------------------------------------------------


def test_every_fault_of_a_team_is_told_at_once_with_its_line():
    text = """zone: Mars/Olympus
hours: {mon-fri: "17:00-09:00"}
holidays: XX
people:
  dana: {hours: {mon: ["09:00-12:00", "11:00-13:00"]}, away: [{from: 2026-05-03, to: 2026-05-01}], capcity: 3}
"""
    found, source = read_team(text)
    assert found is None
    assert [(each.line, each.code) for each in source.problems] == [
        (1, "T110"), (2, "T110"), (3, "T110"), (5, "T110"), (5, "T110"), (5, "T108"),
    ]  # fmt: skip


@pytest.mark.parametrize("hours", ['{fri-mon: "09:00-17:00"}', '{mon: "9-17"}', "{mon: []}", '{mon-wed: "09:00-17:00", tue: "09:00-10:00"}', '{mon: "09:00-24:30"}', "{}"])  # fmt: skip
def test_hours_that_are_none_are_refused(hours):
    assert read_team(f"hours: {hours}")[0] is None


def test_the_shipped_team_knows_the_outcomes_that_the_shipped_journeys_wait_for():
    found, source = read_team((shipped_catalog.CATALOG / "team.yaml").read_bytes())
    assert found is not None, source.problems
    told = [(task, word) for task, kind in found.tasks.items() for word in kind.outcomes]
    for task, word in (("onboarding-call", "not_interested"), ("renewal-plan", "at_risk"), ("renewal-call", "at_risk")):
        assert (task, word) in told


def problems(task: str) -> list[tuple[str, int | None]]:
    text = f"journey: example\nentry: {{on: signed_up}}\ngoal: {{on: activated}}\nstart: here\nstates:\n  here: {{do: [{task}]}}\n"
    journey, source = read_journey(text)
    assert journey is not None
    return [
        (each.code, each.line)
        for each in check_journey(journey, shipped_catalog.plan(), shipped_catalog.templates(), (), source)
    ]


def test_a_deadline_in_working_time_is_hours_and_stands_alone():
    assert problems("{task: call, owner: dana, within: PT4H, escalate: [lead]}") == []
    assert problems("{task: call, owner: dana, within: P1D}") == [("T905", 6)]
    assert problems("{task: call, owner: dana, within: PT4H, sla: PT4H}") == [("T906", 6)]


def test_the_team_of_the_documentation_is_one():
    text = (shipped_catalog.DOCS / "tasks.md").read_text("utf-8").partition("```yaml team\n")[2].partition("```")[0]
    found, source = read_team(text)
    assert found is not None, source.problems
    assert (
        assign_task(Roster(found), AssignmentRequest("call", "customer-success", AT, "dana@example.com"), {}).owner
        == "dana"
    )
