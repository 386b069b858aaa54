"""Who answers for what: milestones and tasks have owners, and names of actions can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, runs_in
from journeys.checks.structure import similar_names
from journeys.language.actions import CloseTask, Send, Task, action_name
from journeys.language.problems import Path, Problem
from journeys.language.traversal import ActionSite
from journeys.tasks.team import working_time


def check_people(look: CheckContext) -> Iterator[Problem]:
    """All problems of milestones, tasks and the names of actions."""
    for name, state in look.journey.states.items():
        if state.milestone is not None and state.owner is None:
            what = f"nobody owns {state.milestone} in {name}"
            yield look.say("T501", ("states", name, "milestone"), what)
    yield from _tasks(look)
    yield from _names(look)


def _tasks(look: CheckContext) -> Iterator[Problem]:
    tasks = {action_name(doing.action) for doing in look.actions if isinstance(doing.action, Task)}
    for doing in look.actions:
        action = doing.action
        if isinstance(action, CloseTask) and action.close not in tasks:
            what = f"no task is named {action.close}" + similar_names(action.close, tasks)
            yield look.say("T517", (*doing.path, "close"), what)
        if not isinstance(action, Task):
            continue
        state = look.journey.states.get(runs_in(doing) or "")
        if action.owner is None and (state is None or state.owner is None):
            yield look.say("T515", (*doing.path, "task"), f"nobody owns the task {action.task}")
        if action.escalate and action.sla is None and action.within is None:
            yield look.say("T516", (*doing.path, "escalate"), f"{action.task} has no deadline to pass")
        yield from _within(look, doing.path, action)


def _within(look: CheckContext, path: Path, task: Task) -> Iterator[Problem]:
    if task.within is None:
        return
    if task.sla is not None:
        yield look.say("T906", (*path, "within"), f"{task.task} has {task.sla} and {task.within}")
    try:
        working_time(task.within)
    except ValueError as fault:
        yield look.say("T905", (*path, "within"), str(fault))


def _names(look: CheckContext) -> Iterator[Problem]:
    """Two alike are refused where they are written together, and two tasks alike where they could be open together."""
    written: dict[tuple[str | None, str], ActionSite] = {}
    running: dict[tuple[str | None, str], ActionSite] = {}
    for doing in look.actions:
        if not isinstance(doing.action, Send | Task):
            continue
        name = action_name(doing.action)
        alike = written.get((doing.state, name)) or written.get((None, name))
        if alike is not None:
            key = "send" if isinstance(doing.action, Send) else "task"
            yield look.say("T514", (*doing.path, key), f"{name} is also the name of another action here")
            continue
        written[doing.state, name] = doing
        if isinstance(doing.action, Task):
            other = running.setdefault((runs_in(doing), name), doing)
            if other.action != doing.action:
                what = f"another task {name} of {runs_in(doing) or 'the journey'} has other terms"
                yield look.say("T518", (*doing.path, "task"), what)
