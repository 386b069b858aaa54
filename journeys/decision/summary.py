"""Describe a run in sentences: its state, timers, tasks and end rules.

The same text for the workflow's query, the API and the simulator.
"""

from __future__ import annotations

from journeys.decision.chart import Chart
from journeys.decision.state import RunState

READABLE = "%Y-%m-%d %H:%M UTC"


def describe_run(chart: Chart, state: RunState) -> list[str]:
    """Where the run is, what it waits for and until when, in UTC; empty before its first decision."""
    if not state.state:
        return []
    if state.outcome is not None:
        return [f"the run ended as {state.outcome}"]
    node = chart.states[state.state]
    lines = [f"the run is in {state.state} since {state.entered_at:{READABLE}}, visit {state.visit}"]
    if state.paused_at is not None:
        lines.append(f"it is paused since {state.paused_at:{READABLE}}: signals count, timers and effects are held")
    lines.extend(f"it waits for {name}" for name in sorted({*node.on, *chart.root.on}))
    for timer, due in sorted(state.timers.items(), key=lambda item: item[1]):
        lines.append(f"timer {_label(chart, state, timer)} is due {due:{READABLE}}")
    lines.extend(f"task {name} is open with {task.owner}" for name, task in state.tasks.items())
    lines.extend(f"{rule.on} ends it as reached" for rule in chart.goal)
    lines.extend(f"{rule.on} ends it as exited" for rule in chart.exits)
    return lines


def _label(chart: Chart, state: RunState, timer: str) -> str:
    """The author's words for a timer; the goal's window and tasks have their ids."""
    if timer == "goal" or timer.startswith("t:"):
        return timer
    return chart.timers[state.state if timer.startswith("s:") else "", timer].label
