"""Checks of owners, deadlines and names: milestones, tasks and actions.

Every milestone and task has an owner (H4, C10), and names of actions are distinct.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, state_of
from journeys.checks.structure import similar_name_hint
from journeys.language.actions import CloseTask, Send, Task, action_name
from journeys.language.problems import Path, Problem
from journeys.language.traversal import ActionSite
from journeys.tasks.team import working_time


def check_ownership(context: CheckContext) -> Iterator[Problem]:
    """All problems of milestones, tasks and the names of actions."""
    for name, state in context.journey.states.items():
        if state.milestone is not None and state.owner is None:
            text = f"{state.milestone}, the milestone of {name}, has no owner"
            yield context.problem("T501", ("states", name, "milestone"), text)
    yield from _tasks(context)
    yield from _action_names(context)


def _tasks(context: CheckContext) -> Iterator[Problem]:
    tasks = {action_name(site.action) for site in context.actions if isinstance(site.action, Task)}
    for site in context.actions:
        action = site.action
        if isinstance(action, CloseTask) and action.close not in tasks:
            text = f"no task is named {action.close}" + similar_name_hint(action.close, tasks)
            yield context.problem("T517", (*site.path, "close"), text)
        if not isinstance(action, Task):
            continue
        state = context.journey.states.get(state_of(site) or "")
        if action.owner is None and (state is None or state.owner is None):
            yield context.problem("T515", (*site.path, "task"), f"the task {action.task} has no owner")
        if action.escalate and action.sla is None and action.within is None:
            yield context.problem("T516", (*site.path, "escalate"), f"the task {action.task} has no deadline")
        yield from _working_time(context, site.path, action)


def _working_time(context: CheckContext, path: Path, task: Task) -> Iterator[Problem]:
    if task.within is None:
        return
    if task.sla is not None:
        text = f"the task {task.task} has `sla: {task.sla}` and `within: {task.within}`"
        yield context.problem("T906", (*path, "within"), text)
    try:
        working_time(task.within)
    except ValueError as fault:
        yield context.problem("T905", (*path, "within"), str(fault))


def _action_names(context: CheckContext) -> Iterator[Problem]:
    """Equal names are refused where they are written together, and for tasks where both could be open together."""
    written: dict[tuple[str | None, str], ActionSite] = {}
    running: dict[tuple[str | None, str], ActionSite] = {}
    for site in context.actions:
        if not isinstance(site.action, Send | Task):
            continue
        name = action_name(site.action)
        same_name = written.get((site.state, name)) or written.get((None, name))
        if same_name is not None:
            key = "send" if isinstance(site.action, Send) else "task"
            yield context.problem("T514", (*site.path, key), f"{name} is also the name of another action here")
            continue
        written[site.state, name] = site
        if isinstance(site.action, Task):
            other = running.setdefault((state_of(site), name), site)
            if other.action != site.action:
                text = f"another task {name} of {state_of(site) or 'the journey'} has other keys"
                yield context.problem("T518", (*site.path, "task"), text)
