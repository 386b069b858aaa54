"""The task board and the rules of requests: joining, deadlines, turns, escalation by one of several runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from journeys.decision.effects import EscalatedTask, OpenedTask
from journeys.tasks.assignment import Roster
from journeys.tasks.board import TaskBoard, TaskRequest, asking
from journeys.tasks.requests import JoinedDeadline, deadline_after_joining, reason_of, reply_owner
from journeys.tasks.team import read_team
from tests.support.run_script import day

TEAM = "{people: {abe: {team: sales}, bea: {team: sales}, cid: {}}, teams: {sales: {by: round_robin}}}"


def board() -> TaskBoard:
    team, source = read_team(TEAM)
    assert team is not None, source.problems
    return TaskBoard(Roster(team))


@dataclass
class Run:
    """A run that requests tasks."""

    number: int
    is_open: bool = True


def opened(owner: str = "sales", **more: object) -> OpenedTask:
    return OpenedTask("call", "call", owner, "a", 1, 1, day(0), **more)  # type: ignore[arg-type]


def request(run: Run) -> TaskRequest:
    return TaskRequest(run, "call", "a.1/call.1", day(0), f"run {run.number}")


def test_C10_members_take_turns_and_two_reasons_are_two_tasks():
    tasks = board()
    for number, case in enumerate(("1", "2", "3")):
        tasks.request(request(Run(number)), opened(), scope="acme", case=case, account=None)
    assert [(task.owner, task.reason) for task in tasks.tasks] == [
        ("abe", reason_of("call", "1")),
        ("bea", "call/2"),
        ("abe", "call/3"),
    ]


@pytest.mark.parametrize(
    ("effect", "due", "expected"),
    [
        (opened(within="PT4H"), day(3), JoinedDeadline(signalled=day(3))),
        (opened(within="PT4H"), None, JoinedDeadline()),
        (opened(due_at=day(2)), day(3), JoinedDeadline(sooner=day(2))),
        (opened(due_at=day(2)), None, JoinedDeadline(sooner=day(2))),
        (opened(due_at=day(4)), day(3), JoinedDeadline()),
        (opened(), day(3), JoinedDeadline()),
    ],
    ids=["in working time", "never due", "sooner", "the first deadline", "later", "without a deadline"],
)
def test_a_run_that_joins_receives_the_deadline_or_brings_a_sooner_one(effect, due, expected):
    assert deadline_after_joining(effect, due) == expected


def test_C10_the_first_of_two_runs_escalates_a_shared_task_and_the_second_receives_the_deadline_ahead():
    tasks, first, second = board(), Run(1), Run(2)
    for run in (first, second):
        task, _ = tasks.request(request(run), opened(within="PT2H"), scope="acme", case="", account=None)
    at = task.due_at
    assert at is not None
    escalated, deadlines = tasks.escalate(first, EscalatedTask("call", "cid", 1, at))
    assert escalated is task
    assert [deadline.of.run for deadline in deadlines] == [first, second]
    assert (task.owner, task.level) == ("cid", 1)
    again, ahead = tasks.escalate(second, EscalatedTask("call", "cid", 1, at))
    assert (again, [deadline.of.run for deadline in ahead]) == (None, [second])
    late = tasks.escalate(second, EscalatedTask("call", "cid", 1, at + timedelta(days=9)))
    assert late == (None, [])


def test_a_task_ends_with_the_last_request_and_a_closed_one_tells_only_open_runs():
    tasks, first, second = board(), Run(1), Run(2, is_open=False)
    for run in (first, second):
        task, _ = tasks.request(request(run), opened(), scope="acme", case="", account=None)
    assert tasks.release(first, "call") == []
    assert asking(task) == []
    assert tasks.release(second, "call") == [task]
    assert (task.status, tasks.tasks) == ("withdrawn", ())
    task, _ = tasks.request(request(first), opened(), scope="acme", case="", account=None)
    tasks.request(request(second), opened(), scope="acme", case="", account=None)
    assert [told.run for told in tasks.close(task)] == [first]
    assert tasks.escalate(first, EscalatedTask("call", "cid", 1, day(1))) == (None, [])


def test_U2_a_visitors_task_is_the_users_and_of_two_of_one_reason_the_users_stays():
    tasks, first, second = board(), Run(1), Run(2)
    tasks.request(request(first), opened(), scope="visitor", case="", account=None)
    kept, _ = tasks.request(request(second), opened(), scope="user", case="", account=None)
    tasks.move_scope("visitor", "user")
    assert tasks.tasks == (kept,)
    assert [told.run for told in tasks.close(kept)] == [first, second]


def test_C10_the_owner_of_a_reply_is_the_accounts_manager_else_the_policys_else_the_templates():
    team, _ = read_team("{owner: csm, people: {dana: {known_as: [dana@example.com]}}}")
    assert team is not None
    assert reply_owner(team, {"csm": "dana@example.com"}, "sales", "content") == "dana"
    assert reply_owner(team, {"csm": "somebody"}, "sales", "content") == "somebody"
    assert reply_owner(team, {}, "sales", "content") == "sales"
    assert reply_owner(team, {}, None, "content") == "content"
    assert reply_owner(team, {}, None, "") == "support"


def test_a_run_that_requests_a_task_twice_withdraws_it_once():
    tasks, run = board(), Run(1)
    for _ in range(2):
        task, _ = tasks.request(request(run), opened(), scope="acme", case="", account=None)
    assert tasks.release(run, "call") == [task]
    assert (task.status, tasks.tasks) == ("withdrawn", ())
