"""Tasks that a journey asks for without a deadline: said when it is published, and no fault (C10)."""

from __future__ import annotations

from collections.abc import Iterator

from journeys.definition import Journey, Task, action_name
from journeys.problems import Path
from journeys.walk import actions_of


def undated(journey: Journey) -> Iterator[tuple[Path, str]]:
    """Each task that can lie for ever and is never overdue: where it is asked for, and a sentence with the mend."""
    for doing in actions_of(journey):
        action = doing.action
        if isinstance(action, Task) and action.sla is None and action.within is None:
            what = f"the task {action_name(action)} has no deadline, so it may lie for ever: add `within` or `sla`"
            yield (*doing.path, "task"), what
