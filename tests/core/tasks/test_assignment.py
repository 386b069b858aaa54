"""Assignment of tasks: the owner named, rules of teams, absence and capacity; faults of the team file (C10)."""

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
    parsed, source = read_team(text)
    assert parsed is not None, source.problems
    return Roster(parsed)


def assigned(named: str, owner=None, loads=None, last=None, task: str = "call", text: str = TEXT) -> tuple[str, str]:
    assignment = assign_task(roster(text), AssignmentRequest(task, named, AT, owner), loads or {}, last)
    return assignment.owner, assignment.why


@pytest.mark.parametrize(
    ("case_name", "named", "owner", "loads", "expected"),
    [
        ("the owner of the account", "success", "abe", {"abe": 9}, ("abe", "abe owns the account")),
        ("the name in another system", "success", "bea@acme.example", {}, ("bea", "bea owns the account")),
        ("an owner of another team", "success", "dan", {"abe": 5, "bea": 5}, ("cid", "no owner in success; cid has")),
        ("an owner without capacity", "success", "abe", {"abe": 10}, ("bea", "abe has no capacity: 10 of 10; bea has")),
        ("the least load relative to capacity", "success", None, {"abe": 3, "bea": 5, "cid": 4}, ("bea", "bea has the lowest load in success: 5 of 20")),
        ("all full, the least full", "success", None, {"abe": 12, "bea": 23, "cid": 11}, ("cid", "nobody in success has capacity")),
        ("a person by name", "abe", "bea", {}, ("abe", "the journey names abe")),
        ("a person who is away", "dan", None, {}, ("cid", "the journey names dan, who is away until 2026-06-30: cid stands in")),
        ("no deputy", "fay", None, {}, ("fay", "nobody stands in")),
        ("an unknown name", "cs-director", "abe", {}, ("cs-director", "as the journey says")),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)  # fmt: skip
def test_C10_a_task_is_assigned_by_name_team_rule_presence_and_capacity(case_name, named, owner, loads, expected):
    name, reason = assigned(named, owner, loads)
    assert (name, expected[1] in reason) == (expected[0], True), reason


def test_C10_a_task_of_an_absent_account_owner_goes_to_the_deputy():
    text = TEXT.replace(
        "deputies: [cid]}\n  cid", "deputies: [cid], away: [{from: 2026-06-09, to: 2026-06-11}]}\n  cid", 1
    )
    assert assigned("success", "bea", text=text) == (
        "cid",
        "bea owns the account, but is away until 2026-06-11: cid stands in",
    )


def test_C10_a_task_stays_with_a_team_whose_members_are_all_absent():
    text = "people: {gus: {team: night, away: [{from: 2026-06-01, to: 2026-07-01}]}}\nteams: {night: {}}"
    assert assigned("night", text=text)[0] == "night"


def test_a_kind_of_task_may_have_its_own_assignment_rule():
    assert "lowest load" not in assigned("sales", "cid", task="renewal-call")[1]
    assert assigned("sales", "cid", task="renewal-call")[0] == "cid"


def test_C10_round_robin_skips_absent_and_full_members_and_starts_over():
    text = "people: {a: {team: t, capacity: 1}, b: {team: t, away: [{from: 2026-06-01, to: 2026-07-01}]}, c: {team: t}, d: {team: t}}\nteams: {t: {by: round_robin}}"
    turns, last = [], None
    for _ in range(4):
        last, _ = assigned("t", last=last, text=text)
        turns.append(last)
    assert turns == ["a", "c", "d", "a"]
    assert assigned("t", last="d", loads={"a": 1}, text=text)[0] == "c"


def test_an_absence_begins_and_ends_at_midnight_in_the_persons_zone():
    """Eve is away on 10 June in her zone, which is twelve hours ahead of UTC."""
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
def test_C10_a_task_is_assigned_to_a_person_who_is_present_if_there_is_one(data):
    """Any people, absences, circular deputies, loads and rules: the owner is present, or nobody else can be."""
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
    rules_of_team = st.lists(st.sampled_from(["owner", "load", "round_robin"]), min_size=1)
    rules = {"teams": {"t": {"by": data.draw(rules_of_team)}, "u": {"by": data.draw(rules_of_team)}}}
    drawn_roster = Roster(Roster().team.model_validate({"people": people, **rules}))
    named, owner = data.draw(st.sampled_from([*names, "t", "u", "x"])), data.draw(st.sampled_from([*names, None, 7]))
    loads = data.draw(st.dictionaries(st.sampled_from(names), st.integers(0, 5)))
    assignment = assign_task(
        drawn_roster, AssignmentRequest("call", named, AT, owner), loads, data.draw(st.sampled_from([*names, None]))
    )
    is_present = assignment.owner in names and drawn_roster.away_until(assignment.owner, AT) is None
    is_absent_team = assignment.owner in {"t", "u"} and not any(
        assignment.owner in people[name]["team"] and drawn_roster.away_until(name, AT) is None for name in names
    )
    is_named_without_deputy = (
        assignment.owner == named and deputy_of(drawn_roster, named, AT) is None if named in names else False
    )
    reached("person", is_present)
    assert is_present or is_absent_team or is_named_without_deputy or (named, assignment.owner) == ("x", "x")
    assert assignment.why


# -- the file ----------------------------------------------------------------------------------------------------------


def test_every_fault_of_a_team_is_reported_at_once_with_its_line():
    text = """zone: Mars/Olympus
hours: {mon-fri: "17:00-09:00"}
holidays: XX
people:
  dana: {hours: {mon: ["09:00-12:00", "11:00-13:00"]}, away: [{from: 2026-05-03, to: 2026-05-01}], capcity: 3}
"""
    parsed, source = read_team(text)
    assert parsed is None
    assert [(problem.line, problem.code) for problem in source.problems] == [
        (1, "T110"), (2, "T110"), (3, "T110"), (5, "T110"), (5, "T110"), (5, "T108"),
    ]  # fmt: skip


@pytest.mark.parametrize("hours", ['{fri-mon: "09:00-17:00"}', '{mon: "9-17"}', "{mon: []}", '{mon-wed: "09:00-17:00", tue: "09:00-10:00"}', '{mon: "09:00-24:30"}', "{}"])  # fmt: skip
def test_invalid_working_hours_are_refused(hours):
    assert read_team(f"hours: {hours}")[0] is None


def test_the_shipped_team_has_the_outcomes_that_the_shipped_journeys_read():
    parsed, source = read_team((shipped_catalog.CATALOG / "team.yaml").read_bytes())
    assert parsed is not None, source.problems
    outcomes = [(task, word) for task, kind in parsed.tasks.items() for word in kind.outcomes]
    for task, word in (("onboarding-call", "not_interested"), ("renewal-plan", "at_risk"), ("renewal-call", "at_risk")):
        assert (task, word) in outcomes


def problems(task: str) -> list[tuple[str, int | None]]:
    text = f"journey: example\nentry: {{on: signed_up}}\ngoal: {{on: activated}}\nstart: here\nstates:\n  here: {{do: [{task}]}}\n"
    journey, source = read_journey(text)
    assert journey is not None
    return [
        (problem.code, problem.line)
        for problem in check_journey(journey, shipped_catalog.plan(), shipped_catalog.templates(), (), source)
    ]


def test_a_deadline_in_working_time_is_in_hours_and_excludes_an_sla():
    assert problems("{task: call, owner: dana, within: PT4H, escalate: [lead]}") == []
    assert problems("{task: call, owner: dana, within: P1D}") == [("T905", 6)]
    assert problems("{task: call, owner: dana, within: PT4H, sla: PT4H}") == [("T906", 6)]


def test_the_team_of_the_documentation_is_valid():
    text = (shipped_catalog.DOCS / "tasks.md").read_text("utf-8").partition("```yaml team\n")[2].partition("```")[0]
    parsed, source = read_team(text)
    assert parsed is not None, source.problems
    assert (
        assign_task(Roster(parsed), AssignmentRequest("call", "customer-success", AT, "dana@example.com"), {}).owner
        == "dana"
    )
